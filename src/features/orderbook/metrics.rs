//! The metrics of order books.

use prometheus::{Histogram, HistogramTimer, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::error::BookError;
use crate::telemetry::metrics::Metrics;

const OPERATIONS: [&str; 5] = ["place", "amend", "cancel", "fill", "replace"];
/// Seconds, from a script on an idle Redis to half of the time that a command may take.
const BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25];
const RESULTS: [&str; 3] = ["done", "refused", "failed"];

#[derive(Clone, Debug)]
pub(super) struct BookMetrics {
    operations: IntCounterVec,
    seconds: [(&'static str, Histogram); 6],
    pub swept: IntCounter,
    /// Resting orders by symbol; only at the replica that follows the books.
    pub orders: IntGaugeVec,
    /// The price levels of the bids and of the asks of all books; only at the replica that follows the books.
    pub depth: [IntGauge; 2],
    /// How long the oldest unpublished change has waited, seconds.
    pub lag: IntGauge,
    /// When changes were last published, Unix seconds.
    pub market_data_at: IntGauge,
}

impl BookMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let swept = metrics.counter("orderbook_swept_total", "Expired orders that this replica's sweeps ended", &[]);
        let operations = metrics.counter(
            "orderbook_operations_total",
            "Operations on order books by result: done, refused, failed (Redis did not do it, or the outcome is unknown)",
            &["operation", "result"],
        );
        for (operation, result) in OPERATIONS.iter().flat_map(|operation| RESULTS.map(|result| (*operation, result))) {
            operations.with_label_values(&[operation, result]);
        }
        let seconds = metrics.histogram_in(
            "orderbook_seconds",
            "Time of an operation on a book; batch: one of several operations",
            &["operation"],
            BUCKETS,
        );
        let depth = metrics.gauges(
            "orderbook_depth",
            "Price levels of all books, at the replica that follows the books",
            &["side"],
        );
        Self {
            operations,
            seconds: ["place", "amend", "cancel", "fill", "replace", "batch"]
                .map(|operation| (operation, seconds.with_label_values(&[operation]))),
            depth: ["bid", "ask"].map(|side| depth.with_label_values(&[side])),
            orders: metrics.gauges(
                "orderbook_orders",
                "Resting orders of the first 100 books, at the replica that follows the books",
                &["symbol"],
            ),
            lag: metrics.gauge(
                "orderbook_follower_lag_seconds",
                "How long the oldest change of a book has waited to be published",
            ),
            market_data_at: metrics.gauge(
                "redis_gridtokenx_market_data_timestamp",
                "When this replica last published changes of a book, Unix seconds; 0: never",
            ),
            swept: swept.with_label_values::<&str>(&[]),
        }
    }

    /// Starts a timer that observes the time of an operation until it is dropped.
    pub(super) fn time(&self, operation: &str) -> Option<HistogramTimer> {
        let (_, histogram) = self.seconds.iter().find(|(name, _)| *name == operation)?;
        Some(histogram.start_timer())
    }

    pub(super) fn count<T>(&self, operation: &str, outcome: &Result<T, BookError>) {
        let result = match outcome {
            Ok(_) => "done",
            Err(BookError::Redis(_) | BookError::Unsettled { .. } | BookError::Unreadable { .. }) => "failed",
            Err(_) => "refused",
        };
        self.operations.with_label_values(&[operation, result]).inc();
    }
}
