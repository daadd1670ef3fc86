//! Reads the beginnings of the windows of several series in one round trip.

use super::super::backend::SamplePage;
use super::super::error::TimeseriesError;
use super::super::model::SeriesEntry;
use super::super::window::{Order, Window};
use super::{RangePlan, RangeReader};
use crate::features::timeseries::rollup_rule::has_rollups;

/// The first samples of a window whose samples answer the query without a rollup.
#[derive(Debug)]
pub(in crate::features::timeseries) struct ReadAhead {
    window: Window,
    order: Order,
    page: SamplePage,
}

impl ReadAhead {
    /// The first samples of this window, if they were read.
    pub(super) fn page(&self, window: Window, order: Order) -> Option<&SamplePage> {
        (self.window == window && self.order == order).then_some(&self.page)
    }
}

impl RangeReader {
    /// Reads the first samples of several series in one round trip, for [`RangeReader::page_within`]. Returns a result for
    /// each series, in their order; nothing for series that may be answered from a rollup.
    ///
    /// # Errors
    /// [`TimeseriesError::Redis`] if the round trip failed. The result of a single series can be
    /// [`TimeseriesError::NotFound`].
    pub(in crate::features::timeseries) async fn read_ahead(
        &self,
        series: &[SeriesEntry],
        plan: &RangePlan,
    ) -> Result<Vec<Result<Option<ReadAhead>, TimeseriesError>>, TimeseriesError> {
        let wanted = match &plan.buckets {
            None => plan.limit + 1,
            // These are read in parts, see `buckets.rs`.
            Some(_) if plan.order == Order::Desc => 0,
            Some(_) => usize::MAX,
        };
        let uses_rollups =
            plan.filter.is_open() && plan.buckets.as_ref().is_some_and(|buckets| has_rollups(buckets.aggregation));
        let is_read = |entry: &&SeriesEntry| wanted > 0 && !(uses_rollups && entry.has_rollups);
        let mut keys = Vec::with_capacity(series.len());
        for entry in series.iter().filter(is_read) {
            keys.push(self.backend.keys(&entry.key).await?);
        }
        let (window, order) = (plan.filter.first_window(plan.window), plan.order);
        let mut pages = self.backend.read_all(&keys, window, order, wanted).await?.into_iter();
        let first = |entry: &SeriesEntry| {
            let Some(page) = is_read(&entry).then(|| pages.next()).flatten() else { return Ok(None) };
            match page? {
                Some(page) => Ok(Some(ReadAhead { window, order, page })),
                None => Err(TimeseriesError::NotFound(entry.key.clone())),
            }
        };
        Ok(series.iter().map(first).collect())
    }
}
