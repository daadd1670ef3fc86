//! The metrics of backups.

use prometheus::{IntCounterVec, IntGauge};

use super::model::Listed;
use crate::telemetry::metrics::Metrics;

#[derive(Clone, Debug)]
pub(super) struct BackupMetrics {
    runs: IntCounterVec,
    /// When the last complete backup began, Unix seconds.
    pub last_success: IntGauge,
    /// When the last drill passed, Unix seconds.
    pub last_drill: IntGauge,
    bytes: IntGauge,
    keys: IntGauge,
    duration: IntGauge,
}

impl BackupMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let runs = metrics.counter("backup_runs_total", "Backups that this replica has made", &["result"]);
        for result in ["done", "failed"] {
            runs.with_label_values(&[result]);
        }
        Self {
            runs,
            last_success: metrics.gauge(
                "backup_last_success_timestamp_seconds",
                "When the last complete backup of any replica began, Unix seconds; 0 without one",
            ),
            last_drill: metrics.gauge(
                "backup_drill_last_success_timestamp_seconds",
                "When a drill last passed, Unix seconds; 0 without one",
            ),
            bytes: metrics.gauge("backup_bytes", "The size of the last backup of this replica"),
            keys: metrics.gauge("backup_keys", "The keys in the last backup of this replica"),
            duration: metrics.gauge("backup_duration_milliseconds", "How long the last backup of this replica took"),
        }
    }

    pub(super) fn ended(&self, listed: Option<&Listed>) {
        self.runs.with_label_values(&[if listed.is_some() { "done" } else { "failed" }]).inc();
        let Some(Listed { bytes, manifest, .. }) = listed else { return };
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.bytes.set(whole(*bytes));
        self.keys.set(whole(manifest.holdings.values().map(|holding| holding.keys).sum()));
        self.duration.set(manifest.ended - manifest.started);
    }
}
