//! The identity of an operation that its caller may repeat.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Required};

use super::access::Access;
use super::openapi::with_rows;
use super::problem::{INTERNAL, Problem};
use crate::redis::Outcome;

/// Identifies all attempts that one caller makes on one route with one `Idempotency-Key`; absent without that header.
///
/// A write that is not idempotent by nature stores it with its effect, in the same script. If the response to an
/// attempt is lost, the next attempt finds it there and does not repeat the effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationId(Arc<str>);

impl OperationId {
    /// `text` becomes part of key names, so it must not contain braces, spaces or control bytes.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An extension of a response that must not be recorded: it or the request contains secrets, or the request changed
/// nothing, such as a call that a limit refused.
///
/// A repetition runs the handler again: the route recognises the [`OperationId`], or the effect may be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Unrecorded;

/// An extension of a response that describes a state with an end. It is recorded no longer than that state lasts.
#[derive(Clone, Copy, Debug)]
pub struct LimitedLife {
    pub life: Duration,
    /// The members of JSON objects in the body that count down to an end: milliseconds, or text such as `59.250s`. A
    /// repetition receives them reduced by the time that has passed, and also the times `t` of the header `RateLimit`.
    pub countdowns: &'static [&'static str],
}

/// The body of the response that was recorded for this operation, if there is one. Only operations that
/// [rerun](super::access::Repetition::Rerun) or [refresh](super::access::Repetition::Refresh) receive it.
#[derive(Clone, Debug, Default)]
pub struct FirstResponse(pub Option<Bytes>);

impl FirstResponse {
    /// The recorded body; `None` if there is none, or if another version of the service recorded another form.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        self.0.as_ref().and_then(|body| serde_json::from_slice(body).ok())
    }

    /// The recorded body, for an operation that must not have its effect a second time; `None` if this is the first request.
    ///
    /// # Errors
    /// `internal` (500) if another version of the service recorded another form.
    pub fn to_refresh<T: DeserializeOwned>(&self) -> Result<Option<T>, Problem> {
        let read = |body: &Bytes| serde_json::from_slice(body).map_err(unreadable);
        self.0.as_ref().map(read).transpose()
    }
}

fn unreadable(error: serde_json::Error) -> Problem {
    Problem::new(&INTERNAL).outcome(Outcome::Applied).caused_by(error)
}

impl<S: Send + Sync> FromRequestParts<S> for FirstResponse {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// An extension of a response of an operation that reran: its effect is that of the first request.
#[derive(Clone, Copy, Debug)]
pub struct Repeated;

/// The operation's identity, if the request has one.
#[derive(Clone, Debug)]
pub struct Operation(pub Option<OperationId>);

impl<S: Send + Sync> FromRequestParts<S> for Operation {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<OperationId>().cloned()))
    }
}

/// The longest answer that is kept for a repetition without being counted for its caller, bytes: as long as what most writes
/// answer, or send.
pub const SHORT_ANSWER: usize = 1 << 10;

/// The longest `Idempotency-Key`, bytes.
pub const MAX_KEY: usize = 255;

/// Documents the header `Idempotency-Key` in the operations whose access rows respect it.
pub fn describe(document: &mut OpenApi, rows: &[Access]) {
    for (operation, row) in with_rows(document, rows) {
        if row.is_repeatable() {
            operation.parameters.get_or_insert_default().push(RefOr::T(parameter()));
        }
    }
}

fn parameter() -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(MAX_KEY));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Makes the request safe to repeat: a repetition with the same key has the first successful response. See the \
             introduction for 409 `idempotency-in-progress`, 409 `idempotency-answer-too-large` and 422 \
             `idempotency-key-reused`.",
        ))
        .schema(Some(text.pattern(Some("^[!-~]+$"))))
        .build()
}
