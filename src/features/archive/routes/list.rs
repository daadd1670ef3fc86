//! Writes lists as JSON, NDJSON or CSV, as the header `Accept` asks.

use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::super::model::{MinuteView, PriceLevel, ProfileView, SingleTrade};
use crate::http::conditional::{ETag, Preconditions};
use crate::http::negotiation::{Form, NEXT_CURSOR, accepted, media_type};
use crate::http::problem::Problem;
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

/// The response with a list: `json` as a whole, or a line for each item. The entity tag is that of the content, so a range
/// that does not change is transferred once.
///
/// # Errors
/// `invalid-header` if `If-None-Match` is not valid.
pub(super) fn list<T: CsvLines>(
    headers: &HeaderMap,
    json: &impl Serialize,
    items: &[T],
    next_cursor: Option<&str>,
) -> Result<Response, Problem> {
    let form = accepted(headers, &[Form::Json, Form::Ndjson, Form::Csv]);
    let body = match form {
        // Objects with text keys never fail to serialize.
        Form::Json => serde_json::to_vec(json).unwrap_or_default(),
        Form::Ndjson => items.iter().fold(Vec::new(), |mut out, item| {
            out.extend(serde_json::to_vec(item).unwrap_or_default());
            out.push(b'\n');
            out
        }),
        Form::Csv => {
            let mut out = T::COLUMNS.to_owned();
            if !out.ends_with('\n') {
                out.push_str(LEVEL);
            }
            for item in items {
                item.lines(&mut out);
            }
            out.into_bytes()
        }
    };
    let etag = ETag(xxh3_128(&body));
    let mut response = if Preconditions::of(headers)?.already_has(Some(etag)) {
        axum::http::StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, media_type(form))], body).into_response()
    };
    response.headers_mut().insert(header::ETAG, etag.header());
    let cursor = next_cursor.filter(|_| form != Form::Json).and_then(|cursor| HeaderValue::from_str(cursor).ok());
    if let Some(cursor) = cursor {
        response.headers_mut().insert(NEXT_CURSOR, cursor);
    }
    Ok(response)
}
