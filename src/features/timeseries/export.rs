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
    key: SeriesKey,
    form: Form,
    /// What is left of the window, and how many points may still be written.
    rest: Option<(RangePlan, usize)>,
    /// What is ready: the first page is read before the answer begins, so that its problems can be told.
    ready: Option<Vec<u8>>,
}

impl Export {
    /// Reads the first page of at most `limit` points.
    ///
    /// # Errors
    /// As [`RangeReader::page`].
    pub(super) async fn begin(
        reader: RangeReader,
        key: SeriesKey,
        plan: RangePlan,
        limit: usize,
        form: Form,
    ) -> Result<Self, TimeseriesError> {
        let page = page(&reader, &key, &plan, limit).await?;
        let mut export = Self { reader, key, form, rest: None, ready: None };
        let mut text = Vec::new();
        render::head(&mut text, form, &page);
        export.write(&mut text, &page, plan, limit, true);
        export.ready = Some(text);
        Ok(export)
    }

    /// The text, piece by piece. A fault in the middle ends it, so that its reader sees that it is not complete.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, TimeseriesError>> {
        stream::try_unfold(self, async |mut export| {
            if let Some(ready) = export.ready.take() {
                return Ok(Some((Bytes::from(ready), export)));
            }
            let Some((plan, limit)) = export.rest.take() else { return Ok(None) };
            let page = page(&export.reader, &export.key, &plan, limit).await.inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "an export broke off");
            })?;
            let mut text = Vec::new();
            export.write(&mut text, &page, plan, limit, false);
            Ok(Some((Bytes::from(text), export)))
        })
    }

    /// Writes a page, notes what is left behind it, and ends the text when nothing is.
    fn write(&mut self, text: &mut Vec<u8>, page: &RangePage, plan: RangePlan, limit: usize, is_first: bool) {
        render::points(text, self.form, &page.points, is_first);
        let left = limit - page.points.len();
        match page.next {
            Some(cursor) if left > 0 => self.rest = Some((RangePlan { place: Some(cursor.place), ..plan }, left)),
            next => render::tail(text, self.form, next.map(|cursor| cursor.to_string()).as_deref()),
        }
    }
}

async fn page(
    reader: &RangeReader,
    key: &SeriesKey,
    plan: &RangePlan,
    limit: usize,
) -> Result<RangePage, TimeseriesError> {
    let plan = RangePlan { limit: limit.min(PIECE_POINTS), ..plan.clone() };
    reader.page(key.clone(), plan).await
}
