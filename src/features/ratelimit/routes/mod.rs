//! The routes below `/ratelimit`. [`checks`] returns decisions as data, [`enforcement`] as statuses. [`limiters`] lists the
//! limiters and their counts, [`reservations`] reserves and settles costs, [`resets`] and [`overrides`] are for
//! administrators, and [`envoy`] is compatible with Envoy's rate-limit service.

mod checks;
mod enforcement;
mod envoy;
mod limiters;
mod overrides;
mod reservations;
mod resets;

pub(super) use checks::*;
pub(super) use enforcement::*;
pub(super) use envoy::*;
pub(super) use limiters::*;
pub(super) use overrides::*;
pub(super) use reservations::*;
pub(super) use resets::*;

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;

use super::CHECK;
use super::check::{Decision, all_allowed};
use super::headers::fields;
use super::model::{CheckRequest, LimitKey};
use crate::http::auth::Principal;
use crate::http::extract::{Json, Path};
use crate::http::idempotent_operation::{LimitedLife, Operation, Unrecorded};
use crate::http::problem::Problem;

/// The scope of callers that may send their own strategies.
pub(super) const INLINE: &str = "ratelimit:inline";
/// The name of the limiter in the scope for a check with a strategy, which has no limiter.
const INLINE_NAME: &str = "inline";

/// # Errors
/// `forbidden` (403) if the request contains a strategy and the caller lacks the scope for it, or if the caller's scope does
/// not include the key.
fn allow(caller: &Principal, request: &CheckRequest) -> Result<(), Problem> {
    if request.strategy.is_some() {
        caller.require_key(INLINE, request.key.as_str())?;
    }
    allow_key(caller, request.limiter.as_deref().unwrap_or(INLINE_NAME), &request.key)
}

/// # Errors
/// `forbidden` (403) if the caller's scope does not include the key of the limiter.
fn allow_key(caller: &Principal, limiter: &str, key: &LimitKey) -> Result<(), Problem> {
    caller.require_key(CHECK, &format!("{limiter}:{}", key.as_str()))
}

/// How long a repetition of the calls would take their costs twice, milliseconds: until every limit is whole again.
/// `None` if the calls were refused and took nothing.
fn life(decisions: &[Decision]) -> Option<u64> {
    if !all_allowed(decisions) {
        return None;
    }
    decisions.iter().map(|decision| decision.reset_ms).max()
}

/// Repeats the response to a call with an `Idempotency-Key` for `life` milliseconds. A refusal is not repeated: the next
/// attempt may be allowed.
fn limit_repetitions(operation: &Operation, life: Option<u64>, mut response: Response) -> Response {
    if operation.0.is_some() {
        match life.map(Duration::from_millis) {
            None => {
                response.extensions_mut().insert(Unrecorded);
            }
            Some(life) => {
                let limited = LimitedLife { life, countdowns: &["hold_ms", "reset_ms", "duration_until_reset"] };
                response.extensions_mut().insert(limited);
            }
        }
    }
    response
}

/// The decision as data, with its `RateLimit` headers.
impl IntoResponse for Decision {
    fn into_response(self) -> Response {
        (fields(std::slice::from_ref(&self)), Json(self)).into_response()
    }
}

/// One key of a limiter.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct KeyPath {
    /// The limiter's name.
    #[param(min_length = 1, max_length = 64, example = "api")]
    pub limiter: String,
    /// The key as in a check; `/` is sent as `%2F`.
    #[param(value_type = String, min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$",
            example = "10.0.0.1:orders")]
    pub key: LimitKey,
}

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((limiter, key)) = Path::<(String, String)>::from_request_parts(parts, state).await?;
        let key = LimitKey::try_from(key).map_err(|rule| Problem::path_segment("key", rule))?;
        Ok(Self { limiter, key })
    }
}
