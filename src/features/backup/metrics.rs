//! The metrics of backups.

use prometheus::{IntCounterVec, IntGauge};

use super::model::{Listed, RunKind};
use crate::telemetry::metrics::Metrics;

#[derive(Clone, Debug)]
pub(super) struct BackupMetrics {
    runs: IntCounterVec,
    copies: IntCounterVec,
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
        let runs =
            metrics.counter("backup_runs_total", "Backups, drills and restores of this replica", &["kind", "result"]);
        let copies =
            metrics.counter("backup_copies_total", "Backups that this replica has sent to the store", &["result"]);
        for result in ["done", "failed"] {
            for kind in RunKind::ALL {
                runs.with_label_values(&[kind.label(), result]);
            }
            copies.with_label_values(&[result]);
        }
        Self {
            runs,
            copies,
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
            duration: metrics
                .gauge("backup_duration_seconds", "How long the last backup of this replica took, rounded up"),
        }
    }

    pub(super) fn ended(&self, kind: RunKind, is_done: bool) {
        self.runs.with_label_values(&[kind.label(), result(is_done)]).inc();
    }

    pub(super) fn copied(&self, is_done: bool) {
        self.copies.with_label_values(&[result(is_done)]).inc();
    }

    pub(super) fn made(&self, Listed { bytes, manifest, .. }: &Listed) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.bytes.set(whole(*bytes));
        self.keys.set(whole(manifest.keys()));
        self.duration.set((manifest.ended - manifest.started + 999) / 1_000);
    }
}

const fn result(is_done: bool) -> &'static str {
    if is_done { "done" } else { "failed" }
}
