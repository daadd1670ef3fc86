//! `[archive]`: how long minutes of trades are kept.

use serde::Deserialize;

use super::value::Span;
use super::{FieldError, Section};

/// Belongs to no feature: the fold fills the window of minutes that the archive empties.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// How long Redis keeps minutes.
    pub window_max: Span,
}

impl ArchiveConfig {
    /// The first minute that Redis keeps at `now`, Unix milliseconds.
    pub fn kept_from(&self, now: i64) -> i64 {
        now.saturating_sub_unsigned(self.window_max.as_millis())
    }
}

impl Section for ArchiveConfig {
    const NAME: &'static str = "archive";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([("window_max", self.window_max.as_millis() == 0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_wrong_length_names_its_field() {
        let config = Config::with_overrides("[archive]\nwindow_max = \"0s\"").expect("TOML");
        let error = config.section::<ArchiveConfig>().expect_err("zero").to_string();
        assert!(error.contains("archive.window_max"), "{error}");
    }
}
