//! The metrics `trades_total{result}` and `trades_folded_total{result}`.

use prometheus::{IntCounter, IntCounterVec};

use crate::telemetry::metrics::Metrics;

#[derive(Clone, Debug)]
pub(super) struct TradeMetrics {
    trades: IntCounterVec,
    /// Trades that this replica has added to candles.
    pub folded: IntCounter,
    /// Entries of a tape that are not trades.
    pub unreadable: IntCounter,
}

impl TradeMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let trades = metrics.counter(
            "trades_total",
            "Trades that callers reported, by result: stored, repeated (known already), refused",
            &["result"],
        );
        // Every series exists from the start, with the value 0.
        for result in ["stored", "repeated", "refused"] {
            trades.with_label_values(&[result]);
        }
        let folded = metrics.counter(
            "trades_folded_total",
            "Entries of tapes that this replica has folded, by result: ok (added to candles), unreadable (not a trade)",
            &["result"],
        );
        Self {
            trades,
            folded: folded.with_label_values(&["ok"]),
            unreadable: folded.with_label_values(&["unreadable"]),
        }
    }

    pub(super) fn count(&self, result: &str, trades: usize) {
        self.trades.with_label_values(&[result]).inc_by(u64::try_from(trades).unwrap_or(u64::MAX));
    }
}
