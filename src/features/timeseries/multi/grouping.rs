//! Reads all series of a query page by page, and reduces them by groups.

use std::collections::BTreeMap;

use futures_util::StreamExt;

use crate::features::timeseries::error::TimeseriesError;
use crate::features::timeseries::model::SeriesEntry;
use crate::features::timeseries::multi::group::Group;
use crate::features::timeseries::multi::{ManyReader, TURN_POINTS};
use crate::features::timeseries::query::ManyPlan;
use crate::features::timeseries::range::Budget;

/// The maximum number of series in the groups of a JSON response: about half as many as the request deadline allows.
pub(in crate::features::timeseries::multi) const JSON_SERIES: usize = 20_000;

/// The maximum number of series in the groups of a streamed response.
pub(in crate::features::timeseries::multi) const STREAM_SERIES: usize = 100_000;

/// The maximum number of points of all groups of a query together, about 100 bytes each in memory until the response is
/// written.
pub(in crate::features::timeseries::multi) const GROUP_POINTS: usize = 500_000;

/// How many series a page of the index has.
const PAGE: usize = 256;

/// The groups of a query, of which a part of the series is read.
#[derive(Debug)]
pub(in crate::features::timeseries::multi) struct Grouping {
    /// The label whose values form the groups.
    label: String,
    max_series: usize,
    budget: Budget,
    groups: BTreeMap<String, Group>,
    series: usize,
    points: usize,
    /// The last series that was read.
    cursor: Option<String>,
    is_complete: bool,
}

impl Grouping {
    pub(in crate::features::timeseries::multi) fn new(label: String, max_series: usize, budget: Budget) -> Self {
        Self {
            label,
            max_series,
            budget,
            groups: BTreeMap::new(),
            series: 0,
            points: 0,
            cursor: None,
            is_complete: false,
        }
    }

    /// Reads the next page of series, if there is one. Returns whether more follow.
    ///
    /// # Errors
    /// The errors of [`ManyReader::page`].
    pub(in crate::features::timeseries::multi) async fn advance(
        &mut self,
        reader: &ManyReader,
        plan: &ManyPlan,
    ) -> Result<bool, TimeseriesError> {
        if self.is_complete {
            return Ok(false);
        }
        let found = reader.index.page_by_label(&plan.filter, "", self.cursor.as_deref(), PAGE).await?;
        let is_grouped = |entry: &SeriesEntry| entry.labels.get(&self.label).is_some();
        let entries: Vec<SeriesEntry> = found.items.into_iter().filter(is_grouped).collect();
        self.series += entries.len();
        if self.series > self.max_series {
            return Err(TimeseriesError::LimitExceeded(format!(
                "the groups have more than {} series; JSON may have {JSON_SERIES}, NDJSON and CSV {STREAM_SERIES}",
                self.max_series
            )));
        }
        let mut turn = 0;
        let mut ranges = reader.read(&plan.range, &self.budget, entries);
        while let Some((entry, range)) = ranges.next().await {
            let Some(page) = range? else { continue };
            let value = entry.labels.get(&self.label).unwrap_or_default();
            let group = self.groups.entry(value.to_owned()).or_default();
            self.points += group.add(entry.key, &page.samples, page.next_cursor.is_some());
            if self.points > GROUP_POINTS {
                return Err(TimeseriesError::LimitExceeded(format!("the groups have more than {GROUP_POINTS} points")));
            }
            turn += page.samples.len();
            if turn >= TURN_POINTS {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
        self.cursor = found.next_cursor;
        self.is_complete = self.cursor.is_none();
        Ok(!self.is_complete)
    }

    /// Removes the first group and returns it with its value of the label.
    pub(in crate::features::timeseries::multi) fn pop(&mut self) -> Option<(String, Group)> {
        self.groups.pop_first()
    }
}
