//! Reads the options of a write from its headers, and whether the caller may see encrypted values.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::super::update::WriteOptions;
use crate::http::auth::Principal;
use crate::http::conditional::Preconditions;
use crate::http::fencing::GrantToken;
use crate::http::idempotent_operation::Operation;
use crate::http::problem::Problem;

/// The scope that allows callers to read and edit encrypted values.
const SECRETS: &str = "json:secrets";

/// Whether the caller may read encrypted values in plain text.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct CanDecrypt(pub bool);

impl<S: Send + Sync> FromRequestParts<S> for CanDecrypt {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Arc<Principal>>().is_some_and(|caller| caller.may(SECRETS))))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WriteOptions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let conditions = Preconditions::from_request_parts(parts, state).await?;
        let GrantToken(token) = GrantToken::from_request_parts(parts, state).await?;
        let Ok(CanDecrypt(can_decrypt)) = CanDecrypt::from_request_parts(parts, state).await;
        let Ok(Operation(operation)) = Operation::from_request_parts(parts, state).await;
        Ok(Self { conditions, operation, token, can_decrypt })
    }
}
