//! The metrics of erasures.

use prometheus::{IntCounterVec, IntGauge};

use crate::telemetry::metrics::Metrics;

#[derive(Clone, Debug)]
pub(super) struct ErasureMetrics {
    pub erasures: IntCounterVec,
    /// How long the oldest erasure that is not complete has waited, seconds.
    pub oldest_open: IntGauge,
}

impl ErasureMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let erasures = metrics.counter("custody_erasures_total", "Rounds of erasures at this replica", &["result"]);
        for result in ["complete", "failed", "waiting"] {
            erasures.with_label_values(&[result]);
        }
        let help = "How long the oldest erasure that is not complete has waited, seconds";
        Self { erasures, oldest_open: metrics.gauge("custody_erasure_oldest_open_seconds", help) }
    }
}
