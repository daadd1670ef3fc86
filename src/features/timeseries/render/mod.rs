//! Writes ranges as JSON, NDJSON and CSV. A page has up to 100,000 points, so it is written directly into one buffer: a
//! generic serializer takes several times as long.
//!
//! JSON is `{key, from, to, samples: [{timestamp, value}], next_cursor}`, NDJSON `{timestamp, value}` for each point, and CSV
//! `timestamp,value`.

mod multi;

pub(super) use multi::{json_items, json_readings, lines, lines_head};

use serde::Serialize;

use super::aggregate::{Candle, Number, Point};
use super::range::RangePage;
use crate::http::negotiation::Form;

/// Writes a complete page. Candles have `open`, `high`, `low`, `close` and `volume` instead of `value`.
pub(super) fn page(form: Form, page: &RangePage) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, form, page);
    points(&mut out, form, &page.samples, true);
    tail(&mut out, form, page.next_cursor.map(|cursor| cursor.to_string()).as_deref());
    out
}

/// Writes the text before the first point.
pub(super) fn head(out: &mut Vec<u8>, form: Form, page: &RangePage) {
    match form {
        Form::Json => {
            out.extend_from_slice(b"{\"key\":");
            json_value(out, page.key.as_str());
            let mut integer = itoa::Buffer::new();
            out.extend_from_slice(b",\"from\":");
            out.extend_from_slice(integer.format(page.from).as_bytes());
            out.extend_from_slice(b",\"to\":");
            out.extend_from_slice(integer.format(page.to).as_bytes());
            out.extend_from_slice(b",\"samples\":[");
        }
        Form::Ndjson => {}
        Form::Csv => {
            out.extend_from_slice(csv_columns(page.candles).as_bytes());
        }
    }
}

/// The bytes reserved per point, enough for most: the fixed text, a timestamp of 13 digits, a number of full precision.
const JSON_POINT: usize = 56;
const CSV_POINT: usize = 32;

/// Writes points. `are_first` says whether they are the first points of the text.
pub(super) fn points(out: &mut Vec<u8>, form: Form, points: &[Point], are_first: bool) {
    let start: &[u8] = if form == Form::Csv { b"" } else { b"{" };
    points_after(out, form, start, points, are_first);
}

/// Writes points, each of which begins with `start`: the first columns, or the start of an object.
fn points_after(out: &mut Vec<u8>, form: Form, start: &[u8], points: &[Point], are_first: bool) {
    let size = if form == Form::Csv { CSV_POINT } else { JSON_POINT };
    out.reserve(points.len() * (start.len() + size));
    let mut integer = itoa::Buffer::new();
    for (at, point) in points.iter().enumerate() {
        if form == Form::Json && (at > 0 || !are_first) {
            out.push(b',');
        }
        out.extend_from_slice(start);
        match form {
            Form::Json | Form::Ndjson => json_point(out, &mut integer, point),
            Form::Csv => csv_point(out, &mut integer, point),
        }
        if form != Form::Json {
            out.push(b'\n');
        }
    }
}

/// Writes the text after the last point.
pub(super) fn tail(out: &mut Vec<u8>, form: Form, next_cursor: Option<&str>) {
    if form == Form::Json {
        out.extend_from_slice(b"],\"next_cursor\":");
        json_value(out, &next_cursor);
        out.push(b'}');
    }
}

/// Writes a value as JSON. Strings, lists and maps of strings never fail to serialize.
pub(super) fn json_value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    out.extend(serde_json::to_vec(value).unwrap_or_default());
}

/// Writes the rest of an object that is a point.
fn json_point(out: &mut Vec<u8>, integer: &mut itoa::Buffer, point: &Point) {
    out.extend_from_slice(b"\"timestamp\":");
    out.extend_from_slice(integer.format(point.timestamp).as_bytes());
    match point.number {
        Number::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            float_or(out, value, b"null");
        }
        Number::Count(count) => {
            out.extend_from_slice(b",\"value\":");
            out.extend_from_slice(integer.format(count).as_bytes());
        }
        Number::Candle(candle) => {
            for (name, value) in CANDLE.iter().zip(columns(candle)) {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                float_or(out, value, b"null");
            }
        }
    }
    out.push(b'}');
}

const CANDLE: [&str; 5] = ["open", "high", "low", "close", "volume"];

fn columns(candle: Candle) -> [f64; 5] {
    [candle.open, candle.high, candle.low, candle.close, candle.volume.unwrap_or(f64::NAN)]
}

/// The CSV columns of a point, with the line break.
fn csv_columns(candles: bool) -> String {
    let columns = if candles { CANDLE.join(",") } else { "value".to_owned() };
    format!("timestamp,{columns}\n")
}

fn csv_point(out: &mut Vec<u8>, integer: &mut itoa::Buffer, point: &Point) {
    out.extend_from_slice(integer.format(point.timestamp).as_bytes());
    out.push(b',');
    match point.number {
        Number::Float(value) => float_or(out, value, b""),
        Number::Count(count) => out.extend_from_slice(integer.format(count).as_bytes()),
        Number::Candle(candle) => {
            for (at, value) in columns(candle).into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                float_or(out, value, b"");
            }
        }
    }
}

/// Writes the shortest text that parses back to the same float, or `otherwise` if the number is not finite.
fn float_or(out: &mut Vec<u8>, value: f64, otherwise: &[u8]) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(otherwise);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cursor::{Cursor, Place};
    use super::super::series::SeriesKey;
    use super::super::window::{Order, Window};
    use super::*;

    fn range(numbers: &[Number], next_cursor: Option<Cursor>) -> RangePage {
        let samples = numbers.iter().zip(1..).map(|(&number, timestamp)| Point { timestamp, number }).collect();
        let key = SeriesKey::new("a\"b").expect("a key");
        let candles = matches!(numbers, [Number::Candle(_), ..]);
        RangePage { key, from: 0, to: 9, samples, next_cursor, candles }
    }

    #[test]
    fn a_page_is_the_json_that_it_says() {
        let window = Window { from: 0, to: 9 };
        let next = Cursor { order: Order::Asc, window, place: Place { at: 3, skip: 0 } };
        let text =
            page(Form::Json, &range(&[Number::Float(-0.0), Number::Count(7), Number::Float(f64::NAN)], Some(next)));
        let expected = concat!(
            r#"{"key":"a\"b","from":0,"to":9,"samples":[{"timestamp":1,"value":-0.0},{"timestamp":2,"value":7},"#,
            r#"{"timestamp":3,"value":null}],"next_cursor":"a0-9-3-0"}"#,
        );
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(
            page(Form::Json, &range(&[], None)),
            br#"{"key":"a\"b","from":0,"to":9,"samples":[],"next_cursor":null}"#
        );
        assert_eq!(
            page(Form::Csv, &range(&[Number::Float(0.5), Number::Float(f64::INFINITY)], None)),
            b"timestamp,value\n1,0.5\n2,\n"
        );
    }

    #[test]
    fn a_candle_has_five_numbers() {
        let candle = Candle { open: 1.0, high: 2.5, low: 0.5, close: 2.0, volume: None };
        let numbers = [Number::Candle(candle), Number::Candle(Candle { volume: Some(7.0), ..candle })];
        let text = String::from_utf8_lossy(&page(Form::Json, &range(&numbers, None))).into_owned();
        assert!(
            text.contains(r#"{"timestamp":1,"open":1.0,"high":2.5,"low":0.5,"close":2.0,"volume":null}"#),
            "{text}"
        );
        let lines = page(Form::Csv, &range(&numbers, None));
        assert_eq!(
            String::from_utf8_lossy(&lines),
            "timestamp,open,high,low,close,volume\n1,1.0,2.5,0.5,2.0,\n2,1.0,2.5,0.5,2.0,7.0\n"
        );
    }

    #[test]
    fn numbers_parse_back_to_the_same_bits() {
        for value in [0.0, -0.0, 5e-324, f64::MAX, f64::MIN_POSITIVE, 0.397_999_999_999_999_96, 1e16, 1e21, 123_456.0] {
            let text = page(Form::Json, &range(&[Number::Float(value)], None));
            let back: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            let found = back.pointer("/samples/0/value").and_then(serde_json::Value::as_f64).expect("a number");
            assert_eq!(found.to_bits(), value.to_bits(), "{value}");
        }
    }
}
