//! The metrics of the archive.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::metrics::Metrics;

#[derive(Clone, Debug)]
pub(super) struct ArchiveMetrics {
    /// The age of the oldest closed minute without a file, seconds.
    pub lag: IntGauge,
    /// The minutes in the windows of all symbols.
    pub minutes: IntGauge,
    pub files: IntCounterVec,
    pub versions: IntCounter,
    pub removed: IntCounter,
    pub copies: IntCounterVec,
    pub write_seconds: Histogram,
    pub verify_failures: IntCounter,
}

impl ArchiveMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.counter(name, help, &[]).with_label_values::<&str>(&[]);
        let files = metrics.counter(
            "trades_archive_files_total",
            "Minutes that were brought into files, by result: written, found (the file was there), redis_behind (the file has \
             more than Redis), conflict (both have something that the other one lacks), unreadable (the earlier version)",
            &["result"],
        );
        for result in ["written", "found", "redis_behind", "conflict", "unreadable"] {
            files.with_label_values(&[result]);
        }
        let copies = metrics.counter(
            "trades_archive_copies_total",
            "Packs that were to be copied into the store or brought back, by result: copied, restored, failed",
            &["result"],
        );
        for result in ["copied", "restored", "failed"] {
            copies.with_label_values(&[result]);
        }
        Self {
            lag: metrics.gauge(
                "trades_archive_lag_seconds",
                "Age of the oldest minute that is over and has no file; 0 without a directory",
            ),
            minutes: metrics.gauge("trades_window_entries", "Minutes of trades in Redis"),
            files,
            copies,
            versions: counter("trades_archive_versions_total", "Files that are a later version of their minute"),
            removed: counter("trades_archive_removed_total", "Minutes that left Redis after their file was read back"),
            write_seconds: metrics
                .histogram("trades_archive_write_seconds", "Time to bring up to 64 minutes into durable files", &[])
                .with_label_values::<&str>(&[]),
            verify_failures: counter(
                "trades_archive_verify_failures_total",
                "Files that a verification found missing, damaged or without a line in their manifest",
            ),
        }
    }
}
