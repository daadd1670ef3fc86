//! The line formats of a stream: NDJSON, CSV and line protocol. The parsers avoid allocations, since a load can have
//! millions of lines.

use std::borrow::Cow;

use csv_core::ReadRecordResult;

use super::super::model::Timestamp;
use super::row::{Row, shortened};
use crate::clock::MAX_TIMESTAMP;
use crate::features::timeseries::influx::line as influx_line;
use crate::features::timeseries::influx::line::Line;
use crate::features::timeseries::influx::precision::Precision;
use crate::http::extract::{json_message, read_json};
use crate::http::integer::is_rounded;
use crate::http::lines::LineBreaks;
use crate::http::times;

/// The samples of a line.
#[derive(Debug)]
pub(super) enum Rows<'a> {
    None,
    One(Row<'a>),
    Several(Line),
}

/// The line format of a stream, with its state.
#[derive(Debug)]
pub(in crate::features::timeseries) enum LineFormat {
    /// One JSON object per line: `{"series", "timestamp"?, "value"}`.
    Ndjson,
    /// Comma-separated values; the first line names the columns.
    Csv(Option<Columns>),
    /// InfluxDB line protocol.
    LineProtocol(Precision),
}

impl LineFormat {
    /// Parses a line.
    ///
    /// # Errors
    /// [`LineError::Header`] ends the stream, [`LineError::Row`] refuses the line.
    pub(super) fn read<'a>(&mut self, line: &'a [u8]) -> Result<Rows<'a>, LineError> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Rows::None);
        }
        match self {
            Self::Ndjson => ndjson(line).map(Rows::One).map_err(LineError::Row),
            Self::Csv(Some(columns)) => columns.read(line).map(Rows::One).map_err(LineError::Row),
            Self::Csv(columns @ None) => {
                let named = Columns::named(line).map_err(|rule| LineError::Header(header_rule(&rule)))?;
                *columns = Some(named);
                Ok(Rows::None)
            }
            Self::LineProtocol(precision) => {
                influx_line::read(line, *precision).map(Rows::Several).map_err(LineError::Row)
            }
        }
    }

    pub(super) fn breaks(&self) -> LineBreaks {
        match self {
            Self::LineProtocol(_) => LineBreaks::OutsideTexts,
            Self::Ndjson | Self::Csv(_) => LineBreaks::All,
        }
    }

    /// The unit of the timestamps, if it may differ from milliseconds.
    pub(super) fn precision(&self) -> Option<Precision> {
        match self {
            Self::LineProtocol(precision) => Some(*precision),
            Self::Ndjson | Self::Csv(_) => None,
        }
    }

    /// # Errors
    /// The rule that the stream violates if it ends before its header.
    pub(super) fn finish(&self) -> Result<(), String> {
        match self {
            Self::Csv(None) => Err(header_rule("the body is empty")),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(super) enum LineError {
    Header(String),
    Row(String),
}

fn header_rule(rule: &str) -> String {
    format!("the CSV header must name `series`, `value` and optionally `timestamp`: {rule}")
}

fn ndjson(line: &[u8]) -> Result<Row<'_>, String> {
    read_json(line).map_err(|error| format!("{}, column {}", json_message(&error), error.column()))
}

/// The maximum number of columns.
const MAX_COLUMNS: usize = 3;

/// The positions of the columns in a CSV line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct Columns {
    series: usize,
    timestamp: Option<usize>,
    value: usize,
    count: usize,
}

impl Columns {
    fn named(header: &[u8]) -> Result<Self, String> {
        let header = header.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(header);
        let text = std::str::from_utf8(header).map_err(|_| "it is not UTF-8".to_owned())?;
        let (mut series, mut timestamp, mut value) = (None, None, None);
        let fields = split(text)?;
        for (at, name) in fields.iter().enumerate() {
            let column = match name.trim() {
                "series" => &mut series,
                "timestamp" => &mut timestamp,
                "value" => &mut value,
                other => return Err(format!("column `{}` is unknown", shortened(other))),
            };
            if column.replace(at).is_some() {
                return Err(format!("column `{}` is repeated", name.trim()));
            }
        }
        let series = series.ok_or("`series` is missing")?;
        let value = value.ok_or("`value` is missing")?;
        Ok(Self { series, timestamp, value, count: fields.len() })
    }

    fn read(self, line: &[u8]) -> Result<Row<'_>, String> {
        let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
        let fields = split(text)?;
        if fields.len() != self.count {
            return Err(format!("the line must have {} fields like the header, got {}", self.count, fields.len()));
        }
        let field = |at: usize| fields.get(at).map(Cow::as_ref).unwrap_or_default();
        let value = number(field(self.value))?;
        let timestamp = match self.timestamp.map(field).filter(|text| !text.trim().is_empty()) {
            Some(text) => Some(timestamp(text)?),
            None => None,
        };
        Ok(Row { series: fields.into_iter().nth(self.series).unwrap_or_default(), timestamp, value })
    }
}

fn number(text: &str) -> Result<f64, String> {
    let value = text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
    let value = value.ok_or_else(|| format!("value must be a finite number, got `{}`", shortened(text)))?;
    if is_rounded(text.trim(), value) {
        return Err(format!("value `{}` would be rounded: integers are exact up to 2^53", shortened(text)));
    }
    Ok(value)
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    let millis = text.trim().parse().ok().or_else(|| times::rfc3339(text.trim()));
    millis.and_then(|ms| Timestamp::new(ms.min(MAX_TIMESTAMP)).ok()).ok_or_else(|| {
        format!("timestamp must be an integer between 0 and 2^53 - 1, or RFC 3339, got `{}`", shortened(text))
    })
}

/// Splits a line into its fields.
fn split(text: &str) -> Result<Vec<Cow<'_, str>>, String> {
    if !text.contains('"') {
        return Ok(text.split(',').take(MAX_COLUMNS + 1).map(Cow::Borrowed).collect());
    }
    // The CSV reader treats an open quote as closed at the end of the input.
    if !text.bytes().filter(|byte| *byte == b'"').count().is_multiple_of(2) {
        return Err("a quote is not closed".to_owned());
    }
    let mut reader = csv_core::Reader::new();
    let mut output = vec![0; text.len()];
    let mut ends = [0; MAX_COLUMNS + 1];
    let (mut read, mut written, mut fields) = (0, 0, 0);
    loop {
        let input = text.as_bytes().get(read..).unwrap_or_default();
        let (result, used, filled, ended) = reader.read_record(
            input,
            output.get_mut(written..).unwrap_or_default(),
            ends.get_mut(fields..).unwrap_or_default(),
        );
        read += used;
        written += filled;
        fields += ended;
        match result {
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::Record | ReadRecordResult::End => break,
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                return Err(format!("the line must have at most {MAX_COLUMNS} fields"));
            }
        }
    }
    let mut start = 0;
    let field = |&end: &usize| {
        let bytes = output.get(start..end).unwrap_or_default();
        start = end;
        String::from_utf8(bytes.to_vec()).map(Cow::Owned).map_err(|_| "the line is not UTF-8".to_owned())
    };
    ends.iter().take(fields).map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(header: &str, line: &'a str) -> Result<Row<'a>, String> {
        Columns::named(header.as_bytes()).and_then(|columns| columns.read(line.as_bytes()))
    }

    fn row(series: &str, timestamp: Option<i64>, value: f64) -> Row<'_> {
        Row { series: series.into(), timestamp: timestamp.map(Timestamp), value }
    }

    #[test]
    fn columns_come_in_any_order() {
        assert_eq!(read("series,timestamp,value", "a,5,0.5"), Ok(row("a", Some(5), 0.5)));
        assert_eq!(read("value,series", "1e3,a:b"), Ok(row("a:b", None, 1000.0)));
        assert_eq!(read("\u{feff}\"value\",timestamp , series", "-0.0, 7 ,a"), Ok(row("a", Some(7), -0.0)));
        assert_eq!(read("series,timestamp,value", "a,,1"), Ok(row("a", None, 1.0)));
        let exact = Ok(row("a", None, 9_007_199_254_740_994.0));
        assert_eq!(read("series,value", "a,9007199254740994"), exact);
        assert_eq!(read("series,value", "a,9007199254740993.5"), exact);
        assert_eq!(ndjson(br#"{"series":"a","value":9007199254740994}"#), exact);
        let nanoseconds = read("series,timestamp,value", "a,1767225600000000000,1");
        assert_eq!(nanoseconds, Ok(row("a", Some(9_007_199_254_740_991), 1.0)), "refused for its time");
        assert_eq!(read("series,timestamp,value", "a,1970-01-01T00:00:05Z,1"), Ok(row("a", Some(5_000), 1.0)));
    }

    #[test]
    fn quotes_are_undone() {
        assert_eq!(read("series,value", "\"a,\"\"b\"\"\",\"2\""), Ok(row("a,\"b\"", None, 2.0)));
    }

    #[test]
    fn a_wrong_header_is_told() {
        for (header, part) in [
            ("series,timestamp", "`value` is missing"),
            ("value", "`series` is missing"),
            ("series,value,unit", "`unit` is unknown"),
            ("series,value,series", "repeated"),
            ("\"series,value", "not closed"),
        ] {
            let error = Columns::named(header.as_bytes()).expect_err(header);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_wrong_line_is_told() {
        for (line, part) in [
            ("a,5", "got 2"),
            ("a,5,1,2,3", "got 4"),
            ("a,5,x", "got `x`"),
            ("a,5,", "got ``"),
            ("a,5,NaN", "must be a finite number"),
            ("a,5,inf", "must be a finite number"),
            ("a,5,1e999", "must be a finite number"),
            ("a,5,9007199254740993", "would be rounded"),
            ("a,5,-9007199254740993", "would be rounded"),
            ("a,-1,1", "timestamp must be an integer between 0 and 2^53 - 1, or RFC 3339, got `-1`"),
            ("a,1.5,1", "got `1.5`"),
            ("\"a,5,1", "not closed"),
            ("\"a\",5,1,2", "got 4"),
            ("\"a\",5,1,2,3", "at most 3 fields"),
        ] {
            let error = read("series,timestamp,value", line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn json_lines_are_strict() {
        assert_eq!(
            ndjson(br#"{"series":"a","timestamp":5,"value":0.39799999999999996}"#),
            Ok(row("a", Some(5), 0.397_999_999_999_999_96))
        );
        assert_eq!(ndjson(br#"{"value":1,"series":"\u00e9"}"#), Ok(row("é", None, 1.0)));
        for bad in [
            r#"{"series":"a"}"#,
            r#"{"series":"a","value":"1"}"#,
            r#"{"series":"a","value":1,"unit":"kWh"}"#,
            r#"{"series":"a","value":1,"timestamp":-1}"#,
            r#"{"series":"a","value":1e999}"#,
            r#"{"series":"a","value":9007199254740993}"#,
            r#"{"series":"a","value":-9007199254740993}"#,
            r#"{"series":"a","value":1} {}"#,
            "nonsense",
        ] {
            assert!(ndjson(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
