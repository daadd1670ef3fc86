//! What a request says about its change or read, beside that itself.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::super::change::{Change, Only};
use super::super::update::Request;
use crate::http::auth::Principal;
use crate::http::conditional::Preconditions;
use crate::http::fencing::GrantToken;
use crate::http::idempotent_operation::{Operation, OperationId};
use crate::http::problem::Problem;
use crate::redis::FencingToken;

/// The scope that shows, and lets change, encrypted values.
const SECRETS: &str = "json:secrets";

/// Whether the caller may see encrypted values in clear.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct InClear(pub bool);

impl<S: Send + Sync> FromRequestParts<S> for InClear {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Arc<Principal>>().is_some_and(|caller| caller.may(SECRETS))))
    }
}

/// The lock under which a caller writes, and whether encrypted values are for its eyes.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rights {
    pub(super) token: Option<FencingToken>,
    pub(super) in_clear: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Rights {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let GrantToken(token) = GrantToken::from_request_parts(parts, state).await?;
        let Ok(InClear(in_clear)) = InClear::from_request_parts(parts, state).await;
        Ok(Self { token, in_clear })
    }
}

impl Rights {
    /// The change with these rights.
    pub(super) fn of(self, change: Change) -> Request {
        Request { token: self.token, in_clear: self.in_clear, ..Request::of(change) }
    }
}

/// The conditions, the identity and the rights of a change.
pub(in super::super) struct Terms {
    conditions: Preconditions,
    operation: Option<OperationId>,
    rights: Rights,
}

impl<S: Send + Sync> FromRequestParts<S> for Terms {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let conditions = Preconditions::from_request_parts(parts, state).await?;
        let rights = Rights::from_request_parts(parts, state).await?;
        let operation: Result<Operation, Infallible> = Operation::from_request_parts(parts, state).await;
        let Ok(Operation(operation)) = operation;
        Ok(Self { conditions, operation, rights })
    }
}

impl Terms {
    /// The change under these terms.
    pub(super) fn of(self, change: Change) -> Request {
        let Self { conditions, operation, rights } = self;
        Request { conditions, operation, ..rights.of(change) }
    }

    /// Takes out what the stars say, which is about the value at the path itself; entity tags are about the document.
    pub(super) fn only(&mut self) -> Only {
        let only = if self.conditions.is_create_only() {
            Only::Absent
        } else if self.conditions.is_update_only() {
            Only::Present
        } else {
            return Only::Either;
        };
        self.conditions = Preconditions::default();
        only
    }
}
