//! Readings from a CSV file in one of two formats; the header says which.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{DemoError, Reading, Readings};
use gridtokenx_redis::clock::UnixMillis;

/// Any series, one reading per row; the timestamp is Unix milliseconds or RFC 3339.
const BY_SERIES: &str = "series,timestamp,value";
/// One meter, consumption and generation in one row; the time is local.
const BY_METER: &str = "local_time,consumption_kwh,generation_kwh";

/// How a row becomes readings.
enum Form {
    BySeries,
    ByMeter { consumption: Arc<str>, generation: Arc<str> },
}

/// Every reading of a file, in its order. `meter` names the series of a file in the second format.
pub(super) fn readings(path: &Path, meter: &str) -> Result<Readings, DemoError> {
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => read(BufReader::new(file), name, meter),
        Err(error) => Err(DemoError::File { file: name, reason: error.to_string() }),
    }
}

/// Checks that a name needs no quotes in CSV.
pub(super) fn check_series_name(name: &str) -> Result<String, String> {
    let needs_quotes = |c: char| matches!(c, ',' | '"') || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.contains(needs_quotes) {
        return Err("a name must not be empty or contain commas, quotes, spaces or control characters".to_owned());
    }
    Ok(name.to_owned())
}

fn read(text: impl BufRead + Send + 'static, file: String, meter: &str) -> Result<Readings, DemoError> {
    let mut lines = text.lines();
    let header = match lines.next() {
        Some(Ok(header)) => header,
        Some(Err(error)) => return Err(DemoError::File { file, reason: error.to_string() }),
        None => return Err(DemoError::File { file, reason: "is empty".to_owned() }),
    };
    let form = match header.trim_start_matches('\u{feff}').trim_end() {
        BY_SERIES => Form::BySeries,
        BY_METER => Form::ByMeter {
            consumption: format!("energy:consumption:{meter}").into(),
            generation: format!("energy:generation:{meter}").into(),
        },
        other => {
            let reason = format!("the header must be `{BY_SERIES}` or `{BY_METER}`, got `{other}`");
            return Err(DemoError::Row { file, line: 1, reason });
        }
    };
    let rows = (2_u64..).zip(lines).filter(|(_, row)| !matches!(row, Ok(row) if row.trim().is_empty()));
    let readings = rows.flat_map(move |(line, row)| {
        let parsed = match row {
            Ok(row) => form.parse(row.trim_end()),
            Err(error) => Err(error.to_string()),
        };
        match parsed {
            Ok(readings) => readings.into_iter().map(Ok).collect(),
            Err(reason) => vec![Err(DemoError::Row { file: file.clone(), line, reason })],
        }
    });
    Ok(Box::new(readings))
}

impl Form {
    fn parse(&self, row: &str) -> Result<Vec<Reading>, String> {
        let fields: Vec<&str> = row.split(',').collect();
        let [first, second, third] = fields[..] else {
            return Err(format!("a row must have 3 columns, got {}", fields.len()));
        };
        match self {
            Self::BySeries => {
                let series: Arc<str> = check_series_name(first)?.into();
                Ok(vec![Reading { series, timestamp: moment(second)?, value: number(third)? }])
            }
            Self::ByMeter { consumption, generation } => {
                let timestamp = wall_clock_as_utc(first)?;
                let reading = |series: &Arc<str>, value| Reading { series: Arc::clone(series), timestamp, value };
                Ok(vec![reading(consumption, number(second)?), reading(generation, number(third)?)])
            }
        }
    }
}

/// A local time taken as UTC: a real time zone would skip an hour in spring and repeat one in autumn.
fn wall_clock_as_utc(text: &str) -> Result<UnixMillis, String> {
    let time: DateTime = text.parse().map_err(|_| format!("`{text}` is not a time such as 2011-07-01T00:30:00"))?;
    let zoned = time.to_zoned(TimeZone::UTC).map_err(|error| format!("`{text}`: {error}"))?;
    Ok(zoned.timestamp().as_millisecond())
}

fn moment(text: &str) -> Result<UnixMillis, String> {
    if let Ok(milliseconds) = text.parse() {
        return Ok(milliseconds);
    }
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed
        .map(jiff::Timestamp::as_millisecond)
        .map_err(|_| format!("`{text}` is neither Unix milliseconds nor an RFC 3339 time"))
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("`{text}` is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &'static str) -> Result<Vec<Reading>, String> {
        let readings = read(text.as_bytes(), "readings.csv".to_owned(), "m1").map_err(|error| error.to_string())?;
        readings.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    #[test]
    fn a_row_of_a_meter_becomes_two_readings() {
        let readings =
            all("local_time,consumption_kwh,generation_kwh\r\n2011-07-01T00:30:00,0.39799999999999996,0.0\r\n");
        let readings = readings.expect("valid");
        let shown: Vec<(&str, i64, f64)> =
            readings.iter().map(|reading| (&*reading.series, reading.timestamp, reading.value)).collect();
        assert_eq!(
            shown,
            [
                ("energy:consumption:m1", 1_309_480_200_000, 0.397_999_999_999_999_96),
                ("energy:generation:m1", 1_309_480_200_000, 0.0)
            ]
        );
        assert_eq!(readings[0].value.to_string(), "0.39799999999999996", "printed as it was measured");
    }

    #[test]
    fn the_hours_of_a_clock_change_stay_apart() {
        // 2011-10-02 02:30 did not exist in Sydney; the meter counted on.
        let text = "local_time,consumption_kwh,generation_kwh\n2011-10-02T01:30:00,1,0\n2011-10-02T02:30:00,2,0\n2011-10-02T03:30:00,3,0\n";
        let times: Vec<i64> = all(text).expect("valid").iter().step_by(2).map(|reading| reading.timestamp).collect();
        assert_eq!([times[1] - times[0], times[2] - times[1]], [3_600_000; 2]);
    }

    #[test]
    fn series_rows_take_both_forms_of_time() {
        let readings =
            all("\u{feff}series,timestamp,value\na:b,0,1.5\n\na:b,1970-01-01T00:00:01Z,-2e3\n").expect("valid");
        assert_eq!(readings.iter().map(|reading| reading.timestamp).collect::<Vec<_>>(), [0, 1_000]);
    }

    #[test]
    fn a_broken_row_is_named() {
        for (text, message) in [
            ("", "is empty"),
            ("a,b,c\n", "line 1: the header must be"),
            ("series,timestamp,value\na,0,1\na,0\n", "line 3: a row must have 3 columns, got 2"),
            ("series,timestamp,value\na,yesterday,1\n", "line 2: `yesterday`"),
            ("series,timestamp,value\na,0,NaN\n", "line 2: `NaN` is not a number"),
            ("series,timestamp,value\n\"a\",0,1\n", "line 2: a name must not"),
            ("local_time,consumption_kwh,generation_kwh\n2011-02-30T00:00:00,1,1\n", "line 2: `2011-02-30T00:00:00`"),
        ] {
            let error = all(text).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
