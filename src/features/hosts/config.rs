//! `[hosts]`: how much is kept where, and for how long.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::value::{ByteSize, Span};
use crate::config::{FieldError, Section};

/// Days of hours that one answer may be made from.
const MAX_DAYS: u16 = 366;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostsConfig {
    pub recent_samples: usize,
    pub max_hosts: usize,
    pub request_samples: usize,
    pub max_ahead: Span,
    pub max_behind: Span,
    pub batch_interval: Span,
    pub write_samples: usize,
    pub unstored_samples: usize,
    pub retention: Span,
    pub publish_interval: Span,
    pub fresh_for: Span,
    pub current_life: Span,
    pub cleanup_interval: Span,
    pub pack_after: Span,
    pub rollup_retention: Span,
    pub anomaly_days: u16,
    pub anomaly_least_days: u16,
    pub anomaly_width: f64,
    pub forecast_days: u16,
    /// Empty: no spool.
    pub spool_dir: PathBuf,
    pub spool_limit: ByteSize,
}

impl Section for HostsConfig {
    const NAME: &'static str = "hosts";

    fn validate(&self) -> Result<(), FieldError> {
        for (field, number) in [
            ("recent_samples", self.recent_samples),
            ("max_hosts", self.max_hosts),
            ("request_samples", self.request_samples),
            ("write_samples", self.write_samples),
            ("unstored_samples", self.unstored_samples),
        ] {
            if number == 0 {
                return Err(FieldError::new(field, "must be at least 1"));
            }
        }
        for (field, span) in [
            ("batch_interval", self.batch_interval),
            ("publish_interval", self.publish_interval),
            ("current_life", self.current_life),
            ("cleanup_interval", self.cleanup_interval),
        ] {
            if span.as_millis() == 0 {
                return Err(FieldError::new(field, "must be longer than nothing"));
            }
        }
        // What is trimmed at once must not be accepted.
        if self.retention < self.max_behind {
            return Err(FieldError::new("retention", "must not be shorter than max_behind"));
        }
        // What is trimmed of the one is not reckoned from the other.
        if self.rollup_retention < self.retention {
            return Err(FieldError::new("rollup_retention", "must not be shorter than retention"));
        }
        if !(1..=MAX_DAYS).contains(&self.anomaly_days) {
            return Err(FieldError::new("anomaly_days", "must be from 1 to 366"));
        }
        if !(1..=self.anomaly_days).contains(&self.anomaly_least_days) {
            return Err(FieldError::new("anomaly_least_days", "must be from 1 to anomaly_days"));
        }
        if !(self.anomaly_width.is_finite() && self.anomaly_width >= 0.0) {
            return Err(FieldError::new("anomaly_width", "must not be negative"));
        }
        if !(2..=MAX_DAYS).contains(&self.forecast_days) {
            return Err(FieldError::new("forecast_days", "must be from 2 to 366"));
        }
        Ok(())
    }
}
