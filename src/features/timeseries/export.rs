//! A window as one answer, page by page: of any length, in the memory of one page, as fast as its reader takes it.

use axum::body::Bytes;
use futures_util::stream::{self, Stream};

use super::error::TimeseriesError;
use super::range::{RangePage, RangePlan, RangeReader};
use super::render::{self, Form};
use super::series::SeriesKey;

/// Points of a piece: a few milliseconds of work, and less than a megabyte of text.
const PIECE_POINTS: usize = 16_384;

/// A window on its way out.
#[derive(Debug)]
pub(super) struct Export {
    reader: RangeReader,
    form: Form,
    rest: Option<Rest>,
    /// What is ready: the first page is read before the answer begins, so that its problems can be told.
    ready: Option<Vec<u8>>,
}

/// What is left of a window.
#[derive(Debug)]
pub(super) struct Rest {
    key: SeriesKey,
    plan: RangePlan,
    /// How many points may still be written.
    limit: usize,
}

impl Export {
    /// Reads the first page of at most `limit` points.
    ///
    /// # Errors
    /// Those of [`RangeReader::page`].
    pub(super) async fn begin(
        reader: RangeReader,
        key: SeriesKey,
        plan: RangePlan,
        limit: usize,
        form: Form,
    ) -> Result<Self, TimeseriesError> {
        let (page, rest) = Rest::new(key, plan, limit).read(&reader).await?;
        let mut text = Vec::new();
        render::head(&mut text, form, &page);
        write(&mut text, form, &page, true, rest.is_none());
        Ok(Self { reader, form, rest, ready: Some(text) })
    }

    /// The text, piece by piece. A fault in the middle ends it, so that its reader sees that it is not complete.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, TimeseriesError>> {
        stream::try_unfold(self, async |mut export| {
            if let Some(ready) = export.ready.take() {
                return Ok(Some((Bytes::from(ready), export)));
            }
            let Some(rest) = export.rest.take() else { return Ok(None) };
            let (page, rest) = rest.read(&export.reader).await.inspect_err(broke_off)?;
            let mut text = Vec::new();
            write(&mut text, export.form, &page, false, rest.is_none());
            export.rest = rest;
            Ok(Some((Bytes::from(text), export)))
        })
    }
}

impl Rest {
    pub(super) fn new(key: SeriesKey, plan: RangePlan, limit: usize) -> Self {
        Self { key, plan, limit }
    }

    /// Reads the next piece, and says what is left behind it.
    ///
    /// # Errors
    /// Those of [`RangeReader::page`].
    pub(super) async fn read(self, reader: &RangeReader) -> Result<(RangePage, Option<Self>), TimeseriesError> {
        let plan = RangePlan { limit: self.limit.min(PIECE_POINTS), ..self.plan.clone() };
        let page = reader.page(self.key.clone(), plan).await?;
        let limit = self.limit - page.points.len();
        let rest = page.next.filter(|_| limit > 0).map(|cursor| Self {
            plan: RangePlan { place: Some(cursor.place), ..self.plan },
            limit,
            ..self
        });
        Ok((page, rest))
    }
}

/// Writes a page, and ends the text behind the last one.
fn write(text: &mut Vec<u8>, form: Form, page: &RangePage, is_first: bool, is_last: bool) {
    render::points(text, form, &page.points, is_first);
    if is_last {
        render::tail(text, form, page.next.map(|cursor| cursor.to_string()).as_deref());
    }
}

/// Logs that a response ended in the middle: the client can no longer receive an error.
pub(super) fn broke_off(error: &TimeseriesError) {
    tracing::warn!(error = error as &dyn std::error::Error, "an export broke off");
}
