//! Prometheus metrics of host metrics.

use prometheus::{IntCounter, IntGauge};

use crate::telemetry::metrics::Metrics;

/// Metric handles, created once.
#[derive(Clone, Debug)]
pub(super) struct HostMetrics {
    pub accepted: IntCounter,
    pub refused: IntCounter,
    pub written: IntCounter,
    /// Dropped because more samples waited for Redis than `hosts.unstored_samples`.
    pub dropped: IntCounter,
    /// Dropped because another organisation owns the host, or its key holds another type.
    pub disowned: IntCounter,
    pub failed_writes: IntCounter,
    pub unstored: IntGauge,
    /// `hosts.unstored_samples`.
    pub unstored_limit: IntGauge,
    pub hosts: IntGauge,
}

impl HostMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let samples = metrics.counter(
            "host_samples_total",
            "Samples of hosts by event: accepted, refused, written (to Redis), dropped (the oldest, because too many \
             waited), disowned (another organisation owns the host, or its key holds another type)",
            &["event"],
        );
        let failed =
            metrics.counter("host_batches_failed_total", "Batches that Redis failed to store; they are retried", &[]);
        Self {
            accepted: samples.with_label_values(&["accepted"]),
            refused: samples.with_label_values(&["refused"]),
            written: samples.with_label_values(&["written"]),
            dropped: samples.with_label_values(&["dropped"]),
            disowned: samples.with_label_values(&["disowned"]),
            failed_writes: failed.with_label_values::<&str>(&[]),
            unstored: metrics.gauge("host_samples_unstored", "Accepted samples that are not in Redis yet"),
            unstored_limit: metrics
                .gauge("host_samples_unstored_limit", "The most accepted samples that wait for Redis"),
            hosts: metrics.gauge("host_memory_hosts", "Hosts in this replica's memory"),
        }
    }
}
