//! Pages of a range as text. A page has up to 100,000 points, so it is written by hand into one buffer: a generic
//! serialiser takes several times as long.

use super::aggregate::{Number, Point};
use super::range::RangePage;

/// More than most points need: the fixed text, 13 digits of time, a number of full precision.
const JSON_POINT: usize = 56;
const CSV_POINT: usize = 32;

/// `{key, from, to, samples: [{timestamp, value}], next_cursor}`.
pub(super) fn json(page: &RangePage) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + page.points.len() * JSON_POINT);
    out.extend_from_slice(b"{\"key\":");
    // A string always serialises.
    out.extend(serde_json::to_vec(page.key.as_str()).unwrap_or_default());
    let mut integer = itoa::Buffer::new();
    out.extend_from_slice(b",\"from\":");
    out.extend_from_slice(integer.format(page.window.from).as_bytes());
    out.extend_from_slice(b",\"to\":");
    out.extend_from_slice(integer.format(page.window.to).as_bytes());
    out.extend_from_slice(b",\"samples\":[");
    let mut points = page.points.iter();
    if let Some(first) = points.next() {
        json_point(&mut out, &mut integer, first);
        for point in points {
            out.push(b',');
            json_point(&mut out, &mut integer, point);
        }
    }
    out.extend_from_slice(b"],\"next_cursor\":");
    match page.next {
        Some(cursor) => out.extend_from_slice(format!("\"{cursor}\"").as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    out
}

fn json_point(out: &mut Vec<u8>, integer: &mut itoa::Buffer, point: &Point) {
    out.extend_from_slice(b"{\"timestamp\":");
    out.extend_from_slice(integer.format(point.timestamp).as_bytes());
    out.extend_from_slice(b",\"value\":");
    if !number(out, integer, point.number) {
        out.extend_from_slice(b"null");
    }
    out.push(b'}');
}

/// `timestamp,value`, a line each; the value is empty where JSON says null.
pub(super) fn csv(page: &RangePage) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + page.points.len() * CSV_POINT);
    let mut integer = itoa::Buffer::new();
    out.extend_from_slice(b"timestamp,value\n");
    for point in &page.points {
        out.extend_from_slice(integer.format(point.timestamp).as_bytes());
        out.push(b',');
        number(&mut out, &mut integer, point.number);
        out.push(b'\n');
    }
    out
}

/// Writes the shortest text that parses back to the same bits; `false` when there is none.
fn number(out: &mut Vec<u8>, integer: &mut itoa::Buffer, number: Number) -> bool {
    match number {
        Number::Count(count) => out.extend_from_slice(integer.format(count).as_bytes()),
        Number::Float(value) if value.is_finite() => {
            out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        }
        Number::Float(_) => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::backend::{Order, Window};
    use super::super::cursor::Cursor;
    use super::super::series::SeriesKey;
    use super::*;

    fn page(numbers: &[Number], next: Option<Cursor>) -> RangePage {
        let points = numbers.iter().zip(1..).map(|(&number, timestamp)| Point { timestamp, number }).collect();
        let key = SeriesKey::new("a\"b").expect("a key");
        RangePage { key, window: Window { from: 0, to: 9 }, points, next }
    }

    #[test]
    fn a_page_is_the_json_that_it_says() {
        let next = Cursor { order: Order::Asc, window: Window { from: 3, to: 9 } };
        let text = json(&page(&[Number::Float(-0.0), Number::Count(7), Number::Float(f64::NAN)], Some(next)));
        let expected = concat!(
            r#"{"key":"a\"b","from":0,"to":9,"samples":[{"timestamp":1,"value":-0.0},{"timestamp":2,"value":7},"#,
            r#"{"timestamp":3,"value":null}],"next_cursor":"a3-9"}"#,
        );
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(
            csv(&page(&[Number::Float(0.5), Number::Float(f64::INFINITY)], None)),
            b"timestamp,value\n1,0.5\n2,\n"
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
