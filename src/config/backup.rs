//! `[backup]`: where backups go, who can read them, and how long they are kept.

use std::path::PathBuf;

use serde::Deserialize;

use super::store::check_store;
use super::value::Span;
use super::{FieldError, Section};

/// The shortest time between scheduled backups.
const SHORTEST: Span = Span::from_millis(60_000);

/// Known also to a build without backups, which ignores it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupConfig {
    /// The directory of the files; empty: there are no backups.
    pub dir: PathBuf,
    /// The public keys that files are encrypted to, `age1...`.
    pub recipients: Vec<String>,
    /// The time between backups; zero: only on request.
    pub every: Span,
    pub keep_last: usize,
    pub keep_daily: usize,
    pub keep_weekly: usize,
    /// The user of Redis that may read snapshots; empty: that of the service.
    pub username: String,
    pub password_file: PathBuf,
    /// The place of copies in an S3 store; empty: there are none.
    pub copy_to: String,
    /// Another store than that of Amazon.
    pub copy_endpoint: String,
    /// The file with a secret key for drills and restores by the service; empty: it makes none.
    pub identity_file: PathBuf,
    /// The time between drills; zero: only on request.
    pub drill_every: Span,
    /// The empty server for drills; empty: a private server.
    pub drill_url: String,
}

impl BackupConfig {
    /// Whether there are backups.
    pub fn is_on(&self) -> bool {
        !self.dir.as_os_str().is_empty()
    }
}

impl Section for BackupConfig {
    const NAME: &'static str = "backup";

    fn validate(&self) -> Result<(), FieldError> {
        if self.is_on() && self.recipients.is_empty() {
            return Err(FieldError::new("recipients", "must name at least one public key, such as age-keygen prints"));
        }
        for recipient in &self.recipients {
            if !recipient.starts_with("age1") {
                return Err(FieldError::new(
                    "recipients",
                    format!("{recipient} is no public key, which begins with age1"),
                ));
            }
        }
        if self.every.as_millis() != 0 && self.every < SHORTEST {
            return Err(FieldError::new("every", format!("must be 0s or at least {SHORTEST}")));
        }
        if self.every.as_millis() != 0 && !self.is_on() {
            return Err(FieldError::new("every", "needs dir"));
        }
        if self.drill_every.as_millis() != 0
            && (self.drill_every < SHORTEST || self.identity_file.as_os_str().is_empty())
        {
            return Err(FieldError::new(
                "drill_every",
                format!("must be 0s or at least {SHORTEST}, and needs identity_file"),
            ));
        }
        if !self.copy_to.is_empty() {
            check_store("copy_to", &self.copy_to)?;
            if !self.is_on() {
                return Err(FieldError::new("copy_to", "needs dir"));
            }
        }
        if self.username.is_empty() != self.password_file.as_os_str().is_empty() {
            return Err(FieldError::new("username", "and password_file go together"));
        }
        Ok(())
    }
}
