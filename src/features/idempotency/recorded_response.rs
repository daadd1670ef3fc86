//! Recorded responses: how a response is stored and restored.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use http_body::Body as _;
use http_body_util::BodyExt;

/// Marks a response that was recorded earlier.
pub(super) static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A successful response; its body is absent if it is too large to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordedResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
}

impl RecordedResponse {
    /// Copies what a repetition needs and returns the response. A body that is larger than `limit` bytes, or of unknown
    /// length, is not copied.
    ///
    /// # Errors
    /// If the response's body breaks off.
    pub(super) async fn of(response: Response, limit: usize) -> Result<(Self, Response), axum::Error> {
        let (parts, body) = response.into_parts();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let (kept, body) = if body.size_hint().exact().is_some_and(|length| length <= limit) {
            let bytes = body.collect().await?.to_bytes();
            (Some(bytes.clone()), Body::from(bytes))
        } else {
            (None, body)
        };
        let recorded = Self { status: parts.status, headers: parts.headers.clone(), body: kept };
        Ok((recorded, Response::from_parts(parts, body)))
    }

    /// The response again; `None` if its body was not recorded.
    pub(super) fn replay(self) -> Option<Response> {
        let mut response = Response::new(Body::from(self.body?));
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let (answer, _) = RecordedResponse::of(response, 2).await.expect("a whole body");
        assert_eq!(answer.body.as_deref(), Some(&b"{}"[..]));
        let again = RecordedResponse::from_parts(b"201", &answer.header_lines(), answer.body.clone());
        assert_eq!(again, Some(answer));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_returned_but_not_recorded() {
        let (answer, response) = RecordedResponse::of(Response::new(Body::from("abc")), 2).await.expect("a body");
        assert_eq!(answer.body, None);
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "abc");
        assert!(answer.replay().is_none());
    }
}
