//! What locks count.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::telemetry::metrics::Metrics;

/// Handles, prepared once.
#[derive(Clone, Debug)]
pub(super) struct LockMetrics {
    pub granted: IntCounter,
    pub held: IntCounter,
    pub refused: IntCounter,
    pub failed: IntCounter,
    pub extended: IntCounter,
    pub released: IntCounter,
    pub lost: IntCounter,
    pub expired: IntCounter,
    pub forced: IntCounter,
    /// Leases whose remaining time is beyond the longest that is granted: a clock jumped back, or a stranger's lease.
    pub overlong: IntCounter,
    /// Releases in the background that were given up: the lease ran until its end.
    pub abandoned: IntCounter,
    pub waits: Histogram,
    pub waiting: IntGauge,
}

impl LockMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let attempts = metrics.counter("lock_attempts_total", "Attempts to acquire, by result", &["result"]);
        let events = metrics.counter("lock_events_total", "What happened to leases", &["event"]);
        let waits = metrics.histogram("lock_wait_seconds", "Time that callers waited in line", &[]);
        Self {
            granted: attempts.with_label_values(&["granted"]),
            held: attempts.with_label_values(&["held"]),
            refused: attempts.with_label_values(&["refused"]),
            failed: attempts.with_label_values(&["failed"]),
            extended: events.with_label_values(&["extended"]),
            released: events.with_label_values(&["released"]),
            lost: events.with_label_values(&["lost"]),
            expired: events.with_label_values(&["expired"]),
            forced: events.with_label_values(&["forced"]),
            overlong: events.with_label_values(&["overlong"]),
            abandoned: events.with_label_values(&["abandoned"]),
            waits: waits.with_label_values::<&str>(&[]),
            waiting: metrics.gauge("lock_waiting", "Callers waiting in line at this replica"),
        }
    }

    pub(super) fn attempts(&self) -> u64 {
        [&self.granted, &self.held, &self.refused, &self.failed].into_iter().map(IntCounter::get).sum()
    }

    /// All waiting so far.
    pub(super) fn waited(&self) -> Duration {
        Duration::try_from_secs_f64(self.waits.get_sample_sum()).unwrap_or_default()
    }
}
