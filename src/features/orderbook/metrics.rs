//! The metrics of order books.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::error::BookError;
use crate::telemetry::metrics::Metrics;

const OPERATIONS: [&str; 5] = ["place", "amend", "cancel", "fill", "replace"];
const RESULTS: [&str; 3] = ["done", "refused", "failed"];

#[derive(Clone, Debug)]
pub(super) struct BookMetrics {
    operations: IntCounterVec,
    pub swept: IntCounter,
    /// Resting orders by symbol; only at the replica that follows the books.
    pub orders: IntGaugeVec,
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
        Self {
            operations,
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

    pub(super) fn count<T>(&self, operation: &str, outcome: &Result<T, BookError>) {
        let result = match outcome {
            Ok(_) => "done",
            Err(BookError::Redis(_) | BookError::Unsettled { .. } | BookError::Unreadable { .. }) => "failed",
            Err(_) => "refused",
        };
        self.operations.with_label_values(&[operation, result]).inc();
    }
}
