//! Recorded responses: how a response is stored and restored.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use crate::config::value::Span;
use crate::http::idempotent_operation::LimitedLife;

/// Marks a response that was recorded earlier.
pub(super) static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Recorded beside the headers of a response whose members count down: how long it is kept in milliseconds, and the
/// names of the members. It is not sent.
static COUNTDOWN: HeaderName = HeaderName::from_static("idempotency-countdown");

/// A successful response; its body is absent if it is too large to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordedResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
}

impl RecordedResponse {
    /// Copies what a repetition needs and returns the response. A body that is larger than `limit` bytes, or of unknown
    /// length, is not copied. `retention` is how long the copy is kept.
    ///
    /// # Errors
    /// If the response's body breaks off.
    pub(super) async fn of(response: Response, limit: usize, retention: Span) -> Result<(Self, Response), axum::Error> {
        let (parts, body) = response.into_parts();
        let mut headers = parts.headers.clone();
        if let Some(LimitedLife { countdowns, .. }) = parts.extensions.get()
            && let Ok(value) = HeaderValue::try_from(format!("{} {}", retention.as_millis(), countdowns.join(" ")))
        {
            headers.insert(COUNTDOWN.clone(), value);
        }
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let (kept, body) = if body.size_hint().exact().is_some_and(|length| length <= limit) {
            let bytes = body.collect().await?.to_bytes();
            (Some(bytes.clone()), Body::from(bytes))
        } else {
            (None, body)
        };
        let recorded = Self { status: parts.status, headers, body: kept };
        Ok((recorded, Response::from_parts(parts, body)))
    }

    /// The response again; `None` if its body was not recorded. `remaining` is how long the record is still kept.
    pub(super) fn replay(mut self, remaining: Span) -> Option<Response> {
        let mut body = self.body?;
        if let Some(countdown) = self.headers.remove(&COUNTDOWN)
            && let Some(now) = count_down(&body, &countdown, remaining)
        {
            body = now;
            self.headers.remove(header::CONTENT_LENGTH);
        }
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(REPLAYED.clone(), HeaderValue::from_static("true"));
        Some(response)
    }

    /// The headers as lines of `name:value`; header values contain no line breaks.
    pub(super) fn header_lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for (name, value) in &self.headers {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.push(b':');
            lines.extend_from_slice(value.as_bytes());
            lines.push(b'\n');
        }
        lines
    }

    /// Parses the recorded form; `None` if this service did not write it.
    pub(super) fn from_parts(status: &[u8], header_lines: &[u8], body: Option<Bytes>) -> Option<Self> {
        let mut headers = HeaderMap::new();
        for line in header_lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at(colon);
            headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value.get(1..)?).ok()?);
        }
        Some(Self { status: StatusCode::from_bytes(status).ok()?, headers, body })
    }
}

/// The JSON object with its countdowns reduced by the time since it was recorded; `None` if it has none.
fn count_down(body: &[u8], countdown: &HeaderValue, remaining: Span) -> Option<Bytes> {
    let mut words = countdown.to_str().ok()?.split_ascii_whitespace();
    let retention: u64 = words.next()?.parse().ok()?;
    let elapsed = retention.saturating_sub(remaining.as_millis());
    let mut object: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let mut counted = false;
    for name in words {
        if let Some(member) = object.get_mut(name)
            && let Some(left) = member.as_u64().filter(|left| *left > 0)
        {
            *member = left.saturating_sub(elapsed).into();
            counted = true;
        }
    }
    // An object without a countdown keeps the order of its members.
    counted.then(|| serde_json::to_vec(&object).ok().map(Bytes::from))?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Span = Span::from_millis(86_400_000);

    #[tokio::test]
    async fn a_repetition_receives_what_is_left_of_a_countdown() {
        let mut response = Response::new(Body::from(r#"{"hold_ms":5000,"id":"7","reset_ms":100,"ttl_ms":null}"#));
        let countdowns = &["hold_ms", "reset_ms", "ttl_ms", "absent"];
        response.extensions_mut().insert(LimitedLife { life: Duration::MAX, countdowns });
        let (answer, first) = RecordedResponse::of(response, 100, DAY).await.expect("a body");
        let again = RecordedResponse::from_parts(b"200", &answer.header_lines(), answer.body).expect("a record");
        let again = again.replay(Span::from_millis(DAY.as_millis() - 1_000)).expect("a response");
        for response in [&first, &again] {
            assert_eq!(response.headers().get(&COUNTDOWN), None);
        }
        let body = again.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, r#"{"hold_ms":4000,"id":"7","reset_ms":0,"ttl_ms":null}"#);
    }

    #[tokio::test]
    async fn a_recorded_response_is_restored() {
        let response = Response::builder()
            .status(201)
            .header("content-type", "application/json")
            .header("location", "/a:b")
            .header("x-twice", "1")
            .header("x-twice", "2")
            .body(Body::from("{}"))
            .expect("a response");
        let (answer, _) = RecordedResponse::of(response, 2, DAY).await.expect("a whole body");
        assert_eq!(answer.body.as_deref(), Some(&b"{}"[..]));
        let again = RecordedResponse::from_parts(b"201", &answer.header_lines(), answer.body.clone());
        assert_eq!(again, Some(answer));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_returned_but_not_recorded() {
        let (answer, response) = RecordedResponse::of(Response::new(Body::from("abc")), 2, DAY).await.expect("a body");
        assert_eq!(answer.body, None);
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "abc");
        assert!(answer.replay(DAY).is_none());
    }
}
