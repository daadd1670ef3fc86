//! Reads windows of one series: pages of samples or buckets, and statistics.
//!
//! Files, in reading order: `filter.rs` (which samples a read uses), `scan.rs` (reads a window in steps, within a
//! budget), `ahead.rs` (reads the beginnings of several windows together), `raw.rs` (pages of samples), `buckets.rs` with
//! `volume.rs` (pages of buckets and candles), and `stats.rs`.

mod ahead;
mod buckets;
mod filter;
mod raw;
mod scan;
mod stats;
mod volume;

pub(super) use ahead::ReadAhead;
pub(super) use buckets::BucketPlan;
pub(super) use filter::SampleFilter;
pub(super) use scan::Budget;
pub(super) use stats::Stats;

use buckets::BucketPage;
#[cfg(feature = "promql")]
use scan::Ended;
use scan::Scan;

use utoipa::ToSchema;

use super::aggregate::{Aggregation, BucketTimestamp, Point, RangePoint};
use super::backend::Store;
use super::cursor::{Cursor, Place};
use super::error::TimeseriesError;
use super::rollup::RollupView;
#[cfg(feature = "promql")]
use super::series::Sample;
use super::series::SeriesKey;
use super::window::{Order, Window};
use crate::clock::UnixMillis;

/// A validated range query.
#[derive(Clone, Debug)]
pub(super) struct RangePlan {
    pub window: Window,
    pub order: Order,
    pub limit: usize,
    /// The first point of the page; absent on the first page.
    pub place: Option<Place>,
    pub filter: SampleFilter,
    /// Raw samples if absent.
    pub buckets: Option<BucketPlan>,
    pub stamp: BucketTimestamp,
    /// The series of the volumes of candles.
    pub volume_key: Option<SeriesKey>,
}

impl RangePlan {
    /// Whether the points are candles.
    pub(super) fn has_candles(&self) -> bool {
        self.buckets.as_ref().is_some_and(|plan| plan.aggregation == Aggregation::Ohlcv)
    }
}

/// A page of a range. `render` writes its JSON.
#[derive(Debug, ToSchema)]
#[schema(as = SeriesRange, description = "A page of a range.")]
pub(super) struct RangePage {
    #[schema(value_type = String, example = "energy:consumption:MTR-001")]
    pub key: SeriesKey,
    /// The start of the window of all pages, in Unix milliseconds, inclusive; `to` is its inclusive end.
    #[schema(value_type = i64)]
    pub from: UnixMillis,
    #[schema(value_type = i64)]
    pub to: UnixMillis,
    #[schema(value_type = Vec<RangePoint>)]
    pub samples: Vec<Point>,
    /// The value of `cursor` for the next page; null on the last page.
    #[schema(value_type = Option<String>, required = true)]
    pub next_cursor: Option<Cursor>,
    /// Whether the points are candles.
    #[schema(ignore)]
    pub candles: bool,
}

/// The maximum number of samples of one bucket that are kept for a percentile, 8 bytes each in memory. A year of 15-second
/// samples has 2.1 million.
const PERCENTILE_SAMPLES: usize = 2_200_000;

/// Reads windows. A window can have any length: memory holds only the points of a page.
#[derive(Clone, Debug)]
pub(super) struct RangeReader {
    backend: Store,
    /// The maximum number of empty buckets in a gap.
    max_points: usize,
}

impl RangeReader {
    pub(super) fn new(backend: Store, max_points: usize) -> Self {
        Self { backend, max_points }
    }

    /// Reads one page. Each step of the scan is atomic; the series can change between two steps.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`]; [`TimeseriesError::TooWide`] or [`TimeseriesError::LimitExceeded`] if a single
    /// bucket has too many samples; [`TimeseriesError::GapTooLong`] if a gap has too many buckets.
    pub(super) async fn page(&self, key: SeriesKey, plan: RangePlan) -> Result<RangePage, TimeseriesError> {
        self.page_within(&Budget::of_request(), key, plan, None).await
    }

    /// Reads all samples of a window; none if the series does not exist.
    ///
    /// # Errors
    /// [`TimeseriesError::TooWide`].
    #[cfg(feature = "promql")]
    pub(super) async fn samples(
        &self,
        budget: &Budget,
        key: &SeriesKey,
        window: Window,
    ) -> Result<Vec<Sample>, TimeseriesError> {
        let open = SampleFilter::new(None, None, None);
        let scan = Scan::new(&self.backend, key, &open, budget);
        let mut all = Vec::new();
        let take = |samples: &[Sample]| {
            all.extend_from_slice(samples);
            true
        };
        match scan.read(window, Order::Asc, usize::MAX, take).await {
            Ok(Ended::Spent(_)) => Err(scan.too_wide()),
            Err(TimeseriesError::NotFound(_)) => Ok(Vec::new()),
            ended => ended.map(|_| all),
        }
    }

    /// Reads one page, within a budget that reads of other series share. `ahead` is the part of it that is already read.
    ///
    /// # Errors
    /// The errors of [`RangeReader::page`].
    pub(super) async fn page_within(
        &self,
        budget: &Budget,
        key: SeriesKey,
        plan: RangePlan,
        ahead: Option<ReadAhead>,
    ) -> Result<RangePage, TimeseriesError> {
        let candles = plan.has_candles();
        let RangePlan { window, order, limit, place, filter, buckets, stamp, volume_key } = plan;
        let needs_no_rollup = ahead.is_some();
        let scan = Scan::new(&self.backend, &key, &filter, budget).with_ahead(ahead);
        let (samples, next) = match buckets {
            None => raw::page(&scan, window, order, limit, place).await?,
            Some(plan) => {
                let grid = plan.grid.clone();
                let rollup = if filter.is_open() && !needs_no_rollup {
                    RollupView::open(&self.backend, &key, plan.aggregation, &plan.grid).await?
                } else {
                    None
                };
                let outlives = rollup.as_ref().is_some_and(RollupView::outlives_samples);
                let scan = if outlives { scan.with_kept() } else { scan };
                let page = BucketPage {
                    scan: &scan,
                    plan,
                    window,
                    limit,
                    gap_buckets: self.max_points,
                    kept_samples: PERCENTILE_SAMPLES,
                    place,
                    rollup,
                };
                let (mut slots, next) = page.read(order).await?;
                if let Some(volume_key) = &volume_key {
                    let volumes = Scan::new(&self.backend, volume_key, &filter, budget);
                    volume::add(&volumes, grid, window, order, &mut slots).await?;
                }
                (slots.iter().map(|slot| stamp.point(slot)).collect(), next)
            }
        };
        let next_cursor = next.map(|place| Cursor { order, window, place });
        Ok(RangePage { key, from: window.from, to: window.to, samples, next_cursor, candles })
    }
}
