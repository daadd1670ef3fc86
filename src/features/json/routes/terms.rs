//! What a request says about its change, beside the change itself.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::super::change::{Change, Only};
use super::super::update::Request;
use crate::http::conditional::Preconditions;
use crate::http::fencing::GrantToken;
use crate::http::operation::{Operation, OperationId};
use crate::http::problem::Problem;
use crate::redis::FencingToken;

/// The conditions, the identity and the lock of a change.
pub(in super::super) struct Terms {
    conditions: Preconditions,
    operation: Option<OperationId>,
    token: Option<FencingToken>,
}

impl<S: Send + Sync> FromRequestParts<S> for Terms {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let conditions = Preconditions::from_request_parts(parts, state).await?;
        let GrantToken(token) = GrantToken::from_request_parts(parts, state).await?;
        let operation: Result<Operation, Infallible> = Operation::from_request_parts(parts, state).await;
        let Ok(Operation(operation)) = operation;
        Ok(Self { conditions, operation, token })
    }
}

impl Terms {
    /// The change under these terms.
    pub(super) fn of(self, change: Change) -> Request {
        let Self { conditions, operation, token } = self;
        Request { conditions, operation, token, ..Request::of(change) }
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
