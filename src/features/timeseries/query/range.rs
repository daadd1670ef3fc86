//! The query parameters of a range.

use serde::{Deserialize, Deserializer, de};
use utoipa::IntoParams;

use super::super::aggregate::{Aggregation, Bucket, BucketTimestamp, Fill, Gap, Grid, Register};
use super::super::cursor::Cursor;
use super::super::error::Violation;
use super::super::range::{BucketPlan, RangePlan, SampleFilter};
use super::super::series::{MAX_TIMESTAMP, SeriesKey};
use super::super::window::{Order, Window};
use super::{Align, BucketLength, WindowQuery, Zone};
use crate::clock::UnixMillis;
use crate::http::times::QueryTime;

/// The query parameters of a range.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::features::timeseries) struct RangeQuery {
    /// The start of the window, inclusive; no lower limit if absent.
    #[param(inline, example = "-24h")]
    pub from: Option<QueryTime>,
    /// The end of the window, inclusive; no upper limit if absent.
    #[param(inline, example = "now")]
    pub to: Option<QueryTime>,
    /// The aggregation of the samples in each bucket; raw samples if absent. Without `bucket` the whole window is one
    /// bucket.
    #[param(inline)]
    pub agg: Option<Aggregation>,
    /// The length of a bucket: elapsed time (15m, 6h), or days, weeks that start on Monday, months and years (1d, 1w,
    /// 3mo, 1y). Requires `agg`.
    #[param(value_type = Option<String>, pattern = "^[1-9][0-9]{0,8}(ms|s|m|h)$|^[1-9][0-9]{0,3}(d|w|mo|y)$")]
    pub bucket: Option<BucketLength>,
    /// The time zone of days, weeks, months and years, by its name in the IANA database; UTC if absent. With `tz`, a
    /// bucket of elapsed time must divide 24 hours, and starts again at local midnight.
    #[param(value_type = Option<String>, example = "Asia/Bangkok", max_length = 64)]
    pub tz: Option<Zone>,
    /// A time at which a bucket starts: `start` or `end` of the window, Unix milliseconds, or any other form of time.
    #[param(value_type = Option<String>, pattern = "^(start|end|now|-?[0-9]{1,15}|-[0-9]{1,9}(ms|s|m|h|d|w)|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    pub align: Option<Align>,
    /// The time of a bucket that is its timestamp; `start` if absent.
    #[param(inline)]
    pub bucket_timestamp: Option<BucketTimestamp>,
    /// Whether to include empty buckets between others: 0 for a sum or count, the previous value for `last` and
    /// `ohlcv`, the line between the samples for `twa`, null for all others.
    pub empty: Option<bool>,
    /// The value of empty buckets between others, instead of `empty`; they are omitted if absent.
    #[param(inline)]
    pub fill: Option<Fill>,
    /// Only samples at these timestamps: at most 128, separated by commas.
    #[param(value_type = Option<String>, pattern = "^[0-9]{1,16}(,[0-9]{1,16}){0,127}$")]
    #[serde(default, deserialize_with = "times")]
    pub filter_by_ts: Option<Vec<UnixMillis>>,
    /// Only samples whose value is at least this.
    pub min_value: Option<f64>,
    /// Only samples whose value is at most this.
    pub max_value: Option<f64>,
    /// The value at which the register of a counter restarts at 0. Requires `increase` or `rate`.
    #[param(exclusive_minimum = 0, example = 100_000.0)]
    pub wrap: Option<f64>,
    /// The share of the previous value below which a value means that the counter was reset; 0.9 if absent. Smaller falls count
    /// as they are. Requires `increase` or `rate`.
    #[param(exclusive_minimum = 0, maximum = 1, example = 0.9)]
    pub reset_below: Option<f64>,
    /// The series whose sums are the volumes of the candles. Requires `ohlcv`.
    #[param(value_type = Option<String>, min_length = 1, max_length = 512)]
    pub volume_key: Option<SeriesKey>,
    /// `asc` (oldest first) if absent.
    #[param(inline)]
    pub order: Option<Order>,
    /// The maximum number of points in a page; 10,000 if absent.
    #[param(minimum = 1, maximum = 100_000)]
    pub limit: Option<usize>,
    /// `next_cursor` of the previous page. It replaces `from`, `to` and `order`.
    #[param(value_type = Option<String>, pattern = "^[ad][0-9a-f]{1,14}-[0-9a-f]{1,14}-[0-9a-f]{1,14}-[0-9a-f]{1,14}$")]
    pub cursor: Option<Cursor>,
}

/// The number of points in a page if the request has no limit: about half a megabyte of JSON.
const DEFAULT_POINTS: usize = 10_000;

/// The maximum number of timestamps in `filter_by_ts`.
const MAX_TIMES: usize = 128;

/// Parses timestamps that are separated by commas.
fn times<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<UnixMillis>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|time| digits && *time <= MAX_TIMESTAMP)
    };
    let times: Option<Vec<UnixMillis>> = text.split(',').take(MAX_TIMES + 1).map(time).collect();
    let invalid = || de::Error::custom("must be a list of Unix milliseconds, separated by commas");
    times.map(Some).ok_or_else(invalid)
}

impl RangeQuery {
    /// # Errors
    /// [`Violation`] naming the parameter.
    pub(in crate::features::timeseries) fn plan(&self, now: UnixMillis, max: usize) -> Result<RangePlan, Violation> {
        let limit = super::checked_limit("limit", self.limit.unwrap_or(DEFAULT_POINTS.min(max)), max)?;
        for (name, bound) in [("min_value", self.min_value), ("max_value", self.max_value)] {
            if let Some(bound) = bound
                && !bound.is_finite()
            {
                return Err(Violation::new(name, format!("must be a finite number, got {bound}")));
            }
        }
        if self.filter_by_ts.as_ref().is_some_and(|times| times.len() > MAX_TIMES) {
            return Err(Violation::new("filter_by_ts", format!("must have at most {MAX_TIMES} timestamps")));
        }
        let (window, order) = match self.cursor {
            Some(cursor) => (cursor.window, cursor.order),
            None => (WindowQuery { from: self.from, to: self.to }.window(now)?, self.order.unwrap_or_default()),
        };
        Ok(RangePlan {
            window,
            order,
            limit,
            place: self.cursor.map(|cursor| cursor.place),
            filter: SampleFilter::new(self.filter_by_ts.as_deref(), self.min_value, self.max_value),
            buckets: self.buckets(window, now)?,
            stamp: self.bucket_timestamp.unwrap_or_default(),
            volume_key: self.volume_key.clone(),
        })
    }

    fn buckets(&self, window: Window, now: UnixMillis) -> Result<Option<BucketPlan>, Violation> {
        let without_bucket = [
            ("tz", self.tz.is_some()),
            ("align", self.align.is_some()),
            ("bucket_timestamp", self.bucket_timestamp.is_some()),
            ("empty", self.empty.is_some()),
            ("fill", self.fill.is_some()),
        ];
        if let Some((name, _)) = without_bucket.iter().find(|(_, given)| *given && self.bucket.is_none()) {
            return Err(Violation::new(*name, "must not be sent without `bucket`"));
        }
        let aggregation = match (self.agg, self.bucket) {
            (Some(aggregation), _) => Some(aggregation),
            (None, Some(_)) => return Err(Violation::new("agg", "is required with `bucket`")),
            (None, None) => None,
        };
        let is_counter = aggregation.is_some_and(Aggregation::is_counter);
        match self.wrap {
            Some(_) if !is_counter => {
                return Err(Violation::new("wrap", "must only be sent with `agg=increase` or `agg=rate`"));
            }
            Some(wrap) if !(wrap > 0.0 && wrap.is_finite()) => {
                return Err(Violation::new("wrap", format!("must be a finite number above 0, got {wrap}")));
            }
            _ => {}
        }
        match self.reset_below {
            Some(_) if !is_counter => {
                return Err(Violation::new("reset_below", "must only be sent with `agg=increase` or `agg=rate`"));
            }
            Some(share) if !(share > 0.0 && share <= 1.0) => {
                return Err(Violation::new("reset_below", format!("must be above 0 and at most 1, got {share}")));
            }
            _ => {}
        }
        if self.volume_key.is_some() && aggregation != Some(Aggregation::Ohlcv) {
            return Err(Violation::new("volume_key", "must only be sent with `agg=ohlcv`"));
        }
        let Some(aggregation) = aggregation else { return Ok(None) };
        let grid = match self.bucket {
            Some(length) => length.grid(self.tz.as_ref(), self.anchor(window, now)?)?,
            None => Grid::Whole(Bucket { start: window.from, end: window.to + 1 }),
        };
        let gap = match (self.empty, self.fill) {
            (Some(_), Some(_)) => {
                return Err(Violation::new("fill", "must not be sent with `empty`: send one of them"));
            }
            (_, Some(Fill::Linear)) if aggregation == Aggregation::Ohlcv => {
                return Err(Violation::new(
                    "fill",
                    "must not be `linear` with `agg=ohlcv`: candles cannot be interpolated",
                ));
            }
            (Some(true), None) => Gap::natural(aggregation),
            (_, fill) => Gap::filled(fill.unwrap_or_default(), aggregation),
        };
        let reset_below = self.reset_below.unwrap_or(Register::default().reset_below);
        Ok(Some(BucketPlan { grid, aggregation, register: Register { wrap: self.wrap, reset_below }, gap }))
    }

    fn anchor(&self, window: Window, now: UnixMillis) -> Result<Option<UnixMillis>, Violation> {
        let missing = |end| Err(Violation::new("align", format!("needs an explicit `{end}`")));
        Ok(match self.align {
            None => None,
            Some(Align::Start) if self.from.is_none() && self.cursor.is_none() => return missing("from"),
            Some(Align::End) if self.to.is_none() && self.cursor.is_none() => return missing("to"),
            Some(Align::Start) => Some(window.from),
            Some(Align::End) => Some(window.to),
            Some(Align::At(time)) => Some(time),
            Some(Align::Time(time)) => Some(time.resolve(now)),
        })
    }
}
