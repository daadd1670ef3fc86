//! A response of the service, with assertions.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use gridtokenx_redis::app::HttpService;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

#[derive(Debug)]
pub struct Reply {
    request: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// Sends one request to the service, without a socket.
    pub async fn from(
        service: &HttpService,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Self {
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        match service.clone().oneshot(request).await {
            Ok(response) => Self::read(format!("{method} {path}"), response).await,
            Err(never) => match never {},
        }
    }

    pub async fn read(request: String, response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a complete body").to_bytes();
        Self { request, status: parts.status, headers: parts.headers, body }
    }

    pub fn is(&self, status: u16) -> bool {
        self.status.as_u16() == status
    }

    /// The reply itself; it must have the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert!(self.is(status), "{}: expected {status}, got {}: {}", self.request, self.status, self.text());
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a text header"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}: not JSON: {}", self.request, self.text()))
    }

    /// The problem body; the reply must be this problem in the complete format.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.request, self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.request);
        let problem = self.json();
        assert_eq!(problem["code"], code, "{}: {problem}", self.request);
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["type"], format!("/problems/{code}"), "{problem}");
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{problem}");
        if status == 503 {
            assert!(self.header("retry-after").is_some() || code == "redis-denied", "{problem}");
        }
        problem
    }

    /// Like [`Reply::expect_problem`]; the problem must also name the invalid field.
    #[track_caller]
    pub fn expect_violation(&self, status: u16, code: &str, pointer: &str) -> Value {
        let problem = self.expect_problem(status, code);
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        assert!(errors.iter().any(|error| error["pointer"] == pointer), "{}: {problem}", self.request);
        problem
    }
}
