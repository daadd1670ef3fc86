//! Recorded responses: how a response is stored and restored.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::config::value::Span;
use crate::http::idempotent_operation::LimitedLife;

/// Marks a response that was recorded earlier.
pub(super) static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Recorded beside the headers of a response whose members count down: how long it is kept in milliseconds, and the
/// names of the members. It is not sent.
static COUNTDOWN: HeaderName = HeaderName::from_static("idempotency-countdown");
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

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
        self.body.as_ref()?;
        if let Some(countdown) = self.headers.remove(&COUNTDOWN) {
            self.count_down(&countdown, remaining);
        }
        let mut response = Response::new(Body::from(self.body?));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(REPLAYED.clone(), HeaderValue::from_static("true"));
        Some(response)
    }

    /// Reduces the countdowns of the body and of `RateLimit` by the time since the response was recorded.
    fn count_down(&mut self, countdown: &HeaderValue, remaining: Span) -> Option<()> {
        let mut words = countdown.to_str().ok()?.split_ascii_whitespace();
        let retention: u64 = words.next()?.parse().ok()?;
        let elapsed = retention.saturating_sub(remaining.as_millis());
        if let Some(field) = self.headers.get_mut(&RATE_LIMIT) {
            *field = count_down_field(field, elapsed)?;
        }
        let mut value: Value = serde_json::from_slice(self.body.as_deref()?).ok()?;
        // A body without a countdown keeps the order of its members.
        if count_down(&mut value, &words.collect::<Vec<_>>(), elapsed) {
            self.body = Some(serde_json::to_vec(&value).ok()?.into());
            self.headers.remove(header::CONTENT_LENGTH);
        }
        Some(())
    }

    /// What became of the effect, under the status of this response. A refusal stays as it is.
    pub(super) fn refreshed(&self, mut now: Response) -> Response {
        if now.status().is_success() {
            *now.status_mut() = self.status;
            now.headers_mut().insert(REPLAYED.clone(), HeaderValue::from_static("true"));
        }
        now
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

/// Reduces the members with these names, wherever they are in a JSON value, by `elapsed` milliseconds. Returns whether there
/// are any.
fn count_down(value: &mut Value, names: &[&str], elapsed: u64) -> bool {
    let mut counted = false;
    match value {
        Value::Array(items) => {
            for item in items {
                counted |= count_down(item, names, elapsed);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let left = names.contains(&name.as_str()).then(|| left_of(member, elapsed)).flatten();
                counted |= left.is_some() || count_down(member, names, elapsed);
                if let Some(left) = left {
                    *member = left;
                }
            }
        }
        _ => {}
    }
    counted
}

/// What is left of a countdown: of milliseconds, or of seconds as text with the suffix `s`. `None` if it is 0 or neither.
fn left_of(member: &Value, elapsed: u64) -> Option<Value> {
    if let Some(text) = member.as_str() {
        let text = text.strip_suffix('s')?;
        let (seconds, thousandths) = text.split_once('.').unwrap_or((text, "0"));
        let ms = seconds.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(thousandths.parse().ok()?)?;
        let left = ms.saturating_sub(elapsed);
        return Some(format!("{}.{:03}s", left / 1_000, left % 1_000).into());
    }
    let left = member.as_u64().filter(|left| *left > 0)?;
    Some(left.saturating_sub(elapsed).into())
}

/// Reduces the seconds `t` of each item of a `RateLimit` field by `elapsed` milliseconds, and drops those that are over.
fn count_down_field(field: &HeaderValue, elapsed: u64) -> Option<HeaderValue> {
    let items = field.to_str().ok()?.split(", ").map(|item| {
        let parts = item.rsplit_once(";t=").and_then(|(start, t)| Some((start, t.parse::<u64>().ok()?)));
        let Some((start, seconds)) = parts else { return item.to_owned() };
        match seconds.saturating_mul(1_000).saturating_sub(elapsed).div_ceil(1_000) {
            0 => start.to_owned(),
            left => format!("{start};t={left}"),
        }
    });
    HeaderValue::try_from(items.collect::<Vec<_>>().join(", ")).ok()
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

    #[test]
    fn countdowns_are_found_in_lists_texts_and_the_rate_limit() {
        let mut body = serde_json::json!({
            "results": [{ "reset_ms": 5_000 }, { "reset_ms": 900 }],
            "statuses": [{ "until": "59.250s" }, { "until": "60s" }, { "until": "soon" }],
        });
        assert!(count_down(&mut body, &["reset_ms", "until"], 1_000));
        let left = serde_json::json!({
            "results": [{ "reset_ms": 4_000 }, { "reset_ms": 0 }],
            "statuses": [{ "until": "58.250s" }, { "until": "59.000s" }, { "until": "soon" }],
        });
        assert_eq!(body, left);
        let field = HeaderValue::from_static(r#""a";r=9;t=60, "b";r=1;t=1, "c";r=5"#);
        let reduced = count_down_field(&field, 1_500);
        assert_eq!(reduced.expect("a field"), r#""a";r=9;t=59, "b";r=1, "c";r=5"#);
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
