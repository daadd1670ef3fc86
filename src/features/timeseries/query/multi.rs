//! The body of a query over many series.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::UnixMillis;
use crate::features::timeseries::aggregate::{Aggregation, BucketTimestamp, Fill};
use crate::features::timeseries::error::Violation;
use crate::features::timeseries::model::Timestamp;
use crate::features::timeseries::query::{Align, BucketLength, LabelFilter, ListQuery, Matcher, RangeQuery, Zone};
use crate::features::timeseries::range::RangePlan;
use crate::features::timeseries::series::{MAX_TIMESTAMP, SeriesKey};
use crate::features::timeseries::window::{Order, Window};
use crate::http::times::QueryTime;

/// How the points of a group that have the same timestamp are reduced to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SeriesReducer)]
pub(in crate::features::timeseries) enum Reducer {
    Avg,
    Sum,
    Min,
    Max,
    Range,
    Count,
    StdP,
    StdS,
    VarP,
    VarS,
}

/// A query for the ranges of all series with the given labels, or of groups of them. The parameters that are not
/// described here have the meaning that they have for the range of one series.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SeriesQuery, example = json!({"filter": ["zone=(1,2)"], "from": "-24h", "agg": "sum", "bucket": "1h",
                                           "group_by": "zone", "reduce": "sum"}))]
pub(in crate::features::timeseries) struct ManyQuery {
    /// Conditions on labels: `zone=1`, `zone!=1`, `zone=(1,2)`, `zone!=(1,2)`, `zone=` (absent) or `zone!=` (present).
    /// Series must meet all conditions, and at least one must be like `zone=1` or `zone=(1,2)`.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 32)]
    filter: Vec<Matcher>,
    #[schema(value_type = Option<QueryTime>, required = false)]
    from: Option<QueryTime>,
    #[schema(value_type = Option<QueryTime>, required = false)]
    to: Option<QueryTime>,
    #[schema(value_type = Option<Aggregation>, required = false)]
    agg: Option<Aggregation>,
    #[schema(value_type = Option<String>, required = false, example = "1d")]
    bucket: Option<BucketLength>,
    #[schema(value_type = Option<String>, required = false, example = "Asia/Bangkok")]
    tz: Option<Zone>,
    #[schema(value_type = Option<String>, required = false, example = "start")]
    align: Option<Align>,
    bucket_timestamp: Option<BucketTimestamp>,
    empty: Option<bool>,
    fill: Option<Fill>,
    #[schema(value_type = Option<Vec<i64>>, required = false, min_items = 1, max_items = 128)]
    filter_by_ts: Option<Vec<Timestamp>>,
    min_value: Option<f64>,
    max_value: Option<f64>,
    #[schema(exclusive_minimum = 0)]
    wrap: Option<f64>,
    #[schema(exclusive_minimum = 0, maximum = 1)]
    reset_below: Option<f64>,
    order: Option<Order>,
    /// The maximum number of points of a series or a reduced group. If absent: 10,000 in JSON, all in NDJSON and CSV.
    #[schema(minimum = 1, maximum = 100_000)]
    pub limit: Option<usize>,
    /// The labels to return, null for those that a series does not have; all labels of the series if absent.
    #[schema(max_items = 32)]
    labels: Option<Vec<String>>,
    /// The label whose values form the groups; series without it are omitted. Requires `reduce`.
    group_by: Option<String>,
    /// How the points of a group that have the same timestamp are reduced to one.
    reduce: Option<Reducer>,
    /// The maximum number of series in a page. If absent: 100 in JSON, all in NDJSON and CSV. Groups have no pages.
    #[schema(minimum = 1, maximum = 1_000)]
    pub series_limit: Option<usize>,
    /// `next_cursor` of the previous page. It replaces `from` and `to`.
    #[schema(value_type = Option<String>, required = false)]
    cursor: Option<ManyCursor>,
}

/// A validated query over many series.
#[derive(Clone, Debug)]
pub(in crate::features::timeseries) struct ManyPlan {
    pub filter: LabelFilter,
    /// The range of every series.
    pub range: RangePlan,
    /// The labels to return; all if absent.
    pub labels: Option<Vec<String>>,
    /// The label whose values form the groups, and how the points of a group are reduced.
    pub group: Option<(String, Reducer)>,
    pub series_limit: usize,
    /// The last series of the previous page.
    pub after: Option<SeriesKey>,
}

impl ManyQuery {
    /// # Errors
    /// [`Violation`] naming the field.
    pub(in crate::features::timeseries) fn plan(self, now: UnixMillis, max: usize) -> Result<ManyPlan, Violation> {
        let filter = LabelFilter::new(self.filter).map_err(|rule| Violation::new("filter", rule))?;
        let (window, after) = self.cursor.map_or((None, None), |cursor| (Some(cursor.window), Some(cursor.after)));
        let at = |time: UnixMillis| Some(QueryTime::At(time));
        let times = match self.filter_by_ts.as_deref() {
            Some([]) => return Err(Violation::new("filter_by_ts", "must have at least one timestamp")),
            times => times.map(|times| times.iter().map(|time| time.0).collect()),
        };
        let range = RangeQuery {
            from: window.map_or(self.from, |window| at(window.from)),
            to: window.map_or(self.to, |window| at(window.to)),
            agg: self.agg,
            bucket: self.bucket,
            tz: self.tz,
            align: self.align,
            bucket_timestamp: self.bucket_timestamp,
            empty: self.empty,
            fill: self.fill,
            filter_by_ts: times,
            min_value: self.min_value,
            max_value: self.max_value,
            wrap: self.wrap,
            reset_below: self.reset_below,
            order: self.order,
            limit: self.limit,
            ..RangeQuery::default()
        };
        let range = range.plan(now, max)?;
        let group = match (self.group_by, self.reduce) {
            (Some(_), Some(_)) if self.agg == Some(Aggregation::Ohlcv) => {
                return Err(Violation::new(
                    "reduce",
                    "must not be sent with `agg=ohlcv`: candles of several series cannot be reduced",
                ));
            }
            (Some(label), Some(reducer)) => Some((label, reducer)),
            (Some(_), None) => return Err(Violation::new("reduce", "is required with `group_by`")),
            (None, Some(_)) => return Err(Violation::new("group_by", "is required with `reduce`")),
            (None, None) => None,
        };
        let series_limit = self.series_limit.unwrap_or(ListQuery::DEFAULT_LIMIT);
        let series_limit = super::checked_limit("series_limit", series_limit, ListQuery::MAX_LIMIT)?;
        if group.is_some() && (self.series_limit.is_some() || after.is_some()) {
            let name = if after.is_some() { "cursor" } else { "series_limit" };
            return Err(Violation::new(name, "must not be sent with `group_by`: groups have no pages"));
        }
        if let Some(labels) = &self.labels
            && labels.len() > LabelFilter::MAX
        {
            let rule = format!("must have at most {} labels, got {}", LabelFilter::MAX, labels.len());
            return Err(Violation::new("labels", rule));
        }
        Ok(ManyPlan { filter, range, labels: self.labels, group, series_limit, after })
    }
}

/// The cursor of a query over many series: where the next page starts, and the window of all pages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::features::timeseries) struct ManyCursor {
    pub window: Window,
    /// The last series of the previous page.
    pub after: SeriesKey,
}

impl fmt::Display for ManyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{}", self.window.from, self.window.to, self.after)
    }
}

impl TryFrom<String> for ManyCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "is not a valid cursor: send next_cursor of the previous page";
        let mut parts = text.splitn(3, '-');
        let mut time = || {
            let time = i64::from_str_radix(parts.next()?, 16).ok()?;
            (0..=MAX_TIMESTAMP).contains(&time).then_some(time)
        };
        let (from, to) = (time().ok_or(WRONG)?, time().ok_or(WRONG)?);
        let after = parts.next().and_then(|key| SeriesKey::new(key).ok()).ok_or(WRONG)?;
        if from > to { Err(WRONG) } else { Ok(Self { window: Window { from, to }, after }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        for key in ["a", "energy:consumption:MTR-001", "-é-"] {
            let after = SeriesKey::new(key).expect("a key");
            let cursor = ManyCursor { window: Window { from: 0, to: MAX_TIMESTAMP }, after };
            assert_eq!(ManyCursor::try_from(cursor.to_string()), Ok(cursor));
        }
        for bad in ["", "1-2", "1-2-", "2-1-a", "x-1-a", "-1-1-a", "0-20000000000000-a"] {
            assert!(ManyCursor::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
