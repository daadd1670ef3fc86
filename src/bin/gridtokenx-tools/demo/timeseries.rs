//! Requests to the service's time series.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use indicatif::ProgressBar;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::calendar::Calendar;
use super::{DemoError, Extent, Readings};
use crate::client::{BoxError, Service};
use gridtokenx_redis::clock::UnixMillis;

/// The service's own limit for a streamed request is ten minutes.
const SEND_LIMIT: Duration = Duration::from_secs(660);
const READ_LIMIT: Duration = Duration::from_secs(30);
/// Size of one piece of CSV, bytes: many rows per write, and little memory.
const PIECE: usize = 64 << 10;

/// The characters that a path segment and a query may contain unescaped.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// One page of `GET /timeseries/{key}/range`, without the fields that the demo does not use.
#[derive(Deserialize)]
struct Page {
    samples: Vec<Sample>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Sample {
    timestamp: UnixMillis,
    value: f64,
}

impl Service {
    /// Streams readings as CSV and returns the service's answer.
    pub(super) async fn send_readings(&self, readings: Readings, bar: &ProgressBar) -> Result<String, DemoError> {
        let bar = bar.clone();
        // Reading the file blocks this thread, which has nothing else to do.
        let pieces = stream::iter(csv(readings)).map(move |piece| {
            let (text, rows) = piece?;
            bar.inc(rows);
            Ok(Frame::data(Bytes::from(text)))
        });
        let body = BodyExt::boxed_unsync(StreamBody::new(pieces));
        let answer = self.post("/timeseries/samples", "text/csv", body, SEND_LIMIT).await?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// One value for each local day of the extent, as (start of the day, value).
    pub(super) async fn daily(
        &self,
        series: &str,
        aggregation: &str,
        extent: &Extent,
        calendar: Calendar,
    ) -> Result<Vec<(UnixMillis, f64)>, DemoError> {
        let base = format!(
            "/timeseries/{}/range?agg={aggregation}&bucket=1d&tz={}&from={}&to={}",
            utf8_percent_encode(series, PLAIN),
            calendar.zone,
            calendar.midnight(extent.from),
            extent.to
        );
        let mut days = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut path = base.clone();
            if let Some(cursor) = &cursor {
                // Writing to a String cannot fail.
                let _ = write!(path, "&cursor={}", utf8_percent_encode(cursor, PLAIN));
            }
            let answer = self.get(&path, READ_LIMIT).await?;
            let page: Page = serde_json::from_slice(&answer)
                .map_err(|error| DemoError::Answer { request: format!("GET {path}"), reason: error.to_string() })?;
            days.extend(page.samples.iter().map(|sample| (sample.timestamp, sample.value)));
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(days),
            }
        }
    }
}

/// Pieces of CSV of about [`PIECE`] bytes, each with its number of rows; the first one starts with the header.
fn csv(mut readings: Readings) -> impl Iterator<Item = Result<(String, u64), BoxError>> + Send {
    let mut header = Some("series,timestamp,value\n");
    std::iter::from_fn(move || {
        let mut text = header.take().unwrap_or_default().to_owned();
        let mut rows = 0;
        while text.len() < PIECE {
            match readings.next() {
                Some(Ok(reading)) => {
                    // The shortest text that parses to the same number. Writing to a String cannot fail.
                    let _ = writeln!(text, "{},{},{}", reading.series, reading.timestamp, reading.value);
                    rows += 1;
                }
                Some(Err(error)) => return Some(Err(error.into())),
                None => break,
            }
        }
        (!text.is_empty()).then_some(Ok((text, rows)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Reading;
    use super::*;

    fn readings(count: i64) -> Readings {
        Box::new((0..count).map(|at| Ok(Reading { series: "energy:generation:m".into(), timestamp: at, value: 0.1 })))
    }

    #[test]
    fn pieces_of_csv_join_to_one_text() {
        let pieces: Vec<(String, u64)> = csv(readings(10_000)).collect::<Result<_, _>>().expect("no broken reading");
        assert!(pieces.len() > 1 && pieces.iter().all(|(text, _)| text.len() < PIECE + 100));
        assert_eq!(pieces.iter().map(|(_, rows)| rows).sum::<u64>(), 10_000);
        let text: String = pieces.into_iter().map(|(text, _)| text).collect();
        assert!(text.starts_with("series,timestamp,value\nenergy:generation:m,0,0.1\n"));
        assert_eq!(text.lines().count(), 10_001);
    }
}
