//! What locks count.

use std::time::{Duration, Instant};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::error::LockError;
use crate::telemetry::metrics::Metrics;

/// Waits in line, seconds: from a hand-over at one replica to the longest wait that is allowed
/// ([`crate::http::access::LONGEST_WAIT`]); what lies above was in vain.
const WAIT_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0];

/// Handles, prepared once.
#[derive(Clone, Debug)]
pub(super) struct LockMetrics {
    pub granted: IntCounter,
    held: IntCounter,
    refused: IntCounter,
    pub failed: IntCounter,
    given_up: IntCounter,
    pub contended: IntCounter,
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
        let attempts = metrics.counter(
            "lock_attempts_total",
            "Calls to acquire a lock, by how they ended: granted, held, refused (too many waiters), failed, given_up (by \
             the caller, or by a replica that stops)",
            &["result"],
        );
        let contended =
            metrics.counter("lock_contended_total", "Calls to acquire that found the lock held or waited for", &[]);
        let events = metrics.counter("lock_events_total", "What happened to leases", &["event"]);
        let waits = metrics.histogram_in("lock_wait_seconds", "Time that callers stood in line", &[], WAIT_BUCKETS);
        Self {
            granted: attempts.with_label_values(&["granted"]),
            held: attempts.with_label_values(&["held"]),
            refused: attempts.with_label_values(&["refused"]),
            failed: attempts.with_label_values(&["failed"]),
            given_up: attempts.with_label_values(&["given_up"]),
            contended: contended.with_label_values::<&str>(&[]),
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

    /// A call for one lock begins.
    pub(super) fn attempt(&self) -> Attempt<'_> {
        Attempt { metrics: self, began: Instant::now(), result: &self.given_up, is_contended: false, waited: false }
    }

    /// Calls that have ended.
    pub(super) fn attempts(&self) -> u64 {
        [&self.granted, &self.held, &self.refused, &self.failed, &self.given_up].into_iter().map(IntCounter::get).sum()
    }

    /// All waiting so far.
    pub(super) fn waited(&self) -> Duration {
        Duration::try_from_secs_f64(self.waits.get_sample_sum()).unwrap_or_default()
    }
}

/// One call for one lock, however often it asks Redis; counted when it ends, also by its caller going away.
pub(super) struct Attempt<'a> {
    metrics: &'a LockMetrics,
    began: Instant,
    result: &'a IntCounter,
    is_contended: bool,
    waited: bool,
}

impl Attempt<'_> {
    /// The lock was not to be had at once, and the caller waits.
    pub(super) fn waits(&mut self) {
        (self.is_contended, self.waited) = (true, true);
    }

    pub(super) fn end<T>(mut self, outcome: &Result<T, LockError>) {
        self.result = match outcome {
            Ok(_) => &self.metrics.granted,
            Err(LockError::Held { .. }) => &self.metrics.held,
            Err(LockError::TooManyWaiters) => &self.metrics.refused,
            Err(LockError::Interrupted) => &self.metrics.given_up,
            Err(_) => &self.metrics.failed,
        };
        self.is_contended |= matches!(outcome, Err(LockError::Held { .. }));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.result.inc();
        if self.is_contended {
            self.metrics.contended.inc();
        }
        if self.waited {
            self.metrics.waits.observe(self.began.elapsed().as_secs_f64());
        }
    }
}
