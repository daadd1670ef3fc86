//! Ranges of many series as lines: of any length, in the memory of a few pieces, as fast as their reader takes them.

use std::collections::VecDeque;

use axum::body::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::features::timeseries::aggregate::Point;
use crate::features::timeseries::error::TimeseriesError;
use crate::features::timeseries::export::{Rest, broke_off};
use crate::features::timeseries::multi::{AT_ONCE, ManyReader};
use crate::features::timeseries::query::ManyPlan;
use crate::features::timeseries::render;
use crate::features::timeseries::render::Form;
use crate::features::timeseries::series::SeriesKey;

/// Bytes that are sent together: short series share a piece.
const PIECE_BYTES: usize = 64 << 10;

/// Ranges on their way out.
#[derive(Debug)]
pub(in crate::features::timeseries) struct ManyExport {
    reader: ManyReader,
    plan: ManyPlan,
    form: Form,
    /// Points of each series.
    limit: usize,
    /// Series that may still be looked up behind `plan.after`; 0 when there are no more.
    series_left: usize,
    /// What was read and not written yet, in the order of the answer.
    pieces: VecDeque<Piece>,
    /// What is ready: its beginning is read before the answer begins, so that its problems can be told.
    ready: Option<Vec<u8>>,
}

/// Points of one series or group, and what is left of its window.
#[derive(Debug)]
struct Piece {
    key: String,
    points: Vec<Point>,
    rest: Option<Rest>,
}

impl ManyExport {
    /// Reads the first piece. Of every series at most `limit` points are written, and at most `series_limit` series.
    ///
    /// # Errors
    /// Those of [`ManyReader::page`].
    pub(in crate::features::timeseries) async fn begin(
        reader: ManyReader,
        mut plan: ManyPlan,
        [limit, series_limit]: [usize; 2],
        form: Form,
    ) -> Result<Self, TimeseriesError> {
        let (mut pieces, mut series_left) = (VecDeque::new(), series_limit);
        if let Some(grouping) = plan.group.take() {
            // One more than there may be is an error there, and never a group that ends early.
            plan.range.limit = limit.min(reader.group_points + 1);
            let groups = reader.groups(&plan, &grouping).await?.items;
            pieces.extend(groups.into_iter().map(|group| Piece { key: group.key, points: group.points, rest: None }));
            series_left = 0;
        }
        let mut text = Vec::new();
        render::lines_head(&mut text, form, plan.range.has_candles());
        let mut export = Self { reader, plan, form, limit, series_left, pieces, ready: None };
        export.write(&mut text).await?;
        export.ready = Some(text);
        Ok(export)
    }

    /// The lines, piece by piece. A fault in the middle ends them, so that their reader sees that they are not complete.
    pub(in crate::features::timeseries) fn into_stream(
        self,
    ) -> impl stream::Stream<Item = Result<Bytes, TimeseriesError>> {
        stream::try_unfold(self, async |mut export| {
            let mut text = export.ready.take().unwrap_or_default();
            if text.is_empty() {
                export.write(&mut text).await.inspect_err(broke_off)?;
            }
            Ok(Some((Bytes::from(text), export)).filter(|(text, _)| !text.is_empty()))
        })
    }

    /// Writes so many lines as are sent together; none when all are written.
    async fn write(&mut self, text: &mut Vec<u8>) -> Result<(), TimeseriesError> {
        while text.len() < PIECE_BYTES {
            let Some(Piece { key, points, rest }) = self.next().await? else { return Ok(()) };
            render::lines(text, self.form, &key, &points);
            if let Some(rest) = rest {
                let (page, rest) = rest.read(&self.reader.reader).await?;
                self.pieces.push_front(Piece { key, points: page.points, rest });
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Piece>, TimeseriesError> {
        while self.pieces.is_empty() && self.series_left > 0 {
            self.pieces = self.read().await?;
        }
        Ok(self.pieces.pop_front())
    }

    /// The beginnings of the next series, maybe of none; one that is gone meanwhile has none.
    async fn read(&mut self) -> Result<VecDeque<Piece>, TimeseriesError> {
        let after = self.plan.after.as_ref().map(SeriesKey::as_str);
        let count = self.series_left.min(AT_ONCE);
        let found = self.reader.index.page_by_label(&self.plan.filter, "", after, count).await?;
        self.plan.after = found.next_cursor.and_then(|key| SeriesKey::new(&key).ok());
        self.series_left = if self.plan.after.is_some() { self.series_left - found.items.len() } else { 0 };
        let read = async |key: SeriesKey| {
            let name = key.to_string();
            match Rest::new(key, self.plan.range.clone(), self.limit).read(&self.reader.reader).await {
                Ok((page, rest)) => Ok(Some(Piece { key: name, points: page.points, rest })),
                Err(TimeseriesError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let pieces = stream::iter(found.items.into_iter().map(|entry| entry.key)).map(read).buffered(AT_ONCE);
        pieces.try_filter_map(async |piece| Ok(piece)).try_collect().await
    }
}
