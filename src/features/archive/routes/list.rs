//! Writes lists as JSON, NDJSON or CSV, as the header `Accept` asks.

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::super::error::ArchiveError;
use super::super::model::{FootprintView, MinuteView, MinutesView, PriceLevel, ProfileView, SingleTrade};
use crate::http::conditional::{ETag, Preconditions};
use crate::http::negotiation::{Form, NEXT_CURSOR, accepted, media_type};
use crate::http::problem::Problem;
use crate::http::reply::Page;
use crate::lifecycle::offload::Offload;
use crate::tape::Side;

/// An item of a list with its lines of CSV. No value needs quotes, except ids of trades and parties.
pub(super) trait CsvLines: Serialize {
    /// The names of the columns.
    const COLUMNS: &'static str;
    fn lines(&self, out: &mut String);
}

const LEVEL: &str = "price_level,buy_volume,sell_volume,total_volume,delta,trade_count\n";

impl CsvLines for MinuteView {
    const COLUMNS: &'static str = "minute,";

    fn lines(&self, out: &mut String) {
        levels(out, &self.minute.to_string(), &self.price_levels);
    }
}

impl CsvLines for ProfileView {
    const COLUMNS: &'static str = "from,";

    fn lines(&self, out: &mut String) {
        levels(out, &self.from.to_string(), &self.price_levels);
    }
}

fn levels(out: &mut String, first: &str, levels: &[PriceLevel]) {
    for level in levels {
        let PriceLevel { price_level, buy_volume, sell_volume, total_volume, delta, trade_count } = level;
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{first},{price_level},{buy_volume},{sell_volume},{total_volume},{delta},{trade_count}");
    }
}

impl CsvLines for SingleTrade {
    const COLUMNS: &'static str = "trade_id,tape_id,timestamp,price,quantity,side,buyer,seller\n";

    fn lines(&self, out: &mut String) {
        let quoted = |text: &str| {
            if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
        };
        let [id, buyer, seller] = [Some(&self.trade_id), self.buyer.as_ref(), self.seller.as_ref()]
            .map(|text| text.map(|text| quoted(text)).unwrap_or_default());
        let Self { tape_id, timestamp, price, quantity, .. } = self;
        let side = self.side.map_or("", Side::name);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{id},{tape_id},{timestamp},{price},{quantity},{side},{buyer},{seller}");
    }
}

/// A list that is sent.
pub(super) trait ListView: Serialize {
    type Item: CsvLines;
    fn items(&self) -> &[Self::Item];
    fn next_cursor(&self) -> Option<&str> {
        None
    }
}

impl ListView for Page<SingleTrade> {
    type Item = SingleTrade;
    fn items(&self) -> &[SingleTrade] {
        &self.items
    }
    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

impl ListView for MinutesView {
    type Item = MinuteView;
    fn items(&self) -> &[MinuteView] {
        &self.items
    }
    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

impl ListView for FootprintView {
    type Item = ProfileView;
    fn items(&self) -> &[ProfileView] {
        &self.items
    }
}

impl ListView for ProfileView {
    type Item = Self;
    fn items(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}

/// The most items or price levels of a list that the request's own thread writes: about 2 ms.
const INLINE: usize = 4_000;

/// How long a list waits for a thread.
const PATIENCE: Duration = Duration::from_secs(1);

/// A list as it is sent.
struct Written {
    body: Vec<u8>,
    etag: ETag,
    next_cursor: Option<HeaderValue>,
}

/// The response with a list: JSON as a whole, or a line for each item. The entity tag is that of the content, so a range
/// that does not change is transferred once. `size` is the number of items or price levels of the view; a large one is made and
/// written on another thread.
///
/// # Errors
/// `invalid-header` if `If-None-Match` is not valid, `overloaded` if no thread becomes free.
pub(super) async fn list<V: ListView>(
    offload: &Offload,
    headers: &HeaderMap,
    size: usize,
    view: impl FnOnce() -> V + Send + 'static,
) -> Result<Response, Problem> {
    let form = accepted(headers, &[Form::Json, Form::Ndjson, Form::Csv]);
    let write = move || written(form, &view());
    let written =
        if size <= INLINE { write() } else { offload.run(PATIENCE, write).await.map_err(ArchiveError::from)? };
    let Written { body, etag, next_cursor } = written;
    let mut response = if Preconditions::of(headers)?.already_has(Some(etag)) {
        axum::http::StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, media_type(form))], body).into_response()
    };
    response.headers_mut().insert(header::ETAG, etag.header());
    if let Some(cursor) = next_cursor.filter(|_| form != Form::Json) {
        response.headers_mut().insert(NEXT_CURSOR, cursor);
    }
    Ok(response)
}

fn written<V: ListView>(form: Form, view: &V) -> Written {
    let body = match form {
        // Objects with text keys never fail to serialize.
        Form::Json => serde_json::to_vec(view).unwrap_or_default(),
        Form::Ndjson => view.items().iter().fold(Vec::new(), |mut out, item| {
            out.extend(serde_json::to_vec(item).unwrap_or_default());
            out.push(b'\n');
            out
        }),
        Form::Csv => {
            let mut out = V::Item::COLUMNS.to_owned();
            if !out.ends_with('\n') {
                out.push_str(LEVEL);
            }
            for item in view.items() {
                item.lines(&mut out);
            }
            out.into_bytes()
        }
    };
    let next_cursor = view.next_cursor().and_then(|cursor| HeaderValue::from_str(cursor).ok());
    Written { etag: ETag(xxh3_128(&body)), body, next_cursor }
}
