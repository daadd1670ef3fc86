//! Finds the series that a query selects, and reads the samples that its steps use.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use promql_parser::label::{MatchOp, Matcher};

use super::super::model::SeriesEntry;
use super::super::query::LabelFilter;
use super::super::range::Budget;
use super::super::series::{MAX_TIMESTAMP, Sample, SeriesKey};
use super::super::window::Window;
use super::error::PromError;
use super::params::Steps;
use super::plan::Selection;
use super::value::Metric;
use super::{PATIENCE, PromService};
use crate::clock::UnixMillis;
use crate::features::timeseries::influx::influx_key::NAME_LABEL;
use crate::lifecycle::large_work::Slice;
use crate::lifecycle::offload::NoThread;
use crate::lifecycle::permits::Permit;

/// The most series that a request finds.
pub(super) const QUERY_SERIES: usize = 25_000;

/// The most memory of the labels of these series, bytes: enough for 25,000 series with six short labels.
pub(super) const LABEL_MEMORY: usize = 32 << 20;

/// The most series that a request examines.
const EXAMINED: usize = 100_000;

/// A request that examines more series than this, or more memory of labels, is wide: few such requests run at a time.
const NARROW: usize = 5_000;
const NARROW_MEMORY: usize = LABEL_MEMORY / 5;

/// How many values of a label are looked for together.
const VALUES: usize = 100;

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

/// What the selectors of one request have examined.
#[derive(Debug, Default)]
pub(super) struct Search {
    examined: usize,
    /// The memory of the labels of examined series, bytes.
    examined_memory: usize,
    /// The series that the request keeps, and the memory of their labels in bytes.
    found: usize,
    memory: usize,
    /// Held by a wide request until it is done with its series.
    wide: Option<Permit>,
}

/// A condition that finds all series of a selector in the index.
struct Candidate<'a> {
    label: &'a str,
    values: Vec<String>,
    /// The series whose metric name is their key.
    keys: Vec<SeriesKey>,
    /// How many series the index has for it.
    count: u64,
}

impl SelectedSeries {
    /// The number of samples.
    pub(super) fn length(&self) -> usize {
        self.samples.len()
    }

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
        search: &mut Search,
    ) -> Result<Vec<Vec<SelectedSeries>>, PromError> {
        // Before the first sample is read: a request that holds the permit of large reads waits for no other one.
        let mut found_by_all = Vec::with_capacity(selections.len());
        for selection in selections {
            found_by_all.push(self.find(&selection.matchers, search).await?);
        }
        let mut all = Vec::with_capacity(selections.len());
        for (Selection { range, offset, .. }, found) in selections.iter().zip(found_by_all) {
            let first = steps.start.saturating_sub(offset.saturating_add(*range)).saturating_add(1);
            let last = steps.end().saturating_sub(*offset);
            let window = Window { from: first.clamp(0, MAX_TIMESTAMP), to: last.min(MAX_TIMESTAMP) };
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
    async fn find(&self, matchers: &[Matcher], search: &mut Search) -> Result<Vec<(Metric, SeriesKey)>, PromError> {
        // A set, since a series can be found by its key and by its name.
        let (mut found, mut memory) = (BTreeSet::new(), search.memory);
        let most = QUERY_SERIES.saturating_sub(search.found);
        let add = |metric, key| {
            memory += keep(&mut found, metric, key);
            found.len() <= most && memory <= LABEL_MEMORY
        };
        if !self.each(matchers, search, add).await? {
            return Err(PromError::execution(format!(
                "the query would use more than {QUERY_SERIES} series or {} MiB of labels, or check more than {EXAMINED} series: \
                 select fewer series",
                LABEL_MEMORY >> 20
            )));
        }
        (search.found, search.memory) = (search.found + found.len(), memory);
        Ok(found.into_iter().collect())
    }

    /// Calls `found` with each series that matches all conditions, in no particular order, until it returns `false`; a series
    /// can occur twice. Returns whether `found` was called with all series: a request examines a limited number.
    ///
    /// # Errors
    /// `unavailable` if too many wide requests are running; a fault of Redis.
    pub(super) async fn each(
        &self,
        matchers: &[Matcher],
        search: &mut Search,
        mut found: impl FnMut(Metric, SeriesKey) -> bool,
    ) -> Result<bool, PromError> {
        let Some(Candidate { label, values, keys, .. }) = self.candidate(matchers).await? else { return Ok(true) };
        for keys in keys.chunks(PAGE) {
            let (entries, _) = self.index.look_up(keys.to_vec()).await?;
            if !self.examine(search, matchers, entries, &mut found).await? {
                return Ok(false);
            }
        }
        for values in values.chunks(VALUES) {
            let Some(filter) = LabelFilter::of_values(vec![(label, values.to_vec())]) else { continue };
            let mut cursor: Option<String> = None;
            loop {
                let page = self.index.page_by_label(&filter, "", cursor.as_deref(), PAGE).await?;
                if !self.examine(search, matchers, page.items, &mut found).await? {
                    return Ok(false);
                }
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(true)
    }

    /// Counts examined series, and calls `found` with those that match all conditions. Returns `false` if the request may
    /// examine no more, or if `found` does.
    async fn examine(
        &self,
        search: &mut Search,
        matchers: &[Matcher],
        entries: Vec<SeriesEntry>,
        found: &mut impl FnMut(Metric, SeriesKey) -> bool,
    ) -> Result<bool, PromError> {
        search.examined += entries.len();
        // A regular expression may take a while for each of the series.
        let mut slice = Slice::begin();
        for entry in entries {
            let metric = metric_of(&entry);
            search.examined_memory += memory_of(&metric);
            let is_wide = search.examined > NARROW || search.examined_memory > NARROW_MEMORY;
            if is_wide && search.wide.is_none() {
                search.wide = Some(self.wide.acquire(PATIENCE).await.ok_or(NoThread)?);
            }
            let value = |name: &str| metric.get(name).map(String::as_str).unwrap_or_default();
            let is_match = matchers.iter().all(|matcher| matcher.is_match(value(&matcher.name)));
            if is_match && !found(metric, entry.key) {
                return Ok(false);
            }
            slice.pause_if_over().await;
        }
        Ok(search.examined <= EXAMINED)
    }

    /// The condition that the fewest series meet, among those that a series without the label does not meet. A valid selector
    /// has at least one. A condition that names no values is looked at only if the others do not select few series.
    async fn candidate<'a>(&self, matchers: &'a [Matcher]) -> Result<Option<Candidate<'a>>, PromError> {
        let mut best: Option<Candidate<'_>> = None;
        let (named, open): (Vec<_>, Vec<_>) =
            matchers.iter().filter(|matcher| !matcher.is_match("")).partition(|matcher| values(matcher).is_some());
        for matcher in named.into_iter().chain(open) {
            let (label, is_name) = (matcher.name.as_str(), matcher.name == NAME_LABEL);
            let (values, keys) = match values(matcher) {
                Some(values) => {
                    let keys = values.iter().filter(|_| is_name).filter_map(|name| SeriesKey::new(name).ok()).collect();
                    (values, keys)
                }
                None if best.as_ref().is_some_and(|best| best.count <= NARROW as u64) => break,
                None => {
                    let is_match = |value: &str| matcher.is_match(value);
                    let values = self.index.label_values(label, EXAMINED + 1, is_match).await?;
                    let keys =
                        if is_name { self.index.matching_keys(is_match, EXAMINED + 1).await? } else { Vec::new() };
                    (values, keys)
                }
            };
            let count = self.index.count(label, &values).await?.saturating_add(keys.len() as u64);
            if best.as_ref().is_none_or(|best| count < best.count) {
                best = Some(Candidate { label, values, keys, count });
            }
        }
        Ok(best)
    }
}

/// Adds a series to those that a request keeps. Returns the memory that it takes, bytes: 0 if the request has it.
pub(super) fn keep(found: &mut BTreeSet<(Metric, SeriesKey)>, metric: Metric, key: SeriesKey) -> usize {
    let memory = memory_of(&metric);
    if found.insert((metric, key)) { memory } else { 0 }
}

/// The memory of a series with its labels, bytes: about 600 for its key and the nodes of a map, and for each label what the
/// allocations of two texts take beyond their length.
fn memory_of(metric: &Metric) -> usize {
    let texts: usize = metric.iter().map(|(name, value)| name.len() + value.len()).sum();
    600 + 64 * metric.len() + texts
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
