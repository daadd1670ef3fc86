//! `[archive]`: the files of closed minutes, and how long minutes stay in Redis.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::value::Span;
use super::{FieldError, Section};

const MINUTE: u64 = 60_000;

/// Belongs to no feature: the fold fills the window of minutes that the archive empties.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// The directory of the files; empty: none are written.
    dir: PathBuf,
    /// How long a minute has been over before it is written to its file.
    pub archive_after: Span,
    /// How long minutes that are in files stay in Redis too.
    pub window: Span,
    /// How much Redis keeps at most: the time of minutes that are in no file.
    pub window_max: Span,
}

impl ArchiveConfig {
    /// The directory of the files, if there is one.
    pub fn directory(&self) -> Option<&Path> {
        (!self.dir.as_os_str().is_empty()).then_some(self.dir.as_path())
    }

    /// The most minutes of a symbol in Redis. Without files there is no limit, since old minutes are removed.
    pub fn limit(&self) -> Option<u64> {
        self.directory().map(|_| self.window_max.as_millis() / MINUTE)
    }

    /// The first minute that Redis keeps at `now`, Unix milliseconds. With files it keeps all that are in none.
    pub fn kept_from(&self, now: i64) -> i64 {
        match self.directory() {
            Some(_) => i64::MIN,
            None => now.saturating_sub_unsigned(self.window_max.as_millis()),
        }
    }
}

impl Section for ArchiveConfig {
    const NAME: &'static str = "archive";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([("archive_after", self.archive_after.as_millis() == 0)])?;
        if self.window <= self.archive_after {
            return Err(FieldError::new("window", format!("must be above archive_after, {}", self.archive_after)));
        }
        if self.window_max <= self.window {
            return Err(FieldError::new("window_max", format!("must be above window, {}", self.window)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_wrong_length_names_its_field() {
        for (overrides, field) in [
            ("archive_after = \"0s\"", "archive.archive_after"),
            ("window = \"5m\"", "archive.window"),
            ("window_max = \"48h\"", "archive.window_max"),
        ] {
            let config = Config::with_overrides(&format!("[archive]\n{overrides}")).expect("TOML");
            let error = config.section::<ArchiveConfig>().expect_err(overrides).to_string();
            assert!(error.contains(field), "{overrides}: {error}");
        }
    }
}
