//! Parses lines of InfluxDB's line protocol: `measurement,tag=value field=1.5,other=2i 1767225600000000000`.
//!
//! Numbers and booleans (1 and 0) are stored. A series cannot store text: such a field is refused by itself, and so is a
//! field whose name or number cannot be stored. The other fields of the line are stored.
//! Source: the page "Line protocol" in the documentation of InfluxDB 2.

use std::borrow::Cow;

use crate::features::timeseries::influx::influx_key::{TaggedKey, Tags};
use crate::features::timeseries::influx::precision::Precision;
use crate::features::timeseries::ingest::row::{Row, shortened};
use crate::features::timeseries::model::{RefusalCode, Timestamp};
use crate::features::timeseries::series::MAX_TIMESTAMP;
use crate::http::integer::exact_float;

/// The fields of a line.
#[derive(Debug, Default, PartialEq)]
pub(in crate::features::timeseries) struct Line {
    pub rows: Vec<Row<'static>>,
    pub refused: Vec<RefusedField>,
}

/// A field that cannot be stored.
#[derive(Debug, PartialEq)]
pub(in crate::features::timeseries) struct RefusedField {
    pub code: RefusalCode,
    pub detail: String,
}

/// Parses a line into one sample per field; a comment has none.
///
/// # Errors
/// The reason why the line is invalid.
pub(in crate::features::timeseries) fn read(line: &[u8], precision: Precision) -> Result<Line, String> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?.trim_start();
    if text.starts_with('#') {
        return Ok(Line::default());
    }
    let mut rest = Remaining(text);
    let measurement = rest.name(b", ")?;
    let mut tags = Tags::new();
    while rest.skip(b',') {
        let name = rest.name(b",= ")?;
        if !rest.skip(b'=') {
            return Err(format!("tag `{}` has no value", shortened(&name)));
        }
        let value = rest.name(b",= ")?;
        if let Some(twice) = tags.insert(name, value) {
            return Err(format!("a tag is repeated; its first value is `{}`", shortened(&twice)));
        }
    }
    let key = TaggedKey::new(&measurement, &tags)?;
    if !rest.skip_spaces() {
        return Err("the line has no field".to_owned());
    }
    let (mut samples, mut refused) = (Vec::new(), Vec::new());
    loop {
        let name = rest.name(b",= ")?;
        if !rest.skip(b'=') {
            return Err(format!("field `{}` has no value", shortened(&name)));
        }
        let named = |rule: String| format!("field `{}` {rule}", shortened(&name));
        match rest.value().map_err(named)? {
            FieldValue::Text => refused.push(RefusedField {
                code: RefusalCode::TextField,
                detail: named("has text; only numbers and booleans are stored".to_owned()),
            }),
            FieldValue::Plain(text) => {
                let value = number(text)
                    .ok_or_else(|| named(format!("must be a finite number or a boolean, got `{}`", shortened(text))));
                match value.and_then(|value| Ok((key.of_field(&name)?, value))) {
                    Ok(sample) => samples.push(sample),
                    Err(detail) => refused.push(RefusedField { code: RefusalCode::InvalidSample, detail }),
                }
            }
        }
        if !rest.skip(b',') {
            break;
        }
    }
    let timestamp = match rest.0.trim() {
        "" => None,
        text => Some(timestamp(text, precision)?),
    };
    let rows = samples.into_iter().map(|(key, value)| Row { series: key.into(), timestamp, value }).collect();
    Ok(Line { rows, refused })
}

/// The value of a field.
enum FieldValue<'a> {
    /// Quoted.
    Text,
    Plain(&'a str),
}

fn timestamp(text: &str, precision: Precision) -> Result<Timestamp, String> {
    // A time beyond the longest one is read as that, so that it is refused as too far ahead.
    let is_beyond = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let millis = text.parse().ok().and_then(|time| precision.millis(time)).or(is_beyond.then_some(MAX_TIMESTAMP));
    let timestamp = millis.and_then(|ms| Timestamp::new(ms.min(MAX_TIMESTAMP)).ok());
    timestamp.ok_or_else(|| format!("timestamp `{}` is not a valid time after 1970", shortened(text)))
}

/// The part of a line that is not parsed yet.
struct Remaining<'a>(&'a str);

impl<'a> Remaining<'a> {
    fn skip(&mut self, sign: u8) -> bool {
        let found = self.0.as_bytes().first() == Some(&sign);
        if found {
            self.0 = self.0.get(1..).unwrap_or_default();
        }
        found
    }

    fn skip_spaces(&mut self) -> bool {
        let rest = self.0.trim_start_matches(' ');
        let found = rest.len() < self.0.len();
        self.0 = rest;
        found
    }

    /// Reads a name up to the first byte in `ends`. A backslash escapes such a byte; before any other it is part of the
    /// name.
    fn name(&mut self, ends: &[u8]) -> Result<Cow<'a, str>, String> {
        let bytes = self.0.as_bytes();
        let (mut end, mut escapes) = (0, Vec::new());
        while let Some(byte) = bytes.get(end) {
            let is_kept = bytes.get(end + 1).is_some_and(|next| ends.contains(next));
            if *byte == b'\\' && is_kept {
                escapes.push(end);
                end += 2;
            } else if ends.contains(byte) {
                break;
            } else {
                end += 1;
            }
        }
        // All bytes in `ends` are ASCII, so the text is split between characters.
        let (text, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        if text.is_empty() {
            return Err(format!("a name or a value is missing before `{}`", shortened(rest)));
        }
        if escapes.is_empty() {
            return Ok(Cow::Borrowed(text));
        }
        let mut plain = String::with_capacity(text.len());
        let mut start = 0;
        for escape in escapes {
            plain.push_str(text.get(start..escape).unwrap_or_default());
            start = escape + 1;
        }
        plain.push_str(text.get(start..).unwrap_or_default());
        Ok(Cow::Owned(plain))
    }

    /// Reads the value of a field.
    ///
    /// # Errors
    /// The rule that a text violates.
    fn value(&mut self) -> Result<FieldValue<'a>, String> {
        if let Some(quoted) = self.0.strip_prefix('"') {
            let mut is_escaped = false;
            let end = quoted.bytes().position(|byte| {
                let is_end = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                is_end
            });
            let end = end.ok_or("has text without a closing quote")?;
            self.0 = quoted.get(end + 1..).unwrap_or_default();
            if !self.0.is_empty() && !self.0.starts_with([',', ' ']) {
                return Err("has more after the closing quote".to_owned());
            }
            return Ok(FieldValue::Text);
        }
        let end = self.0.find([',', ' ']).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        Ok(FieldValue::Plain(text))
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "t" | "T" | "true" | "True" | "TRUE" => return Some(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => return Some(0.0),
        _ => {}
    }
    if let Some(integer) = text.strip_suffix('i') {
        return exact_float(i128::from(integer.parse::<i64>().ok()?));
    }
    if let Some(integer) = text.strip_suffix('u') {
        return exact_float(i128::from(integer.parse::<u64>().ok()?));
    }
    // Rust parses words such as `inf` as numbers, the protocol does not allow them.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|value: &f64| plain && value.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(line: &str) -> Result<Vec<(String, Option<i64>, f64)>, String> {
        let Line { rows, refused } = read(line.as_bytes(), Precision::Ns)?;
        if let Some(refused) = refused.into_iter().next() {
            return Err(refused.detail);
        }
        Ok(rows
            .into_iter()
            .map(|row| (row.series.into_owned(), row.timestamp.map(|timestamp| timestamp.0), row.value))
            .collect())
    }

    fn one(line: &str) -> (String, Option<i64>, f64) {
        samples(line).expect(line).pop().expect("a sample")
    }

    #[test]
    fn a_line_is_a_sample_of_each_field() {
        let read = samples("cpu,host=a,az=1 idle=1.5,busy=2i 1767225600000999999").expect("samples");
        let at = Some(1_767_225_600_000);
        let expected = [("influx:cpu:idle,az=1,host=a", at, 1.5), ("influx:cpu:busy,az=1,host=a", at, 2.0)];
        assert_eq!(read, expected.map(|(key, at, value)| (key.to_owned(), at, value)));
        assert_eq!(one("m f=1"), ("influx:m:f".to_owned(), None, 1.0));
        assert_eq!(one("  m   f=1   5000000  "), ("influx:m:f".to_owned(), Some(5), 1.0));
        assert_eq!(samples("# a comment"), Ok(Vec::new()));
    }

    #[test]
    fn signs_in_names_are_escaped() {
        assert_eq!(one(r"my\ m=n,t=b\ c\=d f\ \=g=1").0, "influx:my m=n:f =g,t=b c=d");
        assert_eq!(one(r"back\slash,t=\\b f\=1=1").0, r"influx:back\slash:f=1,t=\\b");
    }

    #[test]
    fn values_are_numbers_and_booleans() {
        for (text, value) in [
            ("1", 1.0),
            ("-0.0", -0.0),
            ("1e3", 1000.0),
            ("+.5", 0.5),
            ("-7i", -7.0),
            ("18446744073709549568u", 18_446_744_073_709_549_568.0),
            ("9007199254740992i", 9_007_199_254_740_992.0),
            ("t", 1.0),
            ("FALSE", 0.0),
            ("0.39799999999999996", 0.397_999_999_999_999_96),
        ] {
            assert_eq!(one(&format!("m f={text} 0")).2.to_bits(), f64::to_bits(value), "{text}");
        }
    }

    #[test]
    fn a_bad_line_says_why() {
        for (line, part) in [
            ("m", "no field"),
            ("m ", "missing"),
            ("m f", "no value"),
            ("m f=", "must be a finite number or a boolean"),
            ("m f=\"text\"", "has text"),
            ("m f=\"text", "closing quote"),
            ("m f=\"text\\\"", "closing quote"),
            ("m f=\"te\"xt", "after the closing quote"),
            ("m f=nan", "must be a finite number or a boolean"),
            ("m f=inf", "must be a finite number or a boolean"),
            ("m f=1e999", "must be a finite number or a boolean"),
            ("m f=1x", "must be a finite number or a boolean"),
            ("m f=0x1p3", "must be a finite number or a boolean"),
            ("m f=9007199254740993i", "must be a finite number or a boolean"),
            ("m f=-1u", "must be a finite number or a boolean"),
            ("m,t f=1", "no value"),
            ("m,t= f=1", "missing"),
            ("m,=a f=1", "missing"),
            (",t=a f=1", "missing"),
            ("m,t=a,t=b f=1", "repeated"),
            ("m,t=a=b f=1", "no field"),
            ("m f=1 x", "timestamp"),
            ("m f=1 -1", "timestamp"),
            ("m f=1 5 5", "timestamp"),
            ("m f=1 1.5", "timestamp"),
            ("m f=1,", "missing"),
            ("m f:g=1", "colons"),
            ("m,t=(a) f=1", "parentheses"),
            ("m\tn f=1", "control"),
        ] {
            let error = samples(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
        // It is refused later, as too far ahead.
        let far = read(b"m f=1 9007199254741", Precision::S).expect("a line");
        assert_eq!(far.rows.first().and_then(|row| row.timestamp), Some(Timestamp(MAX_TIMESTAMP)));
        assert!(read(b"\xff f=1", Precision::S).is_err());
    }

    #[test]
    fn a_field_that_cannot_be_stored_does_not_discard_the_others() {
        for field in [
            r#"state="on""#,
            r#"state="a, b=2 \"c\" \\""#,
            r#"state="""#,
            "state=9007199254740993i",
            "state=nan",
            "st:ate=1",
            "state=1x",
        ] {
            for fields in [format!("power=12.5,{field},volt=1"), format!("{field},power=12.5,volt=1")] {
                let line = read(format!("m {fields} 5000000").as_bytes(), Precision::Ns).expect(&fields);
                let rows: Vec<_> =
                    line.rows.iter().map(|row| (row.series.as_ref(), row.timestamp, row.value)).collect();
                let at = Some(Timestamp(5));
                assert_eq!(rows, [("influx:m:power", at, 12.5), ("influx:m:volt", at, 1.0)], "{fields}");
                let code = if field.contains('"') { RefusalCode::TextField } else { RefusalCode::InvalidSample };
                assert_eq!(line.refused.iter().map(|refused| refused.code).collect::<Vec<_>>(), [code], "{fields}");
            }
        }
    }

    #[test]
    fn precisions_are_units_of_the_timestamp() {
        for (precision, text, expected) in [
            (Precision::Ns, "1500000000", 1_500),
            (Precision::Us, "1500000", 1_500),
            (Precision::Ms, "1500", 1_500),
            (Precision::S, "1", 1_000),
            (Precision::M, "2", 120_000),
            (Precision::H, "2", 7_200_000),
        ] {
            let rows = read(format!("m f=1 {text}").as_bytes(), precision).expect(text).rows;
            assert_eq!(rows.first().and_then(|row| row.timestamp), Some(Timestamp(expected)), "{precision:?}");
        }
    }

    fn escaped(name: &str) -> String {
        name.chars().flat_map(|sign| ",= ".contains(sign).then_some('\\').into_iter().chain([sign])).collect()
    }

    proptest! {
        /// Lines that follow the rules are read back, with any names.
        #[test]
        fn a_written_line_is_read(
            measurement in "[a-zé= ]{1,6}", field in "[a-zé= ]{1,6}",
            tags in proptest::collection::btree_map("[a-z_][a-z.-]{0,3}", "[a-zé=: ]{1,6}", 0..4),
            value in proptest::num::f64::NORMAL, time in 0_i64..9_007_199_254_740
        ) {
            let written: String = tags.iter().map(|(name, text)| [",", name, "=", &escaped(text)].concat()).collect();
            let plain: String = tags.iter().map(|(name, text)| [",", name, "=", text].concat()).collect();
            let measured = escaped(&measurement).replace("\\=", "=");
            let line = format!("{measured}{written} {}={value:?} {time}", escaped(&field));
            let key = format!("influx:{measurement}:{field}{plain}");
            prop_assume!(!measurement.starts_with(' '));
            let line = read(line.as_bytes(), Precision::S).map_err(TestCaseError::fail)?;
            let [row] = line.rows.as_slice() else { return Err(TestCaseError::fail("one sample")) };
            let read = (row.series.as_ref(), row.timestamp, row.value.to_bits());
            prop_assert_eq!(read, (key.as_str(), Some(Timestamp(time * 1_000)), value.to_bits()));
        }

        /// No input makes the parser panic.
        #[test]
        fn any_bytes_are_read_or_refused(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let line = read(&line, Precision::Ns);
            prop_assert!(line.is_err() || line.is_ok_and(|line| line.rows.iter().all(|row| row.value.is_finite())));
        }
    }
}
