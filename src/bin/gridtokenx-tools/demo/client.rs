//! The HTTP client of the service's time series.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::header::{self, HeaderValue};
use hyper::http::uri::InvalidUri;
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use indicatif::ProgressBar;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{DemoError, Extent, Readings};
use crate::root_cause;
use gridtokenx_redis::clock::UnixMillis;

/// The service's own limit for a streamed request is ten minutes.
const SEND_LIMIT: Duration = Duration::from_secs(660);
const READ_LIMIT: Duration = Duration::from_secs(30);
/// Size of one piece of CSV, bytes: many rows per write, and little memory.
const PIECE: usize = 64 << 10;
const DAY_MS: UnixMillis = 86_400_000;

/// The characters that a path segment and a query may contain unescaped.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

type BoxError = Box<dyn Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A running service, and the credential to call it with.
pub(super) struct Service {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    base: String,
    api_key: Option<HeaderValue>,
}

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
    pub(super) fn new(base: &str, api_key: Option<&str>) -> Result<Self, DemoError> {
        let address = |reason: String| DemoError::Address { url: base.to_owned(), reason };
        let uri: Uri = base.parse().map_err(|error: InvalidUri| address(error.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(address("it must start with http:// or https://".to_owned()));
        }
        let api_key = api_key.map(HeaderValue::try_from).transpose();
        let connector = HttpsConnectorBuilder::new().with_native_roots().map_err(|error| address(error.to_string()))?;
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector.https_or_http().enable_http1().build()),
            base: base.trim_end_matches('/').to_owned(),
            api_key: api_key
                .map_err(|_| address("the API key contains characters that are not allowed in a header".to_owned()))?,
        })
    }

    /// Streams readings as CSV and returns the service's answer.
    pub(super) async fn send(&self, readings: Readings, bar: &ProgressBar) -> Result<String, DemoError> {
        let bar = bar.clone();
        // Reading the file blocks this thread, which has nothing else to do.
        let pieces = stream::iter(csv(readings)).map(move |piece| {
            let (text, rows) = piece?;
            bar.inc(rows);
            Ok(Frame::data(Bytes::from(text)))
        });
        let body = BodyExt::boxed_unsync(StreamBody::new(pieces));
        let answer = self.ask(Method::POST, "/timeseries/samples", body, SEND_LIMIT).await?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// One value for each UTC day of the extent, as (start of the day, value).
    pub(super) async fn daily(
        &self,
        series: &str,
        aggregation: &str,
        extent: &Extent,
    ) -> Result<Vec<(UnixMillis, f64)>, DemoError> {
        let from = extent.from - extent.from.rem_euclid(DAY_MS);
        let base = format!(
            "/timeseries/{}/range?agg={aggregation}&bucket=1d&from={from}&to={}",
            utf8_percent_encode(series, PLAIN),
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
            let answer = self.ask(Method::GET, &path, empty(), READ_LIMIT).await?;
            let page: Page = serde_json::from_slice(&answer)
                .map_err(|error| DemoError::Answer { request: format!("GET {path}"), reason: error.to_string() })?;
            days.extend(page.samples.iter().map(|sample| (sample.timestamp, sample.value)));
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(days),
            }
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Body, limit: Duration) -> Result<Bytes, DemoError> {
        let request = format!("{method} {path}");
        let mut builder = Request::builder().method(&method).uri(format!("{}{path}", self.base));
        if method == Method::POST {
            builder = builder.header(header::CONTENT_TYPE, "text/csv");
        }
        if let Some(key) = &self.api_key {
            builder = builder.header("x-api-key", key);
        }
        let prepared = builder
            .body(body)
            .map_err(|error| DemoError::Address { url: self.base.clone(), reason: error.to_string() })?;
        let unreachable = |error: &(dyn Error + 'static)| DemoError::Unreachable {
            url: self.base.clone(),
            reason: root_cause(error).to_string(),
        };
        let exchange = async {
            let response = self.client.request(prepared).await.map_err(|error| unreachable(&error))?;
            let status = response.status();
            let bytes = response.into_body().collect().await.map_err(|error| unreachable(&error))?.to_bytes();
            if status.is_success() {
                return Ok(bytes);
            }
            let body = String::from_utf8_lossy(&bytes).into_owned();
            Err(DemoError::Refused { request: request.clone(), status: status.as_u16(), body })
        };
        let answered = tokio::time::timeout(limit, exchange).await;
        answered.unwrap_or_else(|_| Err(DemoError::TooSlow { request: request.clone(), seconds: limit.as_secs() }))
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
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

    #[test]
    fn an_address_needs_a_scheme() {
        assert!(Service::new("localhost:4040", None).is_err());
        assert!(Service::new("http://localhost:4040/", Some("ak_1")).is_ok());
        assert!(Service::new("http://localhost:4040", Some("two\nlines")).is_err());
    }
}
