//! How much one request may read.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::error::TimeseriesError;

/// The samples that a request may read, also where it reads several series at once.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Budget {
    limit: usize,
    left: AtomicUsize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, left: AtomicUsize::new(limit) }
    }

    /// Takes as many of `wanted` samples as are left.
    pub(super) fn take(&self, wanted: usize) -> usize {
        let rest = |left: usize| Some(left.saturating_sub(wanted));
        // The closure always has an answer.
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).unwrap_or_default();
        before.min(wanted)
    }

    /// More samples than the request may read were needed.
    pub(super) fn exceeded(&self) -> TimeseriesError {
        TimeseriesError::TooWide { limit: self.limit }
    }
}
