//! `json_operations_total{operation, result}` and `json_conflicts_total`, with their handles prepared.

use prometheus::{IntCounter, IntCounterVec};

use super::change::ChangeError;
use super::error::JsonError;
use crate::telemetry::metrics::Metrics;

#[derive(Clone, Debug)]
pub(super) struct JsonMetrics {
    pub read: Results,
    pub write: Results,
    /// Writes that met a document which another replica had changed meanwhile.
    pub conflicts: IntCounter,
}

/// One kind of operation's counters by what came of it.
#[derive(Clone, Debug)]
pub(super) struct Results {
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
            "Reads and writes of JSON documents by what came of them; refused: document, condition or schema forbade it",
            &["operation", "result"],
        );
        let conflicts = metrics.counter(
            "json_conflicts_total",
            "Writes that were tried again because another replica had changed the document meanwhile",
            &[],
        );
        Self {
            read: Results::new(&total, "read"),
            write: Results::new(&total, "write"),
            conflicts: conflicts.with_label_values::<&str>(&[]),
        }
    }
}

impl Results {
    fn new(total: &IntCounterVec, operation: &str) -> Self {
        let of = |result: &str| total.with_label_values(&[operation, result]);
        Self {
            ok: of("ok"),
            missing: of("missing"),
            refused: of("refused"),
            contended: of("contended"),
            error: of("error"),
        }
    }

    /// Counts what came of an operation, and passes it on.
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
