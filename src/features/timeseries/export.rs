//! Exports a window as one streamed response. The export reads page by page, so memory holds one page, and it follows
//! the speed of the client.

use axum::body::Bytes;
use futures_util::stream::{self, Stream};

use super::error::TimeseriesError;
use super::range::{RangePage, RangePlan, RangeReader};
use super::render;
use super::series::SeriesKey;
use crate::http::negotiation::Form;
use crate::telemetry::episodes;

/// The points of one piece of the response: a few milliseconds of work and less than a megabyte of text.
const PAGE_POINTS: usize = 16_384;

/// An export in progress.
#[derive(Debug)]
pub(super) struct Export {
    reader: RangeReader,
    form: Form,
    rest: Option<RemainingWindow>,
    /// The text of the first page. It is read before the response begins, so that the client can receive its problems.
    ready: Option<Vec<u8>>,
}

/// The part of a window that the export has not read yet.
#[derive(Debug)]
pub(super) struct RemainingWindow {
    key: SeriesKey,
    plan: RangePlan,
    /// How many further points the export may write.
    limit: usize,
}

impl Export {
    /// Starts an export of at most `limit` points and reads its first page.
    ///
    /// # Errors
    /// The errors of [`RangeReader::page`].
    pub(super) async fn begin(
        reader: RangeReader,
        key: SeriesKey,
        plan: RangePlan,
        limit: usize,
        form: Form,
    ) -> Result<Self, TimeseriesError> {
        let (page, rest) = RemainingWindow::new(key, plan, limit).read(&reader).await?;
        let mut text = Vec::new();
        render::head(&mut text, form, &page);
        write(&mut text, form, &page, true, rest.is_none());
        Ok(Self { reader, form, rest, ready: Some(text) })
    }

    /// Returns the text as a stream. A fault ends the stream with an error, so the client sees that it is incomplete.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, TimeseriesError>> {
        stream::try_unfold(self, async |mut export| {
            if let Some(ready) = export.ready.take() {
                return Ok(Some((Bytes::from(ready), export)));
            }
            let Some(rest) = export.rest.take() else { return Ok(None) };
            let (page, rest) = rest.read(&export.reader).await.inspect_err(log_aborted)?;
            let mut text = Vec::new();
            write(&mut text, export.form, &page, false, rest.is_none());
            export.rest = rest;
            Ok(Some((Bytes::from(text), export)))
        })
    }
}

impl RemainingWindow {
    pub(super) fn new(key: SeriesKey, plan: RangePlan, limit: usize) -> Self {
        Self { key, plan, limit }
    }

    /// Reads the next page and returns it with the part of the window after it.
    ///
    /// # Errors
    /// The errors of [`RangeReader::page`].
    pub(super) async fn read(self, reader: &RangeReader) -> Result<(RangePage, Option<Self>), TimeseriesError> {
        let plan = RangePlan { limit: self.limit.min(PAGE_POINTS), ..self.plan.clone() };
        let page = reader.page(self.key.clone(), plan).await?;
        let limit = self.limit - page.samples.len();
        let rest = page.next_cursor.filter(|_| limit > 0).map(|cursor| Self {
            plan: RangePlan { place: Some(cursor.place), ..self.plan },
            limit,
            ..self
        });
        Ok((page, rest))
    }
}

/// Writes a page and, after the last page, the end of the text.
fn write(text: &mut Vec<u8>, form: Form, page: &RangePage, is_first: bool, is_last: bool) {
    render::points(text, form, &page.samples, is_first);
    if is_last {
        render::tail(text, form, page.next_cursor.map(|cursor| cursor.to_string()).as_deref());
    }
}

/// Logs that a response ended in the middle: the client can no longer receive an error.
pub(super) fn log_aborted(error: &TimeseriesError) {
    if let Some(repeated) = episodes::next("export") {
        tracing::warn!(error = error as &dyn std::error::Error, repeated, "export aborted");
    }
}
