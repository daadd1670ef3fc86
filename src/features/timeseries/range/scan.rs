//! Scans a window in steps, within the budget of the request.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::super::backend::{Reach, SamplePage, Store};
use super::super::error::TimeseriesError;
use super::super::series::{MAX_TIMESTAMP, Sample, SeriesKey};
use super::super::window::{Order, Window};
use super::ahead::ReadAhead;
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

/// The most samples that a streamed response may read for groups: about a minute of reading.
const STREAM_SAMPLES: usize = 50_000_000;

/// A request that reads more samples than this waits until no other one does, since it may keep them all in memory.
const LARGE_READ: usize = 1_000_000;

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
        Self::of(REQUEST_SAMPLES)
    }

    /// The budget of a response that is streamed, which no deadline limits.
    pub(in crate::features::timeseries) fn of_stream() -> Self {
        Self::of(STREAM_SAMPLES)
    }

    /// The budget of a request with a lower limit, in samples.
    #[cfg(feature = "promql")]
    pub(in crate::features::timeseries) fn new(limit: usize) -> Self {
        Self::of(limit.min(REQUEST_SAMPLES))
    }

    fn of(limit: usize) -> Self {
        Self { limit, left: AtomicUsize::new(limit), large: OnceCell::new() }
    }

    /// Waits for the permit of a large read, if this is one. Streamed responses keep few samples, and may take long.
    async fn enter(&self) {
        let read = self.limit - self.left.load(Ordering::Relaxed);
        if read > LARGE_READ && self.limit <= REQUEST_SAMPLES {
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
    ahead: Option<ReadAhead>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(backend: &'a Store, key: &'a SeriesKey, filter: &'a SampleFilter, budget: &'a Budget) -> Self {
        Self { backend, key, filter, budget, reach: Reach::Visible, ahead: None }
    }

    /// Also reads the samples that a rollup was not filled from yet, even if retention hides them.
    pub(super) fn with_kept(self) -> Self {
        Self { reach: Reach::Kept, ahead: None, ..self }
    }

    /// Uses a page that was read before.
    pub(super) fn with_ahead(self, ahead: Option<ReadAhead>) -> Self {
        Self { ahead, ..self }
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
        let mut reached = None;
        let mut rest = Some(self.filter.first_window(window));
        while let Some(window) = rest {
            let found = if let Some(page) = self.ahead.as_ref().and_then(|ahead| ahead.page(window, order)) {
                Some(page.clone())
            } else {
                let keys = self.backend.keys(self.key).await?;
                self.backend.read(&keys, window, order, wanted, self.reach).await?
            };
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
