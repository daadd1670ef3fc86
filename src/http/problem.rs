//! Errors as callers see them: RFC 9457 problem details.
//!
//! A handler returns a [`Problem`]; the edge adds the request's id and path, writes the body and logs the cause,
//! which never reaches the caller.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::redis::{FaultKind, Outcome, RedisFault};

/// A kind of error: its name, status and the page `/problems/{slug}` that explains it.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemKind {
    pub slug: &'static str,
    pub status: StatusCode,
    pub title: &'static str,
    /// What a caller should do about it; the text of its page.
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
    NOT_FOUND = "not-found", NOT_FOUND, "There is nothing at this address",
        "Check the path; /openapi.json lists every route.";
    METHOD_NOT_ALLOWED = "method-not-allowed", METHOD_NOT_ALLOWED, "The route does not know this method",
        "The Allow header lists the methods that the route knows.";
    INVALID_PATH = "invalid-path", UNPROCESSABLE_ENTITY, "A part of the path is not valid",
        "The errors list names the part and the rule it breaks.";
    INVALID_QUERY = "invalid-query", UNPROCESSABLE_ENTITY, "A query parameter is not valid",
        "The errors list names the parameter. Unknown parameters are refused, so that a typo is not taken for a default.";
    INVALID_HEADER = "invalid-header", UNPROCESSABLE_ENTITY, "A header is not valid",
        "The errors list names the header and the rule it breaks.";
    INVALID_JSON = "invalid-json", BAD_REQUEST, "The body is not valid JSON",
        "The detail says where reading stopped.";
    TOO_DEEP = "json-too-deep", BAD_REQUEST, "The JSON is nested too deeply",
        "At most 64 levels of arrays and objects are read.";
    INVALID_BODY = "invalid-body", UNPROCESSABLE_ENTITY, "The body does not have the expected form",
        "The errors list names the fields as JSON pointers. Unknown fields are refused.";
    PRECONDITION_FAILED = "precondition-failed", PRECONDITION_FAILED, "A condition of the request does not hold",
        "If-Match or If-None-Match refused the current state; nothing was done. Read it again and decide anew.";
    BODY_TOO_LARGE = "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large",
        "The limit is http.body_limit, or the capability's own where it has one.";
    BODY_INCOMPLETE = "body-incomplete", BAD_REQUEST, "The body ended early or did not keep coming",
        "Send the whole body without long pauses.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body's Content-Type is not understood here",
        "The detail lists the types that the route reads.";
    UNAUTHENTICATED = "unauthenticated", UNAUTHORIZED, "A valid credential is required",
        "Send X-API-Key, or Authorization: Bearer with a token.";
    FORBIDDEN = "forbidden", FORBIDDEN, "The credential does not allow this",
        "The detail names the scope that is needed.";
    OVERLOADED = "overloaded", SERVICE_UNAVAILABLE, "The service has all the work it can take",
        "Retry after the time in Retry-After. Nothing was done.";
    DEADLINE_EXCEEDED = "deadline-exceeded", GATEWAY_TIMEOUT, "The request took longer than it may",
        "The outcome of a write is unknown: retry it only with the same Idempotency-Key.";
    REDIS_UNAVAILABLE = "redis-unavailable", SERVICE_UNAVAILABLE, "Redis cannot be reached",
        "Retry after the time in Retry-After; outcome says whether the request may have been applied.";
    REDIS_TIMEOUT = "redis-timeout", GATEWAY_TIMEOUT, "Redis did not answer in time",
        "If outcome is unknown, retry only with the same Idempotency-Key.";
    REDIS_BUSY = "redis-busy", SERVICE_UNAVAILABLE, "Redis is busy with a long-running script",
        "Retry after the time in Retry-After. Nothing was done.";
    REDIS_WRITES_REFUSED = "redis-writes-refused", SERVICE_UNAVAILABLE, "Redis refuses writes at the moment",
        "Redis protects its data: the disk is full or replicas are missing. Reads go on.";
    REDIS_OUT_OF_MEMORY = "redis-out-of-memory", INSUFFICIENT_STORAGE, "Redis has no memory left for this",
        "Reads and deletes go on; writes need more memory or fewer data.";
    REDIS_DENIED = "redis-denied", SERVICE_UNAVAILABLE, "Redis denied the service access",
        "The service's Redis credentials or rights do not suffice; its operators must mend that.";
    WRONG_TYPE = "wrong-type", CONFLICT, "The key holds another kind of value",
        "Something else was stored under this key, perhaps by another service.";
    STALE_FENCE = "stale-fence", CONFLICT, "The target has seen a newer fencing token",
        "Another holder of the lock has written since yours was granted, so yours is over: nothing was changed. Acquire \
         the lock again and start from what is there now.";
    INTERNAL = "internal-error", INTERNAL_SERVER_ERROR, "The service failed",
        "The request id finds the cause in the service's log.";
}

/// The problems of every operation that needs a credential.
pub static CALLER: &[&ProblemKind] = &[&UNAUTHENTICATED, &FORBIDDEN, &INTERNAL, &REDIS_TIMEOUT, &DEADLINE_EXCEEDED];
/// The problems of an operation that reads from Redis, in addition to [`CALLER`].
pub static REDIS_READ: &[&ProblemKind] = &[&REDIS_UNAVAILABLE, &REDIS_BUSY, &REDIS_DENIED, &OVERLOADED];
/// The problems of an operation that writes to Redis, in addition to [`CALLER`].
pub static REDIS_WRITE: &[&ProblemKind] =
    &[&REDIS_UNAVAILABLE, &REDIS_BUSY, &REDIS_DENIED, &REDIS_WRITES_REFUSED, &OVERLOADED, &REDIS_OUT_OF_MEMORY];
/// The problems of an operation that reads a JSON body.
pub static JSON_BODY: &[&ProblemKind] =
    &[&INVALID_JSON, &TOO_DEEP, &BODY_INCOMPLETE, &BODY_TOO_LARGE, &UNSUPPORTED_MEDIA_TYPE, &INVALID_BODY];

/// Where a broken rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    Body,
    Query,
    Path,
    Header,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Violation {
    #[serde(rename = "in")]
    pub location: Location,
    /// JSON pointer into the body, or `/` and the name of the parameter or header.
    #[schema(example = "/ttl_ms")]
    pub pointer: String,
    pub detail: String,
}

/// An error on its way to the caller.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: &'static ProblemKind,
    detail: Option<Cow<'static, str>>,
    outcome: Option<Outcome>,
    retry_after: Option<Duration>,
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
    /// What became of the request: present where something may have been changed, or was certainly not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub errors: &'a [Violation],
}

impl Problem {
    pub fn new(kind: &'static ProblemKind) -> Self {
        Self {
            kind,
            detail: None,
            outcome: None,
            retry_after: None,
            violations: Vec::new(),
            headers: Vec::new(),
            cause: None,
        }
    }

    /// A text for the caller; never the text of an inner error.
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
        self.retry_after = Some(after);
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// For the log, not for the caller.
    #[must_use]
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// Names a broken rule.
    #[must_use]
    pub fn violation(mut self, location: Location, pointer: impl Into<String>, detail: impl fmt::Display) -> Self {
        let pointer = pointer.into();
        let pointer = if pointer.is_empty() || pointer.starts_with('/') { pointer } else { format!("/{pointer}") };
        self.violations.push(Violation { location, pointer, detail: detail.to_string() });
        self
    }

    /// A body field that breaks a rule; nothing was done.
    pub fn body_field(pointer: &str, detail: impl fmt::Display) -> Self {
        Self::invalid(&INVALID_BODY, Location::Body, pointer, detail)
    }

    /// A query parameter that breaks a rule; nothing was done.
    pub fn query_parameter(name: &str, detail: impl fmt::Display) -> Self {
        Self::invalid(&INVALID_QUERY, Location::Query, name, detail)
    }

    /// A part of the path that breaks a rule; nothing was done.
    pub fn path_segment(name: &str, detail: impl fmt::Display) -> Self {
        Self::invalid(&INVALID_PATH, Location::Path, name, detail)
    }

    /// A header that breaks a rule; nothing was done.
    pub fn request_header(name: &str, detail: impl fmt::Display) -> Self {
        Self::invalid(&INVALID_HEADER, Location::Header, name, detail)
    }

    fn invalid(kind: &'static ProblemKind, location: Location, pointer: &str, detail: impl fmt::Display) -> Self {
        let summary = match location {
            Location::Body if pointer.is_empty() => detail.to_string(),
            _ => format!("{}: {detail}", pointer.trim_start_matches('/')),
        };
        Self::new(kind).detail(summary).violation(location, pointer, detail)
    }

    pub fn kind(&self) -> &'static ProblemKind {
        self.kind
    }

    pub fn status(&self) -> StatusCode {
        self.kind.status
    }

    /// The broken rules that it names.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }

    /// Whether the change was made, where that is said.
    pub fn known_outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Whether the change that the caller asked for may be in effect.
    pub fn may_have_applied(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Unknown | Outcome::Applied))
    }

    /// The complete answer for one request.
    pub fn render(&self, instance: &str, request_id: &str) -> Response {
        let body = ProblemBody {
            type_uri: format!("{PROBLEM_PAGES}{}", self.kind.slug),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: self.detail.as_deref(),
            instance,
            code: self.kind.slug,
            request_id,
            outcome: self.outcome,
            retry_after_ms: self.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            errors: &self.violations,
        };
        // Strings, numbers and enums always serialise.
        let bytes = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            // Retry-After counts whole seconds; a shorter wait is rounded up.
            let seconds = after.as_millis().div_ceil(1_000).max(1);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                headers.insert(header::RETRY_AFTER, value);
            }
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        response
    }
}

/// Where the pages that explain problems are.
pub const PROBLEM_PAGES: &str = "/problems/";

/// The edge completes the answer: it knows the request.
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
            FaultKind::Internal => &INTERNAL,
        };
        let mut problem = Self::new(kind).detail(&fault).outcome(fault.outcome);
        problem.retry_after = fault.retry_after;
        problem.caused_by(fault)
    }
}
