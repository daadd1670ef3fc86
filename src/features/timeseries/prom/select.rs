//! Finds the series that a query selects, and reads the samples that its steps use.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use promql_parser::label::{MatchOp, Matcher};

use super::super::config::PromConfig;
use super::super::index::SeriesIndex;
use super::super::model::SeriesEntry;
use super::super::query::LabelFilter;
use super::super::range::{Budget, RangeReader};
use super::super::series::{MAX_TIMESTAMP, Sample, SeriesKey};
use super::super::window::Window;
use super::error::PromError;
use super::params::Steps;
use super::plan::Selection;
use super::value::Metric;
use crate::clock::UnixMillis;
use crate::features::timeseries::influx::influx_key::NAME_LABEL;

/// The most series that one selector may examine.
const SERIES: usize = 5_000;

/// How many series are read concurrently: enough to hide the latency of Redis.
const CONCURRENT_READS: usize = 16;

/// How many series a page of the index has.
const PAGE: usize = 500;

#[derive(Clone, Debug)]
pub(super) struct Selector {
    reader: RangeReader,
    index: SeriesIndex,
    config: Arc<PromConfig>,
}

/// The series of a selection.
#[derive(Debug)]
pub(super) struct Selected {
    /// The range and the offset of the [`Selection`].
    pub range: i64,
    pub offset: i64,
    pub series: Vec<SelectedSeries>,
}

#[derive(Debug)]
pub(super) struct SelectedSeries {
    pub metric: Metric,
    /// The samples that any step uses, ascending.
    samples: Vec<Sample>,
}

impl Selected {
    /// The samples in the range of the step at `time`: the range excludes its start and includes its end.
    pub(super) fn window<'a>(&self, series: &'a SelectedSeries, time: UnixMillis) -> &'a [Sample] {
        let end = time - self.offset;
        let from = series.samples.partition_point(|sample| sample.timestamp <= end - self.range);
        let to = series.samples.partition_point(|sample| sample.timestamp <= end);
        series.samples.get(from..to).unwrap_or_default()
    }
}

impl Selector {
    pub(super) fn new(reader: RangeReader, index: SeriesIndex, config: Arc<PromConfig>) -> Self {
        Self { reader, index, config }
    }

    /// Reads all selections of a query.
    ///
    /// # Errors
    /// `execution` if there are too many series or samples; a fault of Redis.
    pub(super) async fn read(&self, selections: &[Selection], steps: Steps) -> Result<Vec<Selected>, PromError> {
        let budget = Budget::new(self.config.samples);
        let mut all = Vec::with_capacity(selections.len());
        for selection in selections {
            let Selection { matchers, range, offset } = selection;
            let first = steps.start.saturating_sub(offset.saturating_add(*range)).saturating_add(1);
            let last = steps.end().saturating_sub(*offset);
            let window = Window { from: first.clamp(0, MAX_TIMESTAMP), to: last.min(MAX_TIMESTAMP) };
            let found = self.find(matchers).await?;
            let read = async |(metric, key): (Metric, SeriesKey)| -> Result<SelectedSeries, PromError> {
                let samples = if window.from <= window.to {
                    self.reader.samples(&budget, &key, window).await?
                } else {
                    Vec::new()
                };
                Ok(SelectedSeries { metric, samples })
            };
            let series: Vec<SelectedSeries> =
                stream::iter(found).map(read).buffered(CONCURRENT_READS).try_collect().await?;
            let series = series.into_iter().filter(|series| !series.samples.is_empty()).collect();
            all.push(Selected { range: *range, offset: *offset, series });
        }
        Ok(all)
    }

    /// Finds the series that match all conditions, sorted by their metrics.
    ///
    /// # Errors
    /// `execution` if too many series would have to be checked; a fault of Redis.
    pub(super) async fn find(&self, matchers: &[Matcher]) -> Result<Vec<(Metric, SeriesKey)>, PromError> {
        let mut found = BTreeMap::new();
        let mut add = |entries: Vec<SeriesEntry>| {
            for entry in entries {
                let metric = metric_of(&entry);
                let value = |name: &str| metric.get(name).map(String::as_str).unwrap_or_default();
                if matchers.iter().all(|matcher| matcher.is_match(value(&matcher.name))) {
                    found.insert(metric, entry.key);
                }
            }
        };
        let named: Vec<(&str, Vec<String>)> =
            matchers.iter().filter_map(|matcher| Some((matcher.name.as_str(), values(matcher)?))).collect();
        let by_label: Vec<_> = named.iter().filter(|(name, _)| *name != NAME_LABEL).cloned().collect();
        let by_name = named.into_iter().find(|(name, _)| *name == NAME_LABEL);
        match (LabelFilter::of_values(by_label), by_name) {
            (Some(filter), _) => add(self.listed(Some(&filter)).await?),
            (None, Some((_, metrics))) => {
                // The metric name of a series without the label is its key.
                let keys = metrics.iter().filter_map(|name| SeriesKey::new(name).ok()).collect();
                add(self.index.look_up(keys).await?.0);
                if let Some(filter) = LabelFilter::of_values(vec![(NAME_LABEL, metrics)]) {
                    add(self.listed(Some(&filter)).await?);
                }
            }
            (None, None) => add(self.listed(None).await?),
        }
        Ok(found.into_iter().collect())
    }

    /// Lists all series, or those that match a filter.
    async fn listed(&self, filter: Option<&LabelFilter>) -> Result<Vec<SeriesEntry>, PromError> {
        let (mut entries, mut cursor): (Vec<SeriesEntry>, Option<String>) = (Vec::new(), None);
        loop {
            let page = match filter {
                Some(filter) => self.index.page_by_label(filter, "", cursor.as_deref(), PAGE).await?,
                None => self.index.page("", cursor.as_deref(), PAGE).await?,
            };
            entries.extend(page.items);
            if entries.len() > SERIES {
                return Err(PromError::execution(format!(
                    "the query would check more than {SERIES} series: select by the value of a label"
                )));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(entries);
            }
        }
    }
}

fn metric_of(entry: &SeriesEntry) -> Metric {
    let mut metric: Metric = entry.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    metric.entry(NAME_LABEL.to_owned()).or_insert_with(|| entry.key.to_string());
    metric
}

/// The values that a condition names: one, or `a|b|c` as Grafana writes alternatives; `None` if it names none.
fn values(matcher: &Matcher) -> Option<Vec<String>> {
    let values: Vec<String> = match &matcher.op {
        MatchOp::Equal => vec![matcher.value.clone()],
        MatchOp::Re(_)
            if !matcher.value.contains(['.', '*', '+', '?', '(', ')', '[', ']', '{', '}', '^', '$', '\\']) =>
        {
            matcher.value.split('|').map(str::to_owned).collect()
        }
        _ => return None,
    };
    // An empty value also matches series without the label.
    if values.iter().any(String::is_empty) { None } else { Some(values) }
}
