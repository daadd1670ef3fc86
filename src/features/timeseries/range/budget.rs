//! The budget of a request: how many samples it may read.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::error::TimeseriesError;

/// The most samples that one request may read for aggregation: about as many as the request deadline allows.
const REQUEST_SAMPLES: usize = 5_000_000;

/// The samples that a request may still read. Concurrent reads of several series share it.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Budget {
    limit: usize,
    left: AtomicUsize,
}

impl Budget {
    /// The budget of one request.
    pub(in crate::features::timeseries) fn of_request() -> Self {
        Self::new(REQUEST_SAMPLES)
    }

    /// The budget of a request with a lower limit, in samples.
    pub(in crate::features::timeseries) fn new(limit: usize) -> Self {
        let limit = limit.min(REQUEST_SAMPLES);
        Self { limit, left: AtomicUsize::new(limit) }
    }

    /// Takes up to `wanted` samples from the budget and returns how many were left.
    pub(super) fn take(&self, wanted: usize) -> usize {
        let rest = |left: usize| Some(left.saturating_sub(wanted));
        // The closure always returns `Some`.
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).unwrap_or_default();
        before.min(wanted)
    }

    /// The error that the request needs more samples than it may read.
    pub(super) fn exceeded(&self) -> TimeseriesError {
        TimeseriesError::TooWide { limit: self.limit }
    }
}
