//! `[archive]`: how long minutes of trades are kept, and where.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::store::check_store;
use super::value::{ByteSize, Span, Zone};
use super::{FieldError, Section};

/// Belongs to no feature: the fold fills the window of minutes that the archive empties.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// The directory of the files; empty: minutes are removed after `window_max`.
    pub dir: PathBuf,
    /// How long after its end a minute is written to a file.
    pub archive_after: Span,
    /// How long Redis keeps minutes that have a file.
    pub window: Span,
    /// How long Redis keeps minutes without a directory; with one, how many minutes of a symbol may wait in Redis.
    pub window_max: Span,
    /// How old a reported trade may be if there is a directory.
    pub late_limit: Span,
    /// How long after its end a day is packed into one file.
    pub compact_after: Span,
    pub retention: Retention,
    /// The free space below which only minutes are written.
    pub min_free: ByteSize,
    /// A file with keys, each a line of 64 hexadecimal digits; empty: files are not encrypted. The first key encrypts.
    pub encryption_key_file: PathBuf,
    /// Whether packs are written as Parquet, too.
    pub parquet: bool,
    /// The S3 bucket, and the beginning of the names there, that gets copies of packs; empty: there are no copies.
    pub copy_to: String,
    /// The address of another S3 store than that of Amazon.
    pub copy_endpoint: String,
    /// Directories of the system that this service replaces. They are only read.
    pub legacy: Vec<LegacyDirectory>,
}

/// The files of one symbol.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegacyDirectory {
    pub dir: PathBuf,
    pub symbol: String,
    /// That of the names and contents of the files.
    pub timezone: Zone,
}

/// How long packed days are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    Never,
    For(Span),
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "never" => Ok(Self::Never),
            text => text.parse().map(Self::For).map_err(|rule| de::Error::custom(format!("{rule}, or \"never\""))),
        }
    }
}

impl ArchiveConfig {
    /// The first minute that enters the window at `now`, Unix milliseconds: any one if there is a directory.
    pub fn kept_from(&self, now: i64) -> i64 {
        if self.has_directory() {
            return i64::MIN;
        }
        now.saturating_sub_unsigned(self.window_max.as_millis())
    }

    pub fn has_directory(&self) -> bool {
        !self.dir.as_os_str().is_empty()
    }

    /// The minutes of a symbol in Redis at which no trade is accepted; `None` without a directory, since old minutes are removed
    /// then.
    pub fn most_minutes(&self) -> Option<u64> {
        self.has_directory().then(|| self.window_max.as_millis().div_ceil(60_000))
    }
}

impl Section for ArchiveConfig {
    const NAME: &'static str = "archive";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("window_max", self.window_max.as_millis() == 0),
            ("late_limit", self.late_limit.as_millis() == 0),
            ("compact_after", self.compact_after.as_millis() == 0),
        ])?;
        if self.has_directory() && self.window >= self.window_max {
            return Err(FieldError::new("window", "must be shorter than window_max"));
        }
        let is_symbol = |name: &str| {
            let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
            (1..=64).contains(&name.len()) && name.bytes().all(is_valid)
        };
        if self.legacy.iter().any(|legacy| !is_symbol(&legacy.symbol)) {
            return Err(FieldError::new("legacy", "must name symbols of 1 to 64 letters, digits, and ._:-"));
        }
        if !self.legacy.is_empty() && !self.has_directory() {
            return Err(FieldError::new("legacy", "needs archive.dir"));
        }
        if self.parquet && !cfg!(feature = "parquet") {
            return Err(FieldError::new("parquet", "needs a binary that was built with the feature parquet"));
        }
        if self.parquet && !self.encryption_key_file.as_os_str().is_empty() {
            return Err(FieldError::new("parquet", "must be false if files are encrypted"));
        }
        if !self.copy_to.is_empty() {
            check_store("copy_to", &self.copy_to)?;
            if !self.has_directory() {
                return Err(FieldError::new("copy_to", "needs archive.dir"));
            }
        }
        if matches!(self.retention, Retention::For(span) if span <= self.compact_after.max(self.late_limit)) {
            // A late trade needs the file to which it is added.
            return Err(FieldError::new("retention", "must be longer than compact_after and late_limit"));
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
        for (text, field) in [
            ("window_max = \"0s\"", "archive.window_max"),
            ("dir = \"/tmp/x\"\nwindow = \"7d\"", "archive.window"),
            ("retention = \"2d\"", "archive.retention"),
            ("retention = \"soon\"", "archive.retention"),
            ("copy_to = \"bucket\"", "archive.copy_to"),
            ("copy_to = \"s3://bucket/x\"", "archive.copy_to"),
            ("parquet = true\nencryption_key_file = \"/x\"", "archive.parquet"),
            ("[[archive.legacy]]\ndir = \"/x\"\nsymbol = \"a b\"\ntimezone = \"UTC\"", "archive.legacy"),
            ("[[archive.legacy]]\ndir = \"/x\"\nsymbol = \"A\"\ntimezone = \"UTC\"", "archive.legacy"),
        ] {
            let config = Config::with_overrides(&format!("[archive]\n{text}")).expect("TOML");
            let error = config.section::<ArchiveConfig>().expect_err(text).to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
