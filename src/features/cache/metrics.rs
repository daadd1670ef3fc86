//! The metric `cache_operations_total{operation, result}`.

use prometheus::{IntCounter, IntCounterVec};

use super::error::CacheError;
use crate::redis::FaultKind;
use crate::telemetry::metrics::Metrics;

const OPERATIONS: [&str; 7] = ["get", "set", "delete", "take", "touch", "increment", "lease"];
const RESULTS: [&str; 6] = ["hit", "miss", "stale", "ok", "refused", "error"];

#[derive(Clone, Debug)]
pub(super) struct CacheMetrics {
    total: IntCounterVec,
    /// The counter of most operations, which needs no search for its labels.
    hits: IntCounter,
}

impl CacheMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let total = metrics.counter(
            "cache_operations_total",
            "Cache operations by result; refused: a condition, a lease or a fence was not satisfied",
            &["operation", "result"],
        );
        // Every series starts at 0, so that its first increase is visible.
        for operation in OPERATIONS {
            for result in RESULTS {
                total.with_label_values(&[operation, result]);
            }
        }
        Self { hits: total.with_label_values(&["get", "hit"]), total }
    }

    /// Counts the result of an operation and returns it. `success` is the label of a result that is not an error.
    pub(super) fn count<T>(
        &self,
        operation: &str,
        result: Result<T, CacheError>,
        success: impl FnOnce(&T) -> &'static str,
    ) -> Result<T, CacheError> {
        self.increase(operation, result.as_ref().map_or_else(failure, success));
        result
    }

    pub(super) fn increase(&self, operation: &str, result: &str) {
        match (operation, result) {
            ("get", "hit") => self.hits.inc(),
            _ => self.total.with_label_values(&[operation, result]).inc(),
        }
    }
}

fn failure(error: &CacheError) -> &'static str {
    match error {
        CacheError::Miss | CacheError::Leased { .. } | CacheError::Rebuilding { .. } => "miss",
        CacheError::Redis(fault) if !matches!(fault.kind, FaultKind::StaleFence | FaultKind::AheadFence) => "error",
        _ => "refused",
    }
}
