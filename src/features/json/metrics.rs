//! The metrics `json_operations_total{operation, result}` and `json_conflicts_total`.

use prometheus::{IntCounter, IntCounterVec};

use super::error::JsonError;
use crate::telemetry::metrics::Metrics;

#[derive(Clone, Debug)]
pub(super) struct JsonMetrics {
    operations: IntCounterVec,
    /// Writes that found that another replica had changed the document since they read it.
    pub conflicts: IntCounter,
}

impl JsonMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let operations = metrics.counter(
            "json_operations_total",
            "Reads and writes of JSON documents by result; refused: the document, a condition or a schema forbade it",
            &["operation", "result"],
        );
        // Every series exists from the start, with the value 0.
        for operation in ["read", "write"] {
            for result in ["ok", "missing", "refused", "contended", "error"] {
                operations.with_label_values(&[operation, result]);
            }
        }
        let conflicts = metrics.counter(
            "json_conflicts_total",
            "Writes of JSON documents that were retried because another replica had changed the document",
            &[],
        );
        Self { operations, conflicts: conflicts.with_label_values::<&str>(&[]) }
    }

    /// Counts the result of a `read` or `write` and returns it.
    pub(super) fn count<T>(&self, operation: &str, result: Result<T, JsonError>) -> Result<T, JsonError> {
        let name = match &result {
            Ok(_) => "ok",
            Err(JsonError::NoDocument | JsonError::PathMissing { .. }) => "missing",
            Err(JsonError::Contended) => "contended",
            Err(JsonError::Redis(_)) => "error",
            Err(_) => "refused",
        };
        self.operations.with_label_values(&[operation, name]).inc();
        result
    }
}
