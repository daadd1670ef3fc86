//! The metrics of the audit log.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::model::{Entry, Phase};
use crate::telemetry::metrics::Metrics;

const CLASSES: [&str; 4] = ["action", "denied", "event", "read"];

#[derive(Clone, Debug)]
pub(super) struct AuditMetrics {
    entries: IntCounterVec,
    pub failures: IntCounter,
    /// Entries that were dropped because too many waited.
    pub lost: IntCounter,
    pub waiting: IntGauge,
    /// When a verification last ended without a break, Unix seconds.
    pub verified: IntGauge,
    /// Breaks that this replica has found and no operator has acknowledged.
    pub breaks: IntGauge,
}

impl AuditMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let entries = metrics.counter("audit_entries_total", "Entries that this replica has appended", &["class"]);
        for class in CLASSES {
            entries.with_label_values(&[class]);
        }
        let counter = |name, help| metrics.counter(name, help, &[]).with_label_values(&[] as &[&str]);
        Self {
            entries,
            failures: counter("audit_append_failures_total", "Batches of entries that could not be appended"),
            lost: counter("audit_lost_total", "Entries that were dropped because too many waited for Redis"),
            waiting: metrics.gauge("audit_waiting", "Entries that wait to be appended"),
            verified: metrics
                .gauge("audit_verified_timestamp_seconds", "When the log was last found whole, Unix seconds"),
            breaks: metrics.gauge("audit_breaks", "1 if the last verification found the log broken"),
        }
    }

    pub(super) fn appended(&self, entry: &Entry) {
        let class = match (entry.phase, entry.outcome.as_deref()) {
            (Phase::Intent | Phase::Outcome, _) => "action",
            (Phase::Event, _) => "event",
            (Phase::Count, Some("unauthenticated" | "forbidden")) => "denied",
            (Phase::Count, _) => "read",
        };
        self.entries.with_label_values(&[class]).inc();
    }
}
