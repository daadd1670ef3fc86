//! The identity of an operation that its caller may repeat.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

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

/// An extension of a response that must not be recorded, because it or the request contains secrets.
///
/// A repetition runs the handler again: the route recognises the [`OperationId`], or the effect may be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Unrecorded;

/// The operation's identity, if the request has one.
#[derive(Clone, Debug)]
pub struct Operation(pub Option<OperationId>);

impl<S: Send + Sync> FromRequestParts<S> for Operation {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<OperationId>().cloned()))
    }
}
