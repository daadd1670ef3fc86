//! `[audit]`: the key of the audit log, and how much of it Redis keeps.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::value::Span;
use crate::config::{FieldError, Section};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditConfig {
    /// A file with the keys of the log, one a line; the first one is used for new entries. Empty: there is no log.
    pub key_file: PathBuf,
    /// How long Redis keeps entries.
    pub retention: Span,
    /// How many entries Redis keeps.
    pub max_entries: u64,
    /// Where entries are exported before they leave Redis. Empty: they stay.
    pub export_dir: PathBuf,
}

impl Section for AuditConfig {
    const NAME: &'static str = "audit";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("retention", self.retention.as_millis() == 0),
            ("max_entries", self.max_entries == 0),
        ])
    }
}
