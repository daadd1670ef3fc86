//! The metric `cache_operations_total{operation, result}`.

use prometheus::{IntCounter, IntCounterVec};

use super::error::CacheError;
use crate::redis::FaultKind;
use crate::telemetry::metrics::Metrics;

/// The counters of every operation, resolved once.
#[derive(Clone, Debug)]
pub(super) struct CacheMetrics {
    pub get: Results,
    pub set: Results,
    pub delete: Results,
    pub take: Results,
    pub touch: Results,
    pub increment: Results,
    pub lease: Results,
}

/// The counters of one operation, by result.
#[derive(Clone, Debug)]
pub(super) struct Results {
    hit: IntCounter,
    miss: IntCounter,
    stale: IntCounter,
    ok: IntCounter,
    refused: IntCounter,
    error: IntCounter,
}

/// The result of an operation that did not fail.
#[derive(Clone, Copy, Debug)]
pub(super) enum Success {
    /// A value was found.
    Hit,
    /// A copy of an expired value was returned.
    Stale,
    /// The change was made.
    Ok,
}

impl CacheMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let total = metrics.counter(
            "cache_operations_total",
            "Cache operations by result; refused: a condition, a lease or a fence was not satisfied",
            &["operation", "result"],
        );
        let of = |operation: &str| Results::new(&total, operation);
        Self {
            get: of("get"),
            set: of("set"),
            delete: of("delete"),
            take: of("take"),
            touch: of("touch"),
            increment: of("increment"),
            lease: of("lease"),
        }
    }
}

impl Results {
    fn new(total: &IntCounterVec, operation: &str) -> Self {
        let of = |result: &str| total.with_label_values(&[operation, result]);
        Self {
            hit: of("hit"),
            miss: of("miss"),
            stale: of("stale"),
            ok: of("ok"),
            refused: of("refused"),
            error: of("error"),
        }
    }

    /// Counts a result and returns it.
    pub(super) fn count<T>(
        &self,
        result: Result<T, CacheError>,
        success: impl FnOnce(&T) -> Success,
    ) -> Result<T, CacheError> {
        match &result {
            Ok(value) => match success(value) {
                Success::Hit => self.hit.inc(),
                Success::Stale => self.stale.inc(),
                Success::Ok => self.ok.inc(),
            },
            Err(error) => self.failed(error),
        }
        result
    }

    pub(super) fn succeeded(&self) {
        self.ok.inc();
    }

    pub(super) fn failed(&self, error: &CacheError) {
        match error {
            CacheError::Miss | CacheError::Leased { .. } | CacheError::Rebuilding { .. } => self.miss.inc(),
            CacheError::Redis(fault) if fault.kind != FaultKind::StaleFence => self.error.inc(),
            _ => self.refused.inc(),
        }
    }
}
