//! Exports ranges of many series as lines. The export is streamed at the speed of the client; memory holds a few pages.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::features::timeseries::aggregate::Point;
use crate::features::timeseries::error::TimeseriesError;
use crate::features::timeseries::export::{RemainingWindow, log_aborted};
use crate::features::timeseries::multi::group::Group;
use crate::features::timeseries::multi::grouping::{GROUP_POINTS, Grouping, STREAM_SERIES};
use crate::features::timeseries::multi::{CONCURRENT_READS, ManyReader, TURN_POINTS, of_the_body};
use crate::features::timeseries::query::{ManyPlan, Reducer};
use crate::features::timeseries::range::Budget;
use crate::features::timeseries::render;
use crate::features::timeseries::series::SeriesKey;
use crate::features::timeseries::window::Order;
use crate::http::negotiation::Form;

/// The minimum size of a piece of the response; short series share a piece.
const PIECE_BYTES: usize = 64 << 10;

/// How long the response waits for the groups: a fraction of the request deadline. The groups of more series are read while
/// the client waits for the first line.
const PATIENCE: Duration = Duration::from_millis(500);

/// An export in progress.
#[derive(Debug)]
pub(in crate::features::timeseries) struct ManyExport {
    reader: ManyReader,
    plan: ManyPlan,
    form: Form,
    /// The maximum number of points of each series.
    limit: usize,
    /// How many series after `plan.after` the export may still read; 0 if there are no more.
    series_left: usize,
    /// The groups, if the query has them.
    groups: Option<Groups>,
    /// Pages that are read but not written yet, in the order of the response.
    pieces: VecDeque<SeriesPage>,
    /// The first piece. It is read before the response begins, so that the client can receive its problems.
    ready: Option<Vec<u8>>,
}

/// The groups of an export.
#[derive(Debug)]
struct Groups {
    label: String,
    reducer: Reducer,
    grouping: Grouping,
    /// The group that is being written.
    current: Option<CurrentGroup>,
}

#[derive(Debug)]
struct CurrentGroup {
    key: String,
    group: Group,
    /// How many further points the export may write.
    left: usize,
}

impl Groups {
    /// The next points, in groups of which all series are read.
    fn next(&mut self, order: Order, limit: usize) -> Option<SeriesPage> {
        loop {
            if let Some(CurrentGroup { key, group, left }) = &mut self.current {
                let points = group.take(self.reducer, order, TURN_POINTS.min(*left));
                *left -= points.len();
                if !points.is_empty() {
                    return Some(SeriesPage { key: key.clone(), points, rest: None });
                }
            }
            let (value, group) = self.grouping.pop()?;
            self.current = Some(CurrentGroup { key: format!("{}={value}", self.label), group, left: limit });
        }
    }
}

/// Points of one series or group, and the remaining part of its window.
#[derive(Debug)]
struct SeriesPage {
    key: String,
    points: Vec<Point>,
    rest: Option<RemainingWindow>,
}

impl ManyExport {
    /// Starts an export and reads its first piece. The export contains at most `series_limit` series, and at most
    /// `limit` points of each.
    ///
    /// # Errors
    /// The errors of [`ManyReader::page`].
    pub(in crate::features::timeseries) async fn begin(
        reader: ManyReader,
        mut plan: ManyPlan,
        [limit, series_limit]: [usize; 2],
        form: Form,
    ) -> Result<Self, TimeseriesError> {
        let mut groups = None;
        if let Some((label, reducer)) = plan.group.take() {
            // With one point more than allowed the query fails, so no group is truncated silently.
            plan.range.limit = limit.min(GROUP_POINTS + 1);
            let grouping = Grouping::new(label.clone(), STREAM_SERIES, Budget::of_stream());
            groups = Some(Groups { label, reducer, grouping, current: None });
        }
        let mut text = Vec::new();
        render::lines_head(&mut text, form, plan.range.has_candles());
        let series_left = series_limit;
        let mut export = Self { reader, plan, form, limit, series_left, groups, pieces: VecDeque::new(), ready: None };
        let begun = Instant::now();
        while export.read_groups().await? {
            if begun.elapsed() > PATIENCE {
                export.ready = Some(text);
                return Ok(export);
            }
        }
        export.write(&mut text).await?;
        export.ready = Some(text);
        Ok(export)
    }

    /// Returns the lines as a stream. A fault ends the stream with an error, so the client sees that it is incomplete.
    pub(in crate::features::timeseries) fn into_stream(
        self,
    ) -> impl stream::Stream<Item = Result<Bytes, TimeseriesError>> {
        stream::try_unfold(self, async |mut export| {
            let mut text = export.ready.take().unwrap_or_default();
            if text.is_empty() {
                export.write(&mut text).await.inspect_err(log_aborted)?;
            }
            Ok(Some((Bytes::from(text), export)).filter(|(text, _)| !text.is_empty()))
        })
    }

    /// Writes the next piece; nothing if all series are written.
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<(), TimeseriesError> {
        while text.len() < PIECE_BYTES {
            let Some(SeriesPage { key, points, rest }) = self.next().await? else { return Ok(()) };
            render::lines(text, self.form, &key, &points);
            if let Some(rest) = rest {
                let (page, rest) = rest.read(&self.reader.reader).await?;
                self.pieces.push_front(SeriesPage { key, points: page.samples, rest });
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<SeriesPage>, TimeseriesError> {
        while self.read_groups().await? {}
        if let Some(groups) = &mut self.groups {
            return Ok(groups.next(self.plan.range.order, self.plan.range.limit));
        }
        while self.pieces.is_empty() && self.series_left > 0 {
            self.pieces = self.read().await?;
        }
        Ok(self.pieces.pop_front())
    }

    /// Reads a further part of the groups. Returns whether there is more to read.
    async fn read_groups(&mut self) -> Result<bool, TimeseriesError> {
        match &mut self.groups {
            Some(groups) => groups.grouping.advance(&self.reader, &self.plan).await,
            None => Ok(false),
        }
    }

    /// Reads the first page of each of the next series. A series that no longer exists is omitted.
    async fn read(&mut self) -> Result<VecDeque<SeriesPage>, TimeseriesError> {
        let after = self.plan.after.as_ref().map(SeriesKey::as_str);
        let count = self.series_left.min(CONCURRENT_READS);
        let found = self.reader.index.page_by_label(&self.plan.filter, "", after, count).await?;
        self.plan.after = found.next_cursor.and_then(|key| SeriesKey::new(&key).ok());
        self.series_left = if self.plan.after.is_some() { self.series_left - found.items.len() } else { 0 };
        let read = async |key: SeriesKey| {
            let name = key.to_string();
            match RemainingWindow::new(key, self.plan.range.clone(), self.limit).read(&self.reader.reader).await {
                Ok((page, rest)) => Ok(Some(SeriesPage { key: name, points: page.samples, rest })),
                Err(TimeseriesError::NotFound(_)) => Ok(None),
                Err(error) => Err(of_the_body(error)),
            }
        };
        let pieces = stream::iter(found.items.into_iter().map(|entry| entry.key)).map(read).buffered(CONCURRENT_READS);
        pieces.try_filter_map(async |piece| Ok(piece)).try_collect().await
    }
}
