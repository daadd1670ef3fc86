//! The metrics of limiters, by limiter and strategy.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use crate::telemetry::metrics::{Metrics, Row};

pub(super) const EXCEPTIONS: Row =
    Row::gauge("ratelimit_exceptions", "Keys that administrators allow, deny or limit differently");

/// From a decision without Redis to the longest wait for Redis, seconds.
const BUCKETS: &[f64] = &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5];

#[derive(Clone, Debug)]
pub(super) struct LimitMetrics {
    decisions: IntCounterVec,
    latency: HistogramVec,
}

/// The handles of one limiter, prepared once.
#[derive(Clone, Debug)]
pub(super) struct LimiterMetrics {
    pub allowed: IntCounter,
    pub refused: IntCounter,
    pub near: IntCounter,
    pub shadow: IntCounter,
    pub degraded: IntCounter,
    /// Seconds from the start of a check to its decision.
    pub latency: Histogram,
}

impl LimitMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            decisions: metrics.counter(
                "ratelimit_decisions_total",
                "Decisions: each is allowed or refused, and may also be near the limit, shadow or degraded",
                &["limiter", "strategy", "decision"],
            ),
            latency: metrics.histogram_in(
                "ratelimit_check_seconds",
                "Time to a decision",
                &["limiter", "strategy"],
                BUCKETS,
            ),
        }
    }

    pub(super) fn limiter(&self, limiter: &str, strategy: &str) -> LimiterMetrics {
        let of = |decision: &str| self.decisions.with_label_values(&[limiter, strategy, decision]);
        LimiterMetrics {
            allowed: of("allowed"),
            refused: of("refused"),
            near: of("near"),
            shadow: of("shadow"),
            degraded: of("degraded"),
            latency: self.latency.with_label_values(&[limiter, strategy]),
        }
    }
}
