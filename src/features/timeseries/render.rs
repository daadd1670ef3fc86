//! Pages of a range as text. A page has up to 100,000 points, so it is written by hand into one buffer: a generic
//! serialiser takes several times as long.

use serde::Serialize;

use super::aggregate::{Candle, Number, Point};
use super::many::ManyPage;
use super::range::RangePage;

/// More than most points need: the fixed text, 13 digits of time, a number of full precision.
const JSON_POINT: usize = 56;
const CSV_POINT: usize = 32;

/// `{key, from, to, samples: [{timestamp, value}], next_cursor}`; candles have `{timestamp, open, high, low, close,
/// volume}`.
pub(super) fn json(page: &RangePage) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + page.points.len() * JSON_POINT);
    out.extend_from_slice(b"{\"key\":");
    json_value(&mut out, page.key.as_str());
    let mut integer = itoa::Buffer::new();
    out.extend_from_slice(b",\"from\":");
    out.extend_from_slice(integer.format(page.window.from).as_bytes());
    out.extend_from_slice(b",\"to\":");
    out.extend_from_slice(integer.format(page.window.to).as_bytes());
    out.extend_from_slice(b",\"samples\":");
    json_points(&mut out, &page.points);
    out.extend_from_slice(b",\"next_cursor\":");
    json_value(&mut out, &page.next.map(|cursor| cursor.to_string()));
    out.push(b'}');
    out
}

/// `{items: [{key, labels, samples, truncated, reducer, sources}], next_cursor}`, the last two fields only of groups.
pub(super) fn json_items(page: &ManyPage) -> Vec<u8> {
    let points: usize = page.items.iter().map(|item| item.points.len()).sum();
    let mut out = Vec::with_capacity(64 + page.items.len() * 256 + points * JSON_POINT);
    out.extend_from_slice(b"{\"items\":[");
    for (at, item) in page.items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"key\":");
        json_value(&mut out, &item.key);
        out.extend_from_slice(b",\"labels\":");
        json_value(&mut out, &item.labels);
        out.extend_from_slice(b",\"samples\":");
        json_points(&mut out, &item.points);
        out.extend_from_slice(if item.truncated { b",\"truncated\":true" } else { b",\"truncated\":false" });
        if let Some((reducer, sources)) = &item.reduced {
            out.extend_from_slice(b",\"reducer\":");
            json_value(&mut out, reducer.name());
            out.extend_from_slice(b",\"sources\":");
            json_value(&mut out, sources);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"next_cursor\":");
    json_value(&mut out, &page.next.as_ref().map(ToString::to_string));
    out.push(b'}');
    out
}

/// Text, lists and maps of it always serialise.
fn json_value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    out.extend(serde_json::to_vec(value).unwrap_or_default());
}

fn json_points(out: &mut Vec<u8>, points: &[Point]) {
    let mut integer = itoa::Buffer::new();
    let mut separator = b'[';
    for point in points {
        out.push(separator);
        json_point(out, &mut integer, point);
        separator = b',';
    }
    out.extend_from_slice(if points.is_empty() { b"[]" } else { b"]" });
}

fn json_point(out: &mut Vec<u8>, integer: &mut itoa::Buffer, point: &Point) {
    out.extend_from_slice(b"{\"timestamp\":");
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

/// `timestamp,value` or `timestamp,open,high,low,close,volume`, a line each; a number is empty where JSON says null.
pub(super) fn csv(page: &RangePage) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + page.points.len() * CSV_POINT);
    let mut integer = itoa::Buffer::new();
    let has_candles = page.points.first().is_some_and(|point| matches!(point.number, Number::Candle(_)));
    let header = if has_candles { CANDLE.join(",") } else { "value".to_owned() };
    out.extend_from_slice(format!("timestamp,{header}\n").as_bytes());
    for point in &page.points {
        out.extend_from_slice(integer.format(point.timestamp).as_bytes());
        out.push(b',');
        match point.number {
            Number::Float(value) => float_or(&mut out, value, b""),
            Number::Count(count) => out.extend_from_slice(integer.format(count).as_bytes()),
            Number::Candle(candle) => {
                for (at, value) in columns(candle).into_iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    float_or(&mut out, value, b"");
                }
            }
        }
        out.push(b'\n');
    }
    out
}

/// Writes the shortest text that parses back to the same bits; the given one when there is none.
fn float_or(out: &mut Vec<u8>, value: f64, otherwise: &[u8]) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(otherwise);
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::{Order, Window};
    use super::super::cursor::{Cursor, Place};
    use super::super::series::SeriesKey;
    use super::*;

    fn page(numbers: &[Number], next: Option<Cursor>) -> RangePage {
        let points = numbers.iter().zip(1..).map(|(&number, timestamp)| Point { timestamp, number }).collect();
        let key = SeriesKey::new("a\"b").expect("a key");
        RangePage { key, window: Window { from: 0, to: 9 }, points, next }
    }

    #[test]
    fn a_page_is_the_json_that_it_says() {
        let window = Window { from: 0, to: 9 };
        let next = Cursor { order: Order::Asc, window, place: Place { at: 3, skip: 0 } };
        let text = json(&page(&[Number::Float(-0.0), Number::Count(7), Number::Float(f64::NAN)], Some(next)));
        let expected = concat!(
            r#"{"key":"a\"b","from":0,"to":9,"samples":[{"timestamp":1,"value":-0.0},{"timestamp":2,"value":7},"#,
            r#"{"timestamp":3,"value":null}],"next_cursor":"a0-9-3-0"}"#,
        );
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(json(&page(&[], None)), br#"{"key":"a\"b","from":0,"to":9,"samples":[],"next_cursor":null}"#);
        assert_eq!(
            csv(&page(&[Number::Float(0.5), Number::Float(f64::INFINITY)], None)),
            b"timestamp,value\n1,0.5\n2,\n"
        );
    }

    #[test]
    fn a_candle_has_five_numbers() {
        let candle = Candle { open: 1.0, high: 2.5, low: 0.5, close: 2.0, volume: None };
        let numbers = [Number::Candle(candle), Number::Candle(Candle { volume: Some(7.0), ..candle })];
        let text = String::from_utf8_lossy(&json(&page(&numbers, None))).into_owned();
        assert!(
            text.contains(r#"{"timestamp":1,"open":1.0,"high":2.5,"low":0.5,"close":2.0,"volume":null}"#),
            "{text}"
        );
        let lines = csv(&page(&numbers, None));
        assert_eq!(
            String::from_utf8_lossy(&lines),
            "timestamp,open,high,low,close,volume\n1,1.0,2.5,0.5,2.0,\n2,1.0,2.5,0.5,2.0,7.0\n"
        );
    }

    #[test]
    fn numbers_parse_back_to_the_same_bits() {
        for value in [0.0, -0.0, 5e-324, f64::MAX, f64::MIN_POSITIVE, 0.397_999_999_999_999_96, 1e16, 1e21, 123_456.0] {
            let text = json(&page(&[Number::Float(value)], None));
            let back: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            let found = back.pointer("/samples/0/value").and_then(serde_json::Value::as_f64).expect("a number");
            assert_eq!(found.to_bits(), value.to_bits(), "{value}");
        }
    }
}
