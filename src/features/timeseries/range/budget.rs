//! The budget of a request: how many samples it may read.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::error::TimeseriesError;

/// The samples that a request may still read. Concurrent reads of several series share it.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Budget {
    limit: usize,
    left: AtomicUsize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
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
