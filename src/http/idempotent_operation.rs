//! The identity of a call that its caller may repeat.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// The same for every attempt with one `Idempotency-Key` by one caller on one route; absent without that header.
///
/// A write that is not idempotent by nature stores it beside its effect, in the same script, so that an attempt whose
/// answer was lost is not made twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationId(Arc<str>);

impl OperationId {
    /// `text` has no braces, spaces or control bytes: it becomes part of key names.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Marks an answer, among its extensions, that is kept nowhere outside of its route; nor is the request's hash.
///
/// A repetition runs again: the route knows the [`OperationId`], or may do the same twice.
#[derive(Clone, Copy, Debug)]
pub struct Unrecorded;

/// The call's identity, if it has one.
#[derive(Clone, Debug)]
pub struct Operation(pub Option<OperationId>);

impl<S: Send + Sync> FromRequestParts<S> for Operation {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<OperationId>().cloned()))
    }
}
