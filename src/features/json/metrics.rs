//! The metrics `json_operations_total{operation, result}` and `json_conflicts_total`.

use prometheus::{IntCounter, IntCounterVec};

use super::change::ChangeError;
use super::error::JsonError;
use crate::telemetry::metrics::Metrics;

#[derive(Clone, Debug)]
pub(super) struct JsonMetrics {
    pub read: ResultCounters,
    pub write: ResultCounters,
    /// Writes that found that another replica had changed the document since they read it.
    pub conflicts: IntCounter,
}

/// The counters of one kind of operation, by result.
#[derive(Clone, Debug)]
pub(super) struct ResultCounters {
    ok: IntCounter,
    missing: IntCounter,
    refused: IntCounter,
    contended: IntCounter,
    error: IntCounter,
}

impl JsonMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let total = metrics.counter(
            "json_operations_total",
            "Reads and writes of JSON documents by result; refused: the document, a condition or a schema forbade it",
            &["operation", "result"],
        );
        let conflicts = metrics.counter(
            "json_conflicts_total",
            "Writes of JSON documents that were retried because another replica had changed the document",
            &[],
        );
        Self {
            read: ResultCounters::new(&total, "read"),
            write: ResultCounters::new(&total, "write"),
            conflicts: conflicts.with_label_values::<&str>(&[]),
        }
    }
}

impl ResultCounters {
    fn new(total: &IntCounterVec, operation: &str) -> Self {
        let counter = |result: &str| total.with_label_values(&[operation, result]);
        Self {
            ok: counter("ok"),
            missing: counter("missing"),
            refused: counter("refused"),
            contended: counter("contended"),
            error: counter("error"),
        }
    }

    /// Counts the result of an operation and returns it.
    pub(super) fn count<T>(&self, result: Result<T, JsonError>) -> Result<T, JsonError> {
        match &result {
            Ok(_) => &self.ok,
            Err(JsonError::Change(ChangeError::NoDocument | ChangeError::PathMissing { .. })) => &self.missing,
            Err(JsonError::Contended) => &self.contended,
            Err(JsonError::Redis(_)) => &self.error,
            Err(_) => &self.refused,
        }
        .inc();
        result
    }
}
