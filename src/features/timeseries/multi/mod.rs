//! Reads ranges of many series, one by one or reduced by groups.
//!
//! Files, in reading order: this file reads pages of series; `group.rs` reduces a group, and `grouping.rs` all groups;
//! `export.rs` streams series or groups as NDJSON or CSV.

mod export;
mod group;
mod grouping;

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use utoipa::ToSchema;

use crate::features::timeseries::aggregate::{Point, RangePoint};
use crate::features::timeseries::error::TimeseriesError;
use crate::features::timeseries::index::SeriesIndex;
use crate::features::timeseries::model::SeriesEntry;
pub(super) use crate::features::timeseries::multi::export::ManyExport;
use crate::features::timeseries::multi::grouping::{Grouping, JSON_SERIES};
use crate::features::timeseries::query::{ManyCursor, ManyPlan, Reducer};
use crate::features::timeseries::range::{Budget, RangePage, RangePlan, RangeReader, ReadAhead};
use crate::features::timeseries::series::SeriesKey;

/// How many series are read concurrently: enough to hide the latency of Redis.
const CONCURRENT_READS: usize = 16;

/// How many series share a round trip, which takes Redis about a millisecond.
const SHARED_READ: usize = 32;

/// The points that are processed before other requests get their turn: a fraction of a millisecond of work.
pub(super) const TURN_POINTS: usize = 4_096;

/// A page of ranges. `render` writes its JSON.
#[derive(Debug, ToSchema)]
#[schema(as = SeriesRanges, description = "Ranges of many series.")]
pub(super) struct ManyPage {
    pub items: Vec<ManyItem>,
    /// The value of `cursor` for the next page; null on the last page.
    #[schema(value_type = Option<String>, required = true)]
    pub next_cursor: Option<ManyCursor>,
}

/// The range of a series, or of a group.
#[derive(Debug, ToSchema)]
#[schema(as = SeriesItemRange)]
pub(super) struct ManyItem {
    /// The key of the series, or `label=value` of a group.
    #[schema(example = "zone=1")]
    pub key: String,
    /// The requested labels; null for those that the series does not have.
    pub labels: BTreeMap<String, Option<String>>,
    #[schema(value_type = Vec<RangePoint>)]
    pub samples: Vec<Point>,
    /// Whether the window has more points than `limit`.
    pub truncated: bool,
    /// How the points of the group were reduced; absent for a single series.
    #[schema(required = false)]
    pub reducer: Option<Reducer>,
    /// The series of the group, at most the first 1,000; absent for a single series.
    #[schema(value_type = Option<Vec<String>>, required = false, max_items = 1_000)]
    pub sources: Option<Vec<SeriesKey>>,
    /// The number of series of the group if `sources` does not have all of them.
    #[schema(required = false)]
    pub sources_total: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct ManyReader {
    reader: RangeReader,
    index: SeriesIndex,
    /// The maximum number of points of a page.
    max_points: usize,
}

impl ManyReader {
    pub(super) fn new(reader: RangeReader, index: SeriesIndex, max_points: usize) -> Self {
        Self { reader, index, max_points }
    }

    /// Reads one page of series, or all groups.
    ///
    /// # Errors
    /// The errors of [`RangeReader::page`]; for groups also [`TimeseriesError::LimitExceeded`].
    pub(super) async fn page(&self, plan: ManyPlan) -> Result<ManyPage, TimeseriesError> {
        match &plan.group {
            Some((label, reducer)) => self.groups(&plan, label, *reducer).await,
            None => self.series(&plan).await,
        }
    }

    async fn series(&self, plan: &ManyPlan) -> Result<ManyPage, TimeseriesError> {
        let after = plan.after.as_ref().map(SeriesKey::as_str);
        let found = self.index.page_by_label(&plan.filter, "", after, plan.series_limit).await?;
        let budget = Budget::of_request();
        let mut ranges = self.read(&plan.range, &budget, found.items);
        let (mut items, mut points, mut last) = (Vec::new(), 0, None);
        let mut next_cursor = found.next_cursor.and_then(|key| SeriesKey::new(&key).ok());
        while let Some((entry, range)) = ranges.next().await {
            let page = match range {
                Ok(Some(page)) => page,
                Ok(None) => continue,
                // The complete series are returned; the next page starts with this series and a new read budget.
                Err(error) if error.is_too_much() && last.is_some() => {
                    next_cursor = last;
                    break;
                }
                Err(error) => return Err(error),
            };
            points += page.samples.len();
            if points > self.max_points && last.is_some() {
                next_cursor = last;
                break;
            }
            items.push(ManyItem {
                key: entry.key.to_string(),
                labels: shown(entry.labels.iter(), plan.labels.as_deref()),
                truncated: page.next_cursor.is_some(),
                samples: page.samples,
                reducer: None,
                sources: None,
                sources_total: None,
            });
            last = Some(entry.key);
        }
        let window = plan.range.window;
        Ok(ManyPage { items, next_cursor: next_cursor.map(|after| ManyCursor { window, after }) })
    }

    async fn groups(&self, plan: &ManyPlan, label: &str, reducer: Reducer) -> Result<ManyPage, TimeseriesError> {
        let mut grouping = Grouping::new(label.to_owned(), JSON_SERIES, Budget::of_request());
        while grouping.advance(self, plan).await? {}
        let RangePlan { order, limit, .. } = plan.range;
        let mut items = Vec::new();
        while let Some((value, mut group)) = grouping.pop() {
            let mut samples = Vec::new();
            while samples.len() < limit {
                let points = group.take(reducer, order, TURN_POINTS.min(limit - samples.len()));
                if points.is_empty() {
                    break;
                }
                samples.extend(points);
                tokio::task::yield_now().await;
            }
            items.push(ManyItem {
                key: format!("{label}={value}"),
                labels: shown(std::iter::once((label, value.as_str())), plan.labels.as_deref()),
                samples,
                truncated: group.has_more(),
                reducer: Some(reducer),
                sources_total: Some(group.series).filter(|series| *series > group.sources.len()),
                sources: Some(group.sources),
            });
        }
        Ok(ManyPage { items, next_cursor: None })
    }

    /// Reads series, several in one round trip, and returns them in their order. A series that no longer exists has no range.
    fn read<'a>(
        &'a self,
        plan: &'a RangePlan,
        budget: &'a Budget,
        entries: Vec<SeriesEntry>,
    ) -> impl stream::Stream<Item = (SeriesEntry, Result<Option<RangePage>, TimeseriesError>)> + Unpin + 'a {
        let mut entries = entries.into_iter();
        let batches = std::iter::from_fn(move || {
            let batch: Vec<SeriesEntry> = entries.by_ref().take(SHARED_READ).collect();
            (!batch.is_empty()).then_some(batch)
        });
        let read_ahead = async move |batch: Vec<SeriesEntry>| {
            let ahead = self.reader.read_ahead(&batch, plan).await;
            // A failed round trip is the result of its first series, which ends the request.
            stream::iter(batch.into_iter().zip(ahead.unwrap_or_else(|error| vec![Err(error)])))
        };
        let read = async move |(entry, ahead): (SeriesEntry, Result<Option<ReadAhead>, TimeseriesError>)| {
            let page = match ahead {
                Ok(ahead) => self.reader.page_within(budget, entry.key.clone(), plan.clone(), ahead).await,
                Err(error) => Err(error),
            };
            let page = match page {
                Err(TimeseriesError::NotFound(_)) => Ok(None),
                page => page.map(Some).map_err(of_the_body),
            };
            (entry, page)
        };
        // Redis reads the next batch while this one is aggregated.
        let ahead = stream::iter(batches).map(read_ahead).buffered(2).flatten();
        Box::pin(ahead.map(read).buffered(CONCURRENT_READS))
    }
}

/// The parameters of a query over many series are fields of its body.
fn of_the_body(error: TimeseriesError) -> TimeseriesError {
    match error {
        TimeseriesError::InvalidQuery(violation) => TimeseriesError::InvalidBody(violation),
        other => other,
    }
}

/// The requested labels of a series or group, or all of them.
fn shown<'a>(
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    names: Option<&[String]>,
) -> BTreeMap<String, Option<String>> {
    let labels = labels.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    let Some(names) = names else { return labels.collect() };
    let mut shown: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), None)).collect();
    shown.extend(labels.filter(|(name, _)| names.contains(name)));
    shown
}
