//! What hosts count.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::metrics::Metrics;

/// Handles, prepared once.
#[derive(Clone, Debug)]
pub(super) struct HostMetrics {
    pub accepted: IntCounter,
    pub refused: IntCounter,
    pub written: IntCounter,
    /// Given up because more waited for Redis than may.
    pub dropped: IntCounter,
    /// Given up because the host turned out to be another organisation's, or its key something else.
    pub drop_samplesed: IntCounter,
    pub failed_writes: IntCounter,
    pub unstored: IntGauge,
    pub hosts: IntGauge,
}

impl HostMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let samples = metrics.counter(
            "host_samples_total",
            "Samples of hosts, by what became of them: accepted, refused, written (to Redis), dropped (the oldest of too \
             many), drop_samplesed (the host is another organisation's, or its key holds something else)",
            &["event"],
        );
        let failed =
            metrics.counter("host_batches_failed_total", "Batches that Redis did not take; they are tried again", &[]);
        Self {
            accepted: samples.with_label_values(&["accepted"]),
            refused: samples.with_label_values(&["refused"]),
            written: samples.with_label_values(&["written"]),
            dropped: samples.with_label_values(&["dropped"]),
            drop_samplesed: samples.with_label_values(&["drop_samplesed"]),
            failed_writes: failed.with_label_values::<&str>(&[]),
            unstored: metrics.gauge("host_samples_unstored", "Accepted samples that are not in Redis yet"),
            hosts: metrics.gauge("host_memory_hosts", "Hosts in this replica's memory"),
        }
    }
}
