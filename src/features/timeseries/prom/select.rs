//! Finds the series that a query selects, and reads the samples that its steps use.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use promql_parser::label::{MatchOp, Matcher};

use super::super::model::SeriesEntry;
use super::super::query::LabelFilter;
use super::super::range::Budget;
use super::super::series::{MAX_TIMESTAMP, Sample, SeriesKey};
use super::super::window::Window;
use super::PromService;
use super::error::PromError;
use super::params::Steps;
use super::plan::Selection;
use super::value::Metric;
use crate::clock::UnixMillis;
use crate::features::timeseries::influx::influx_key::NAME_LABEL;

/// The most series that one selector of a query may examine.
pub(super) const QUERY_SERIES: usize = 5_000;

/// The most series that one selector of a list of labels may examine. Only names or values are kept in memory.
pub(super) const LIST_SERIES: usize = 100_000;

/// How many series are read concurrently: enough to hide the latency of Redis.
const CONCURRENT_READS: usize = 16;

/// How many series a page of the index has.
const PAGE: usize = 500;

/// A selected series.
#[derive(Debug)]
pub(super) struct SelectedSeries {
    pub metric: Metric,
    /// The samples that any step uses, ascending.
    samples: Vec<Sample>,
}

impl SelectedSeries {
    /// The samples in the range of the step at `time`: the range excludes its start and includes its end.
    pub(super) fn window(&self, selection: &Selection, time: UnixMillis) -> &[Sample] {
        let end = time - selection.offset;
        let from = self.samples.partition_point(|sample| sample.timestamp <= end - selection.range);
        let to = self.samples.partition_point(|sample| sample.timestamp <= end);
        self.samples.get(from..to).unwrap_or_default()
    }
}

impl PromService {
    /// Reads the series of all selections of a query.
    ///
    /// # Errors
    /// `execution` if there are too many series or samples; a fault of Redis.
    pub(super) async fn read(
        &self,
        selections: &[Selection],
        steps: Steps,
        budget: &Budget,
    ) -> Result<Vec<Vec<SelectedSeries>>, PromError> {
        let mut all = Vec::with_capacity(selections.len());
        for selection in selections {
            let Selection { matchers, range, offset } = selection;
            let first = steps.start.saturating_sub(offset.saturating_add(*range)).saturating_add(1);
            let last = steps.end().saturating_sub(*offset);
            let window = Window { from: first.clamp(0, MAX_TIMESTAMP), to: last.min(MAX_TIMESTAMP) };
            let found = self.find(matchers).await?;
            let read = async |(metric, key): (Metric, SeriesKey)| -> Result<SelectedSeries, PromError> {
                let samples = if window.from <= window.to {
                    self.reader.samples(budget, &key, window).await?
                } else {
                    Vec::new()
                };
                Ok(SelectedSeries { metric, samples })
            };
            let series: Vec<SelectedSeries> =
                stream::iter(found).map(read).buffered(CONCURRENT_READS).try_collect().await?;
            all.push(series.into_iter().filter(|series| !series.samples.is_empty()).collect());
        }
        Ok(all)
    }

    /// Finds the series that match all conditions, sorted by their metrics. Several series can have the same metric.
    ///
    /// # Errors
    /// `execution` if too many series would have to be checked; a fault of Redis.
    pub(super) async fn find(&self, matchers: &[Matcher]) -> Result<Vec<(Metric, SeriesKey)>, PromError> {
        // A set, since a series can be found by its key and by its name.
        let mut found = BTreeSet::new();
        self.each(matchers, QUERY_SERIES, |metric, key| _ = found.insert((metric, key))).await?;
        Ok(found.into_iter().collect())
    }

    /// Calls `found` with each series that matches all conditions, in no particular order; a series can occur twice.
    ///
    /// # Errors
    /// `execution` if more than `most` series would have to be checked; a fault of Redis.
    pub(super) async fn each(
        &self,
        matchers: &[Matcher],
        most: usize,
        mut found: impl FnMut(Metric, SeriesKey),
    ) -> Result<(), PromError> {
        let mut add = |entries: Vec<SeriesEntry>| {
            for entry in entries {
                let metric = metric_of(&entry);
                let value = |name: &str| metric.get(name).map(String::as_str).unwrap_or_default();
                if matchers.iter().all(|matcher| matcher.is_match(value(&matcher.name))) {
                    found(metric, entry.key);
                }
            }
        };
        let named: Vec<(&str, Vec<String>)> =
            matchers.iter().filter_map(|matcher| Some((matcher.name.as_str(), values(matcher)?))).collect();
        let by_label: Vec<_> = named.iter().filter(|(name, _)| *name != NAME_LABEL).cloned().collect();
        let by_name = named.into_iter().find(|(name, _)| *name == NAME_LABEL);
        match (LabelFilter::of_values(by_label), by_name) {
            (Some(filter), _) => self.listed(Some(&filter), most, add).await,
            (None, Some((_, metrics))) => {
                // The metric name of a series without the label is its key.
                let keys = metrics.iter().filter_map(|name| SeriesKey::new(name).ok()).collect();
                add(self.index.look_up(keys).await?.0);
                match LabelFilter::of_values(vec![(NAME_LABEL, metrics)]) {
                    Some(filter) => self.listed(Some(&filter), most, add).await,
                    None => Ok(()),
                }
            }
            (None, None) => self.listed(None, most, add).await,
        }
    }

    /// Lists all series, or those that match a filter, page by page.
    async fn listed(
        &self,
        filter: Option<&LabelFilter>,
        most: usize,
        mut add: impl FnMut(Vec<SeriesEntry>),
    ) -> Result<(), PromError> {
        let (mut examined, mut cursor): (usize, Option<String>) = (0, None);
        loop {
            let page = match filter {
                Some(filter) => self.index.page_by_label(filter, "", cursor.as_deref(), PAGE).await?,
                None => self.index.page("", cursor.as_deref(), PAGE).await?,
            };
            examined += page.items.len();
            if examined > most {
                return Err(PromError::execution(format!(
                    "the query would check more than {most} series: select by the value of a label"
                )));
            }
            add(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(());
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
