//! Reads ranges of many series, one by one or reduced by groups. `group.rs` reduces a group; `export.rs` streams all
//! series as NDJSON or CSV.

mod export;
mod group;

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use utoipa::ToSchema;

use crate::features::timeseries::aggregate::{Point, RangePoint};
use crate::features::timeseries::error::TimeseriesError;
use crate::features::timeseries::index::SeriesIndex;
use crate::features::timeseries::model::SeriesEntry;
pub(super) use crate::features::timeseries::multi::export::ManyExport;
use crate::features::timeseries::multi::group::Group;
use crate::features::timeseries::query::{ManyCursor, ManyPlan, Reducer};
use crate::features::timeseries::range::{Budget, RangePage, RangePlan, RangeReader};
use crate::features::timeseries::series::SeriesKey;

/// How many series are read concurrently: enough to hide the latency of Redis.
const CONCURRENT_READS: usize = 16;

/// The maximum number of series in the groups of a query.
const GROUP_SERIES: usize = 5_000;

/// The maximum number of points of all groups of a query together, about 100 bytes each in memory until the response is
/// written.
const GROUP_POINTS: usize = 500_000;

/// A page of ranges. `render` writes its JSON.
#[derive(Debug, ToSchema)]
#[schema(as = ManyRanges, description = "Ranges of many series.")]
pub(super) struct ManyPage {
    pub items: Vec<ManyItem>,
    /// The value of `cursor` for the next page; null on the last page.
    #[schema(value_type = Option<String>)]
    pub next_cursor: Option<ManyCursor>,
}

/// The range of a series, or of a group.
#[derive(Debug, ToSchema)]
#[schema(as = ItemRange)]
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
    /// The series of the group; absent for a single series.
    #[schema(value_type = Option<Vec<String>>, required = false)]
    pub sources: Option<Vec<SeriesKey>>,
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
            });
            last = Some(entry.key);
        }
        let window = plan.range.window;
        Ok(ManyPage { items, next_cursor: next_cursor.map(|after| ManyCursor { window, after }) })
    }

    async fn groups(&self, plan: &ManyPlan, label: &str, reducer: Reducer) -> Result<ManyPage, TimeseriesError> {
        let budget = Budget::of_request();
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let (mut series, mut points) = (0, 0);
        let mut cursor: Option<String> = None;
        loop {
            let found = self
                .index
                .page_by_label(&plan.filter, "", cursor.as_deref(), CONCURRENT_READS * CONCURRENT_READS)
                .await?;
            let grouped = |entry: &SeriesEntry| entry.labels.get(label).is_some();
            let entries: Vec<SeriesEntry> = found.items.into_iter().filter(grouped).collect();
            series += entries.len();
            if series > GROUP_SERIES {
                return Err(TimeseriesError::LimitExceeded(format!("the groups have more than {GROUP_SERIES} series")));
            }
            let mut ranges = self.read(&plan.range, &budget, entries);
            while let Some((entry, range)) = ranges.next().await {
                let Some(page) = range? else { continue };
                let value = entry.labels.get(label).unwrap_or_default();
                let group = groups.entry(value.to_owned()).or_default();
                points += group.add(entry.key, &page.samples, page.next_cursor.is_some());
                if points > GROUP_POINTS {
                    return Err(TimeseriesError::LimitExceeded(format!(
                        "the groups have more than {GROUP_POINTS} points"
                    )));
                }
            }
            cursor = found.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let RangePlan { order, limit, .. } = plan.range;
        let items = groups.into_iter().map(|(value, group)| {
            let (samples, truncated) = group.reduce(reducer, order, limit);
            ManyItem {
                key: format!("{label}={value}"),
                labels: shown(std::iter::once((label, value.as_str())), plan.labels.as_deref()),
                samples,
                truncated,
                reducer: Some(reducer),
                sources: Some(group.sources),
            }
        });
        Ok(ManyPage { items: items.collect(), next_cursor: None })
    }

    /// Reads series concurrently and returns them in their order. A series that no longer exists has no range.
    fn read<'a>(
        &'a self,
        plan: &'a RangePlan,
        budget: &'a Budget,
        entries: Vec<SeriesEntry>,
    ) -> impl stream::Stream<Item = (SeriesEntry, Result<Option<RangePage>, TimeseriesError>)> + Unpin + 'a {
        let read = async move |entry: SeriesEntry| {
            let page = match self.reader.page_within(budget, entry.key.clone(), plan.clone()).await {
                Err(TimeseriesError::NotFound(_)) => Ok(None),
                // The parameters of this request are fields of its body.
                Err(TimeseriesError::InvalidQuery(violation)) => Err(TimeseriesError::InvalidBody(violation)),
                page => page.map(Some),
            };
            (entry, page)
        };
        Box::pin(stream::iter(entries).map(read).buffered(CONCURRENT_READS))
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
