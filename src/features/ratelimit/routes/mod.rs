//! The doors below `/ratelimit`: [`limits`] answers decisions as data, [`enforcement`] as statuses, [`rules`] shows the
//! limiters, [`reservations`] takes what is settled later, [`exceptions`] is for admins, and [`envoy`] speaks as Envoy's
//! own service does.

mod enforcement;
mod envoy;
mod exceptions;
mod limits;
mod reservations;
mod rules;

pub(super) use enforcement::*;
pub(super) use envoy::*;
pub(super) use exceptions::*;
pub(super) use limits::*;
pub(super) use reservations::*;
pub(super) use rules::*;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use utoipa::IntoParams;

use super::model::{CheckRequest, LimitKey};
use crate::http::auth::Principal;
use crate::http::extract::Path;
use crate::http::problem::Problem;

/// What callers need who bring strategies of their own.
pub(super) const INLINE: &str = "ratelimit:inline";

/// # Errors
/// `forbidden` (403) where a strategy stands in the request and the caller lacks its scope.
fn allow_inline(caller: &Principal, request: &CheckRequest) -> Result<(), Problem> {
    if request.strategy.is_some() { caller.require(INLINE) } else { Ok(()) }
}

/// One key of a limiter.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct StatePath {
    /// The limiter's name.
    #[param(min_length = 1, max_length = 64, example = "api")]
    pub limiter: String,
    /// The key, as in a check; `/` is sent as `%2F`.
    #[param(value_type = String, min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$",
            example = "10.0.0.1:orders")]
    pub key: LimitKey,
}

impl<S: Send + Sync> FromRequestParts<S> for StatePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((limiter, key)) = Path::<(String, String)>::from_request_parts(parts, state).await?;
        let key = LimitKey::try_from(key).map_err(|rule| Problem::path_segment("key", rule))?;
        Ok(Self { limiter, key })
    }
}
