//! Reading a window: pages of samples or buckets, and statistics, a stretch at a time.

use std::collections::VecDeque;

use serde::Serialize;
use utoipa::ToSchema;

use super::aggregate::{Accumulator, Aggregation, Buckets, Grid, Point};
use super::backend::native::NativeBackend;
use super::backend::{Order, Stretch, Window};
use super::cursor::Cursor;
use super::error::TimeseriesError;
use super::query::RangePlan;
use super::series::{Sample, SeriesKey};
use super::summation::Moments;
use crate::clock::UnixMillis;

/// A page of a range.
#[derive(Debug)]
pub(super) struct RangePage {
    pub key: SeriesKey,
    pub window: Window,
    pub points: Vec<Point>,
    pub next: Option<Cursor>,
}

/// A window's statistics; null where there are no samples, or where a sum is out of range.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    #[schema(value_type = String)]
    pub key: SeriesKey,
    /// The window, Unix milliseconds, both included.
    #[schema(value_type = i64)]
    pub from: UnixMillis,
    #[schema(value_type = i64)]
    pub to: UnixMillis,
    pub count: u64,
    pub sum: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub avg: Option<f64>,
    /// Of the population: the root of the mean squared distance from the mean.
    pub std_dev: Option<f64>,
    /// The values of the oldest and the newest sample.
    pub first: Option<f64>,
    pub last: Option<f64>,
    #[schema(value_type = Option<i64>)]
    pub first_timestamp: Option<UnixMillis>,
    #[schema(value_type = Option<i64>)]
    pub last_timestamp: Option<UnixMillis>,
}

/// Reads windows; a window of any length takes little memory, since only its points stay.
#[derive(Clone, Debug)]
pub(super) struct RangeReader {
    backend: NativeBackend,
    scan_samples: u64,
}

/// Whether a scan wants more samples.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scan {
    On,
    Enough,
}

impl RangeReader {
    pub(super) fn new(backend: NativeBackend, scan_samples: u64) -> Self {
        Self { backend, scan_samples }
    }

    /// One page. A stretch is read in one atomic step; between two of them the series may change.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`] for buckets over too many samples.
    pub(super) async fn page(&self, key: SeriesKey, plan: RangePlan) -> Result<RangePage, TimeseriesError> {
        let (points, rest) = match (plan.buckets, plan.order) {
            (None, order) => self.raw(&key, plan.window, order, plan.limit).await?,
            (Some((grid, aggregation)), Order::Asc) => self.oldest_buckets(&key, plan, grid, aggregation).await?,
            (Some((grid, aggregation)), Order::Desc) => self.newest_buckets(&key, plan, grid, aggregation).await?,
        };
        let next = rest.map(|window| Cursor { order: plan.order, window });
        Ok(RangePage { key, window: plan.window, points, next })
    }

    /// # Errors
    /// [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`].
    pub(super) async fn stats(&self, key: SeriesKey, window: Window) -> Result<Stats, TimeseriesError> {
        let (mut all, mut moments, mut ends): (Option<Accumulator>, _, _) = (None, Moments::default(), None);
        let add = |sample: Sample| {
            match &mut all {
                Some(all) => all.add(sample.value),
                None => all = Some(Accumulator::new(sample.value)),
            }
            moments.add(sample.value);
            let (first, _) = ends.unwrap_or((sample.timestamp, sample.timestamp));
            ends = Some((first, sample.timestamp));
            Scan::On
        };
        self.scan(&key, window, add).await?;
        Ok(Stats {
            key,
            from: window.from,
            to: window.to,
            count: all.map_or(0, |all| all.count),
            sum: all.map(|all| all.sum()),
            min: all.map(|all| all.min),
            max: all.map(|all| all.max),
            avg: all.map(|all| all.avg()),
            std_dev: all.map(|_| moments.deviation()),
            first: all.map(|all| all.first),
            last: all.map(|all| all.last),
            first_timestamp: ends.map(|(first, _)| first),
            last_timestamp: ends.map(|(_, last)| last),
        })
    }

    /// Raw samples from either end, and what is left of the window.
    async fn raw(
        &self,
        key: &SeriesKey,
        window: Window,
        order: Order,
        limit: usize,
    ) -> Result<(Vec<Point>, Option<Window>), TimeseriesError> {
        let mut points: Vec<Point> = Vec::new();
        let mut rest = Some(window);
        // One more than asked for tells whether there is a next page.
        while let Some(window) = rest
            && points.len() <= limit
        {
            let wanted = limit + 1 - points.len();
            let Some(stretch) = self.backend.read(key, window, order, wanted).await? else {
                return Err(TimeseriesError::NotFound(key.clone()));
            };
            points.reserve(stretch.samples.len().min(wanted));
            points.extend(stretch.samples.into_iter().take(wanted).map(Point::from));
            rest = stretch.rest;
        }
        let beyond = points.get(limit).map(|point| match order {
            Order::Asc => Window { from: point.timestamp, to: window.to },
            Order::Desc => Window { from: window.from, to: point.timestamp },
        });
        points.truncate(limit);
        Ok((points, beyond))
    }

    /// The first buckets of the window.
    async fn oldest_buckets(
        &self,
        key: &SeriesKey,
        plan: RangePlan,
        grid: Grid,
        aggregation: Aggregation,
    ) -> Result<(Vec<Point>, Option<Window>), TimeseriesError> {
        let mut buckets = Buckets::new(grid, aggregation);
        let mut points = Vec::new();
        let add = |sample| {
            points.extend(buckets.add(sample));
            if points.len() > plan.limit { Scan::Enough } else { Scan::On }
        };
        self.scan(key, plan.window, add).await?;
        points.extend(buckets.finish());
        // A bucket beyond the page may be incomplete; the next page begins where it does.
        let beyond = points.get(plan.limit).map(|point| Window { from: point.timestamp, to: plan.window.to });
        points.truncate(plan.limit);
        Ok((points, beyond))
    }

    /// The last buckets of the window, newest first. Sums depend on the order of their terms, so these are computed
    /// forwards as well, and the page is the same in both orders.
    async fn newest_buckets(
        &self,
        key: &SeriesKey,
        plan: RangePlan,
        grid: Grid,
        aggregation: Aggregation,
    ) -> Result<(Vec<Point>, Option<Window>), TimeseriesError> {
        let mut buckets = Buckets::new(grid, aggregation);
        let mut points = VecDeque::new();
        let mut dropped = false;
        let mut keep = |point: Option<Point>| {
            points.extend(point);
            if points.len() > plan.limit {
                points.pop_front();
                dropped = true;
            }
        };
        let add = |sample| {
            keep(buckets.add(sample));
            Scan::On
        };
        self.scan(key, plan.window, add).await?;
        keep(buckets.finish());
        let oldest = points.front().filter(|_| dropped);
        let beyond = oldest.map(|point| Window { from: plan.window.from, to: point.timestamp - 1 });
        Ok((points.into_iter().rev().collect(), beyond))
    }

    /// Gives the window's samples to `each`, oldest first.
    async fn scan(
        &self,
        key: &SeriesKey,
        window: Window,
        mut each: impl FnMut(Sample) -> Scan,
    ) -> Result<(), TimeseriesError> {
        let mut scanned = 0_u64;
        let mut rest = Some(window);
        while let Some(window) = rest {
            let Some(Stretch { samples, rest: left }) = self.backend.read(key, window, Order::Asc, usize::MAX).await?
            else {
                return Err(TimeseriesError::NotFound(key.clone()));
            };
            scanned += u64::try_from(samples.len()).unwrap_or(u64::MAX);
            if scanned > self.scan_samples {
                return Err(TimeseriesError::TooWide { limit: self.scan_samples });
            }
            if samples.into_iter().any(|sample| each(sample) == Scan::Enough) {
                return Ok(());
            }
            rest = left;
        }
        Ok(())
    }
}
