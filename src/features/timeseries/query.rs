//! The parameters of reads.

use serde::Deserialize;
use utoipa::IntoParams;

use super::aggregate::{Aggregation, Grid};
use super::backend::{Order, Window};
use super::cursor::Cursor;
use super::series::{MAX_TIMESTAMP, SeriesKey};
use super::times::{BucketWidth, QueryTime};
use crate::clock::UnixMillis;
use crate::http::problem::Problem;

/// The path of a series.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SeriesPath {
    /// The series: 1 to 512 bytes without control characters.
    #[param(value_type = String, min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$",
            example = "energy:consumption:MTR-001")]
    pub key: SeriesKey,
}

/// The window of statistics.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WindowQuery {
    /// The oldest time of the window, included; the beginning when absent.
    #[param(inline, example = "-24h")]
    pub from: Option<QueryTime>,
    /// The newest time of the window, included; the end when absent.
    #[param(inline, example = "now")]
    pub to: Option<QueryTime>,
}

impl WindowQuery {
    /// # Errors
    /// `invalid-query` when the window ends before it begins.
    pub(super) fn window(&self, now: UnixMillis) -> Result<Window, Problem> {
        let from = self.from.map_or(0, |from| from.resolve(now));
        let to = self.to.map_or(MAX_TIMESTAMP, |to| to.resolve(now));
        if from > to {
            return Err(Problem::query_parameter("from", "must not be after `to`"));
        }
        Ok(Window { from, to })
    }
}

/// The window of a deletion: it must be said, so that a lost parameter does not empty a series.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeletionQuery {
    /// The oldest time of the window, included.
    #[param(inline, example = "-24h")]
    pub from: QueryTime,
    /// The newest time of the window, included.
    #[param(inline, example = "now")]
    pub to: QueryTime,
}

impl DeletionQuery {
    /// # Errors
    /// `invalid-query` when the window ends before it begins.
    pub(super) fn window(&self, now: UnixMillis) -> Result<Window, Problem> {
        WindowQuery { from: Some(self.from), to: Some(self.to) }.window(now)
    }
}

/// What a range shows, and which part of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RangeQuery {
    /// The oldest time of the window, included; the beginning when absent.
    #[param(inline, example = "-24h")]
    pub from: Option<QueryTime>,
    /// The newest time of the window, included; the end when absent.
    #[param(inline, example = "now")]
    pub to: Option<QueryTime>,
    /// What the samples of a bucket become; raw samples when absent. Without `bucket` the whole window is one.
    #[param(inline)]
    pub agg: Option<Aggregation>,
    /// The length of a bucket, such as 15m, 1h, 1d (24 hours). Goes with `agg`.
    #[param(value_type = Option<String>, pattern = "^[1-9][0-9]{0,8}(ms|s|m|h|d|w)$")]
    pub bucket: Option<BucketWidth>,
    /// A time at which a bucket begins, Unix milliseconds; 0 when absent.
    #[param(minimum = -9_007_199_254_740_991_i64, maximum = 9_007_199_254_740_991_i64)]
    pub align: Option<i64>,
    /// `asc`, oldest first, when absent.
    #[param(inline)]
    pub order: Option<Order>,
    /// Points of a page; 10,000 when absent.
    #[param(minimum = 1, maximum = 100_000)]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before; it stands for that request's `from`, `to` and `order`.
    #[param(value_type = Option<String>, pattern = "^[ad][0-9a-f]{1,14}-[0-9a-f]{1,14}$")]
    pub cursor: Option<Cursor>,
}

/// A checked range query.
#[derive(Clone, Copy, Debug)]
pub(super) struct RangePlan {
    pub window: Window,
    pub order: Order,
    pub limit: usize,
    /// Raw samples when absent.
    pub buckets: Option<(Grid, Aggregation)>,
}

impl RangeQuery {
    /// # Errors
    /// `invalid-query` naming the parameter.
    pub(super) fn plan(&self, now: UnixMillis, default: usize, max: usize) -> Result<RangePlan, Problem> {
        let limit = self.limit.unwrap_or(default);
        if !(1..=max).contains(&limit) {
            return Err(Problem::query_parameter("limit", format!("must be from 1 to {max}")));
        }
        let align = self.align.unwrap_or(0);
        if !(-MAX_TIMESTAMP..=MAX_TIMESTAMP).contains(&align) {
            return Err(Problem::query_parameter("align", format!("must be from -{MAX_TIMESTAMP} to {MAX_TIMESTAMP}")));
        }
        if self.align.is_some() && self.bucket.is_none() {
            return Err(Problem::query_parameter("align", "means nothing without `bucket`"));
        }
        let (window, order) = match self.cursor {
            Some(cursor) => (cursor.window, cursor.order),
            None => (WindowQuery { from: self.from, to: self.to }.window(now)?, self.order.unwrap_or_default()),
        };
        let buckets = match (self.bucket, self.agg) {
            (Some(BucketWidth(width)), Some(aggregation)) => Some((Grid { width, align }, aggregation)),
            (None, Some(aggregation)) => Some((Grid::whole(window), aggregation)),
            (Some(_), None) => return Err(Problem::query_parameter("agg", "is needed with `bucket`")),
            (None, None) => None,
        };
        Ok(RangePlan { window, order, limit, buckets })
    }
}

/// Which series a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The start of the keys.
    #[param(example = "energy:")]
    pub prefix: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Series of a page; 100 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    pub limit: Option<usize>,
}

impl ListQuery {
    const DEFAULT_LIMIT: usize = 100;
    const MAX_LIMIT: usize = 1_000;

    /// # Errors
    /// `invalid-query` when the limit is out of range.
    pub(super) fn checked_limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(Self::DEFAULT_LIMIT);
        if (1..=Self::MAX_LIMIT).contains(&limit) {
            return Ok(limit);
        }
        Err(Problem::query_parameter("limit", format!("must be from 1 to {}", Self::MAX_LIMIT)))
    }
}
