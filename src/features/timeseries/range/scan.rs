//! Scans a window in steps, within the budget of the request.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::super::backend::{Reach, SamplePage, Store};
use super::super::error::TimeseriesError;
use super::super::series::{MAX_TIMESTAMP, Sample, SeriesKey};
use super::super::window::{Order, Window};
use super::filter::SampleFilter;
use crate::clock::UnixMillis;

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The scan reached the end of the window.
    Done,
    /// The consumer needs no more samples.
    Enough,
    /// The budget is exhausted. Contains the timestamp of the last sample that was read.
    Spent(Option<UnixMillis>),
}

/// The most samples that one request may read for aggregation: about as many as the request deadline allows.
const REQUEST_SAMPLES: usize = 5_000_000;

/// A request that reads more samples than this waits until no other one does, since it may keep them all in memory.
const LARGE_READ: usize = 200_000;

static LARGE_READS: Semaphore = Semaphore::const_new(1);

/// The samples that a request may still read. Concurrent reads of several series share it.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Budget {
    limit: usize,
    left: AtomicUsize,
    /// Held until the request is done with its samples.
    large: OnceCell<Option<SemaphorePermit<'static>>>,
}

impl Budget {
    /// The budget of one request.
    pub(in crate::features::timeseries) fn of_request() -> Self {
        Self::new(REQUEST_SAMPLES)
    }

    /// The budget of a request with a lower limit, in samples.
    pub(in crate::features::timeseries) fn new(limit: usize) -> Self {
        let limit = limit.min(REQUEST_SAMPLES);
        Self { limit, left: AtomicUsize::new(limit), large: OnceCell::new() }
    }

    /// Waits for the permit of a large read, if this is one.
    async fn enter(&self) {
        if self.limit - self.left.load(Ordering::Relaxed) > LARGE_READ {
            self.large.get_or_init(async || LARGE_READS.acquire().await.ok()).await;
        }
    }

    /// Takes up to `wanted` samples from the budget and returns how many were left.
    fn take(&self, wanted: usize) -> usize {
        let rest = |left: usize| Some(left.saturating_sub(wanted));
        // The closure always returns `Some`.
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).unwrap_or_default();
        before.min(wanted)
    }
}

/// The samples of one series that pass a filter.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    backend: &'a Store,
    key: &'a SeriesKey,
    filter: &'a SampleFilter,
    budget: &'a Budget,
    reach: Reach,
}

impl<'a> Scan<'a> {
    pub(super) fn new(backend: &'a Store, key: &'a SeriesKey, filter: &'a SampleFilter, budget: &'a Budget) -> Self {
        Self { backend, key, filter, budget, reach: Reach::Visible }
    }

    /// Also reads the samples that a rollup was not filled from yet, even if retention hides them.
    pub(super) fn with_kept(self) -> Self {
        Self { reach: Reach::Kept, ..self }
    }

    /// The error that the request needs more samples than it may read.
    pub(super) fn too_wide(&self) -> TimeseriesError {
        TimeseriesError::TooWide { limit: self.budget.limit }
    }

    /// Passes the samples of a window to `take`, in the given order, until `take` returns false.
    pub(super) async fn read(
        &self,
        window: Window,
        order: Order,
        wanted: usize,
        mut take: impl FnMut(&[Sample]) -> bool,
    ) -> Result<Ended, TimeseriesError> {
        // If the filter excludes the whole window, one read is still needed to detect a series that does not exist.
        let mut reached = None;
        let mut rest = Some(self.filter.narrow(window).unwrap_or(Window { from: window.to, to: window.to }));
        while let Some(window) = rest {
            let keys = self.backend.keys(self.key).await?;
            let found = self.backend.read(&keys, window, order, wanted, self.reach).await?;
            let Some(SamplePage { mut samples, rest: left }) = found else {
                return Err(TimeseriesError::NotFound(self.key.clone()));
            };
            let affordable = self.budget.take(samples.len());
            self.budget.enter().await;
            let spent = affordable < samples.len();
            samples.truncate(affordable);
            reached = samples.last().map(|sample| sample.timestamp).or(reached);
            if !self.filter.is_open() {
                samples.retain(|sample| self.filter.passes(sample));
            }
            if !take(&samples) {
                return Ok(Ended::Enough);
            }
            if spent {
                return Ok(Ended::Spent(reached));
            }
            rest = left;
        }
        Ok(Ended::Done)
    }

    /// The newest sample before `time`.
    pub(super) async fn newest_before(&self, time: UnixMillis) -> Result<Option<Sample>, TimeseriesError> {
        if time <= 0 {
            return Ok(None);
        }
        self.first(Window { from: 0, to: time - 1 }, Order::Desc).await
    }

    /// The oldest sample after `time`.
    pub(super) async fn oldest_after(&self, time: UnixMillis) -> Result<Option<Sample>, TimeseriesError> {
        if time >= MAX_TIMESTAMP {
            return Ok(None);
        }
        self.first(Window { from: time + 1, to: MAX_TIMESTAMP }, Order::Asc).await
    }

    async fn first(&self, window: Window, order: Order) -> Result<Option<Sample>, TimeseriesError> {
        let mut found = None;
        let take = |samples: &[Sample]| {
            found = samples.first().copied();
            found.is_none()
        };
        match self.read(window, order, 1, take).await? {
            Ended::Spent(_) => Err(self.too_wide()),
            Ended::Done | Ended::Enough => Ok(found),
        }
    }
}
