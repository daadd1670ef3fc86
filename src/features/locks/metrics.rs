//! The metrics of locks.

use std::time::{Duration, Instant};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::error::LockError;
use crate::telemetry::metrics::Metrics;

/// Waits in the queue, in seconds: from a hand-over at one replica up to the longest allowed wait
/// ([`crate::http::access::LONGEST_WAIT`]).
const WAIT_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0];

/// Handles of the metrics, looked up once.
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
    /// Leases that last longer than any that this service grants: a clock jumped back, or another program acquired
    /// them.
    pub overlong: IntCounter,
    /// Background releases that failed: the lease ran until it expired.
    pub abandoned: IntCounter,
    pub waits: Histogram,
    pub waiting: IntGauge,
    /// Locks that are held, at all replicas.
    pub held_now: IntGauge,
}

impl LockMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let attempts = metrics.counter(
            "lock_attempts_total",
            "Attempts to acquire a lock by result: granted, held, refused (too many waiters), failed, given_up (the client \
             disconnected or the replica stopped)",
            &["result"],
        );
        let contended = metrics.counter(
            "lock_contended_total",
            "Attempts to acquire a lock that found it held or other clients waiting for it",
            &[],
        );
        let events = metrics.counter("lock_events_total", "Events of leases", &["event"]);
        let waits =
            metrics.histogram_in("lock_wait_seconds", "Time that clients waited in lock queues", &[], WAIT_BUCKETS);
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
            held_now: metrics
                .gauge("lock_held", "Locks that are held, at all replicas, as listed a few seconds ago at most"),
            waiting: metrics.gauge("lock_waiting", "Clients that wait for a lock at this replica"),
        }
    }

    /// Starts to measure an attempt to acquire one lock.
    pub(super) fn attempt(&self) -> Attempt<'_> {
        Attempt { metrics: self, began: Instant::now(), result: &self.given_up, is_contended: false, waited: false }
    }

    /// The number of finished attempts.
    pub(super) fn attempts(&self) -> u64 {
        [&self.granted, &self.held, &self.refused, &self.failed, &self.given_up].into_iter().map(IntCounter::get).sum()
    }

    /// The total time that attempts have waited.
    pub(super) fn waited(&self) -> Duration {
        Duration::try_from_secs_f64(self.waits.get_sample_sum()).unwrap_or_default()
    }
}

/// One attempt to acquire one lock, however often it asks Redis. It is counted when it is dropped, even if the client
/// disconnects.
pub(super) struct Attempt<'a> {
    metrics: &'a LockMetrics,
    began: Instant,
    result: &'a IntCounter,
    is_contended: bool,
    waited: bool,
}

impl Attempt<'_> {
    /// Notes that the lock was not free and the client waits.
    pub(super) fn record_wait(&mut self) {
        (self.is_contended, self.waited) = (true, true);
    }

    pub(super) fn finish<T>(mut self, outcome: &Result<T, LockError>) {
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
