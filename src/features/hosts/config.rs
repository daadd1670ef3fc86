//! `[hosts]`: how many samples are kept where, and for how long.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::value::{ByteSize, Span};
use crate::config::{FieldError, Section};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostsConfig {
    pub recent_samples: usize,
    pub max_hosts: usize,
    pub max_behind: Span,
    pub batch_interval: Span,
    pub unstored_samples: usize,
    pub retention: Span,
    pub cleanup_interval: Span,
    pub rollup_retention: Span,
    /// Empty: no spool.
    pub spool_dir: PathBuf,
    pub spool_limit: ByteSize,
}

impl Section for HostsConfig {
    const NAME: &'static str = "hosts";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("recent_samples", self.recent_samples == 0),
            ("max_hosts", self.max_hosts == 0),
            ("unstored_samples", self.unstored_samples == 0),
        ])?;
        FieldError::reject_short([
            ("batch_interval", self.batch_interval),
            ("cleanup_interval", self.cleanup_interval),
        ])?;
        // A sample older than the retention would be accepted and trimmed by the same write.
        if self.retention < self.max_behind {
            return Err(FieldError::new("retention", "must not be shorter than max_behind"));
        }
        // A rollup must outlive the samples that it is computed from.
        if self.rollup_retention < self.retention {
            return Err(FieldError::new("rollup_retention", "must not be shorter than retention"));
        }
        Ok(())
    }
}
