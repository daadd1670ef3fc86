//! Errors as callers see them: RFC 9457 problem details.
//!
//! A handler returns a [`Problem`]. The middleware adds the request's id and path, writes the body and logs the cause,
//! which never reaches the client.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

pub use super::violation::{Location, Violation};
use crate::redis::{FaultKind, Outcome, RedisFault};

/// A kind of error. The page `/problems/{slug}` explains it.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemKind {
    pub slug: &'static str,
    pub status: StatusCode,
    pub title: &'static str,
    /// What a client should do about it; the text of its page.
    pub advice: &'static str,
}

/// Declares problem kinds and the list of them that a table can name.
#[macro_export]
macro_rules! problems {
    ($list:ident: $($(#[$doc:meta])* $name:ident = $slug:literal, $status:ident, $title:literal, $advice:literal;)+) => {
        $($(#[$doc])* pub static $name: $crate::http::problem::ProblemKind = $crate::http::problem::ProblemKind {
            slug: $slug, status: axum::http::StatusCode::$status, title: $title, advice: $advice,
        };)+
        /// Every kind above.
        pub static $list: &[&$crate::http::problem::ProblemKind] = &[$(&$name),+];
    };
}

problems! { COMMON:
    NOT_FOUND = "not-found", NOT_FOUND, "No such route",
        "Check the path; /openapi.json lists every route.";
    METHOD_NOT_ALLOWED = "method-not-allowed", METHOD_NOT_ALLOWED, "The route does not support this method",
        "The Allow header lists the methods that the route supports.";
    INVALID_PATH = "invalid-path", UNPROCESSABLE_ENTITY, "A part of the path is not valid",
        "errors names the part and the rule that it violates.";
    INVALID_QUERY = "invalid-query", UNPROCESSABLE_ENTITY, "A query parameter is not valid",
        "errors names the parameter. Unknown parameters are rejected, so that a typo does not silently become a default.";
    BAD_REQUEST = "bad-request", BAD_REQUEST, "The request violates HTTP",
        "The detail names the rule of RFC 9110 or RFC 9112.";
    INVALID_HEADER = "invalid-header", UNPROCESSABLE_ENTITY, "A header is not valid",
        "errors names the header and the rule that it violates.";
    INVALID_JSON = "invalid-json", BAD_REQUEST, "The body is not valid JSON",
        "The detail says where parsing stopped.";
    TOO_DEEP = "json-too-deep", BAD_REQUEST, "The JSON is nested too deeply",
        "Arrays and objects may be nested up to 64 levels deep.";
    INVALID_BODY = "invalid-body", UNPROCESSABLE_ENTITY, "The body is not valid",
        "errors names the fields as JSON pointers. Unknown fields are rejected.";
    PRECONDITION_FAILED = "precondition-failed", PRECONDITION_FAILED, "A precondition of the request failed",
        "If-Match or If-None-Match does not allow the current state, and nothing was changed. Read the resource again and decide.";
    BODY_TOO_LARGE = "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large",
        "The limit is http.body_limit, or the limit of the capability if it has one. A compressed body above 1 MiB may be 50 times as large as its compressed form.";
    BODY_INCOMPLETE = "body-incomplete", BAD_REQUEST, "The body is incomplete",
        "Send the whole body without long pauses.";
    REQUEST_TIMEOUT = "request-timeout", REQUEST_TIMEOUT, "The request body arrived too slowly",
        "Send the whole body without long pauses, at http.min_body_rate or faster. Retry freely if outcome is not_applied.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The Content-Type or Content-Encoding is not supported",
        "The detail lists what is supported.";
    UNSUPPORTED_TRANSFER_CODING = "unsupported-transfer-coding", NOT_IMPLEMENTED, "The Transfer-Encoding is not supported",
        "Send the body as chunked or with a Content-Length. Compress it with Content-Encoding: gzip, not with a transfer coding.";
    UNAUTHENTICATED = "unauthenticated", UNAUTHORIZED, "A valid credential is required",
        "Send X-API-Key, or Authorization: Bearer with a token.";
    FORBIDDEN = "forbidden", FORBIDDEN, "The credential does not permit this operation",
        "The detail names the required scope.";
    OVERLOADED = "overloaded", SERVICE_UNAVAILABLE, "The service is overloaded",
        "Retry after the time in Retry-After. Nothing was changed.";
    DEADLINE_EXCEEDED = "deadline-exceeded", GATEWAY_TIMEOUT, "The request exceeded its deadline",
        "The outcome of a write is unknown: retry it only with the same Idempotency-Key.";
    ARCHIVE_BEHIND = "archive-behind", INSUFFICIENT_STORAGE, "Too many minutes wait for their files",
        "The archive cannot write or remove minutes of this symbol: see GET /trades/archive/status. Nothing was stored.";
    FOLD_BEHIND = "fold-behind", SERVICE_UNAVAILABLE, "The candles are too far behind the trades",
        "Retry after the time in Retry-After; the service is catching up. Nothing was stored.";
    AUDIT_UNAVAILABLE = "audit-unavailable", SERVICE_UNAVAILABLE, "The audit log cannot record the action",
        "Nothing was done: this action must be recorded before it acts. Retry after the time in Retry-After.";
    REDIS_UNAVAILABLE = "redis-unavailable", SERVICE_UNAVAILABLE, "Redis cannot be reached",
        "Retry after the time in Retry-After. outcome says whether the request may have been applied.";
    REDIS_TIMEOUT = "redis-timeout", GATEWAY_TIMEOUT, "Redis did not answer in time",
        "If outcome is unknown, retry only with the same Idempotency-Key.";
    REDIS_BUSY = "redis-busy", SERVICE_UNAVAILABLE, "Redis is busy with a long-running script",
        "Retry after the time in Retry-After. Nothing was changed.";
    REDIS_WRITES_REFUSED = "redis-writes-refused", SERVICE_UNAVAILABLE, "Redis does not accept writes at the moment",
        "Redis protects its data: its disk is full or replicas are missing. Reads still work.";
    REPLICATION_UNMET = "replication-unmet", SERVICE_UNAVAILABLE, "Too few replicas have the write",
        "The write was made unless outcome says otherwise, and a failover of Redis may lose it. A repetition waits again.";
    REDIS_OUT_OF_MEMORY = "redis-out-of-memory", INSUFFICIENT_STORAGE, "Redis is out of memory",
        "Reads and deletes still work. Writes need more memory or less data.";
    REDIS_DENIED = "redis-denied", SERVICE_UNAVAILABLE, "Redis denied the service access",
        "The service's Redis credentials or permissions are insufficient. The operators of the service must fix this.";
    WRONG_TYPE = "wrong-type", CONFLICT, "The key holds another kind of value",
        "The key holds a value of another type, perhaps written by another service.";
    ANSWER_TOO_LARGE = "idempotency-answer-too-large", CONFLICT, "The request succeeded, but its response was not kept",
        "Its response was over 64 KiB, or over 1 KiB and lost, or after 4 MiB of such responses for the credential: read the result instead.";
    STALE_FENCE = "stale-fence", CONFLICT, "The target has accepted a newer fencing token",
        "A later holder of the lock has written. Nothing was changed. Acquire the lock again and read the current state.";
    INTERNAL = "internal-error", INTERNAL_SERVER_ERROR, "An internal error occurred",
        "Search the service's log for the request id to find the cause.";
}

// The problem of the routes that are WebSockets, which belong to several capabilities.
problems! { WEBSOCKET:
    UPGRADE_REQUIRED = "upgrade-required", UPGRADE_REQUIRED, "This route requires a WebSocket handshake",
        "Connect with a WebSocket client over HTTP/1.1. Real-time messages are also served by GET /pubsub/sse.";
}

/// The problems of every operation that needs a credential.
pub static CALLER: &[&ProblemKind] = &[&UNAUTHENTICATED, &FORBIDDEN, &INTERNAL, &REDIS_TIMEOUT, &DEADLINE_EXCEEDED];
/// The problems of an operation that reads from Redis, in addition to [`CALLER`].
pub static REDIS_READ: &[&ProblemKind] = &[&REDIS_UNAVAILABLE, &REDIS_BUSY, &REDIS_DENIED, &OVERLOADED];
/// The problems of an operation that writes to Redis, in addition to [`CALLER`].
pub static REDIS_WRITE: &[&ProblemKind] =
    &[&REDIS_UNAVAILABLE, &REDIS_BUSY, &REDIS_DENIED, &REDIS_WRITES_REFUSED, &OVERLOADED, &REDIS_OUT_OF_MEMORY];
/// The problems of an operation that reads a JSON body.
pub static JSON_BODY: &[&ProblemKind] = &[
    &INVALID_JSON,
    &TOO_DEEP,
    &BODY_INCOMPLETE,
    &BODY_TOO_LARGE,
    &REQUEST_TIMEOUT,
    &UNSUPPORTED_MEDIA_TYPE,
    &INVALID_BODY,
];

/// What the client needs for its next attempt.
#[derive(Clone, Copy, Debug)]
enum Hint {
    RetryAfter(Duration),
    CurrentVersion(u64),
}

/// An error response.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: &'static ProblemKind,
    detail: Option<Cow<'static, str>>,
    outcome: Option<Outcome>,
    hint: Option<Hint>,
    violations: Vec<Violation>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The body of an error, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// The page that explains this kind of error.
    #[serde(rename = "type")]
    #[schema(example = "/problems/invalid-body")]
    pub type_uri: String,
    pub title: &'a str,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// The path of the request.
    pub instance: &'a str,
    /// The kind's name, the last part of `type`.
    pub code: &'a str,
    pub request_id: &'a str,
    /// Whether the change was applied; present if that is relevant and known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The version that the target has, if the request expected another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_version: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub errors: &'a [Violation],
}

impl Problem {
    pub fn new(kind: &'static ProblemKind) -> Self {
        Self { kind, detail: None, outcome: None, hint: None, violations: Vec::new(), headers: Vec::new(), cause: None }
    }

    /// A text for the client. Never the text of an inner error.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(Cow::Owned(detail.to_string()));
        self
    }

    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.hint = Some(Hint::RetryAfter(after));
        self
    }

    /// The version that the target has.
    #[must_use]
    pub fn current_version(mut self, version: u64) -> Self {
        self.hint = Some(Hint::CurrentVersion(version));
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The cause, for the log only.
    #[must_use]
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// Adds a violated rule.
    #[must_use]
    pub fn violation(mut self, location: Location, pointer: impl Into<String>, detail: impl fmt::Display) -> Self {
        let pointer = pointer.into();
        let pointer = if pointer.is_empty() || pointer.starts_with('/') { pointer } else { format!("/{pointer}") };
        self.violations.push(Violation { location, pointer, detail: detail.to_string() });
        self
    }

    /// A body field that violates a rule. `detail` starts with a verb, such as `must be at least 1, got 0`.
    pub fn body_field(pointer: &str, detail: impl fmt::Display) -> Self {
        Self::invalid(&INVALID_BODY, Location::Body, pointer, detail)
    }

    /// A query parameter that violates a rule; see [`Problem::body_field`].
    pub fn query_parameter(name: &str, detail: impl fmt::Display) -> Self {
        Self::invalid(&INVALID_QUERY, Location::Query, name, detail)
    }

    /// A part of the path that violates a rule; see [`Problem::body_field`].
    pub fn path_segment(name: &str, detail: impl fmt::Display) -> Self {
        Self::invalid(&INVALID_PATH, Location::Path, name, detail)
    }

    /// A header that violates a rule; see [`Problem::body_field`].
    pub fn request_header(name: &str, detail: impl fmt::Display) -> Self {
        Self::invalid(&INVALID_HEADER, Location::Header, name, detail)
    }

    fn invalid(kind: &'static ProblemKind, location: Location, pointer: &str, detail: impl fmt::Display) -> Self {
        let (name, detail) = (pointer.trim_start_matches('/'), detail.to_string());
        let is_predicate = ["must ", "is ", "has ", "needs "].iter().any(|verb| detail.starts_with(verb));
        let summary = match location {
            Location::Body if pointer.is_empty() => detail.clone(),
            _ if is_predicate => format!("{name} {detail}"),
            _ => format!("{name}: {detail}"),
        };
        Self::new(kind).detail(summary).violation(location, pointer, detail)
    }

    /// The problem of an item as one of the whole body, in which the item is at `pointer`.
    #[must_use]
    pub fn within(mut self, pointer: &str) -> Self {
        if let Some(first) = self.violations.first().filter(|_| self.kind == &INVALID_BODY) {
            return Self::body_field(&format!("{pointer}{}", first.pointer), &first.detail);
        }
        for violation in self.violations.iter_mut().filter(|violation| violation.location == Location::Body) {
            violation.pointer.insert_str(0, pointer);
        }
        self
    }

    /// The text for the client.
    pub fn text(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.kind.title)
    }

    pub fn kind(&self) -> &'static ProblemKind {
        self.kind
    }

    pub fn status(&self) -> StatusCode {
        self.kind.status
    }

    /// The violated rules.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }

    /// Whether the change was applied, if the problem says so.
    pub fn known_outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Whether the requested change may be in effect.
    pub fn may_have_applied(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Unknown | Outcome::Applied))
    }

    /// The complete response to one request.
    pub fn render(&self, instance: &str, request_id: &str) -> Response {
        let (retry_after, current_version) = match self.hint {
            Some(Hint::RetryAfter(after)) => (Some(after), None),
            Some(Hint::CurrentVersion(version)) => (None, Some(version)),
            None => (None, None),
        };
        let body = ProblemBody {
            type_uri: format!("{PROBLEM_PAGES}{}", self.kind.slug),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: self.detail.as_deref(),
            instance,
            code: self.kind.slug,
            request_id,
            outcome: self.outcome,
            retry_after_ms: retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            current_version,
            errors: &self.violations,
        };
        // Strings, numbers and enums always serialise.
        let bytes = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = retry_after {
            // Retry-After is in whole seconds; a shorter delay is rounded up.
            let seconds = after.as_millis().div_ceil(1_000).max(1);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                headers.insert(header::RETRY_AFTER, value);
            }
        }
        if self.kind.status == StatusCode::REQUEST_TIMEOUT {
            // The rest of the body is not read (RFC 9110, section 15.5.9).
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        response
    }
}

/// The path of the pages that explain problems.
pub const PROBLEM_PAGES: &str = "/problems/";

/// A fencing token that no lock can have granted.
pub fn ahead_token() -> Problem {
    let rule = "is more than an hour ahead of Redis's clock, so no lock has granted it";
    Problem::request_header("Fencing-Token", rule).outcome(Outcome::NotApplied)
}

/// The middleware completes the response, because it knows the request.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.kind.status;
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<RedisFault> for Problem {
    fn from(fault: RedisFault) -> Self {
        if fault.kind == FaultKind::AheadFence {
            return ahead_token().outcome(fault.outcome);
        }
        let kind = match fault.kind {
            FaultKind::Unavailable
            | FaultKind::ConnectionLost
            | FaultKind::PoolExhausted
            | FaultKind::NotReady
            | FaultKind::ReadOnly => &REDIS_UNAVAILABLE,
            FaultKind::Timeout => &REDIS_TIMEOUT,
            FaultKind::Busy => &REDIS_BUSY,
            FaultKind::OutOfMemory => &REDIS_OUT_OF_MEMORY,
            FaultKind::WritesRefused => &REDIS_WRITES_REFUSED,
            FaultKind::Denied => &REDIS_DENIED,
            FaultKind::WrongType => &WRONG_TYPE,
            FaultKind::StaleFence => &STALE_FENCE,
            FaultKind::AheadFence => &INVALID_HEADER,
            FaultKind::Internal => &INTERNAL,
        };
        let hint = fault.retry_after.map(Hint::RetryAfter);
        Self { hint, ..Self::new(kind) }.detail(&fault).outcome(fault.outcome).caused_by(fault)
    }
}
