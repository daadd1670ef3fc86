//! `Idempotency-Key` on POST and PATCH: a repeated request is answered with the first answer and not done again.
//!
//! The guard stands between the edge and every route. It acts on guarded routes only, since a key belongs to a caller:
//! the record's name is made of the caller, the method, the path and the key; see `keys.rs`.
//!
//! - The first attempt takes the record, runs, and leaves its answer there for `idempotency.retention`.
//! - A repeat gets that answer with `Idempotency-Replayed: true`. With another query, content type or body it is 422.
//! - While an attempt runs, others are told 409. Its claim is a lease that is renewed while it runs, so that an attempt
//!   whose caller, deadline or process is gone does not keep the key for long.
//! - Errors are not kept: they changed nothing, or nobody knows, and either way a retry should run. So a repeat of a
//!   refused request, corrected or not, runs as well.
//! - An answer that its route marks as `Unrecorded` is not kept either, since it has what must not stand in Redis.
//!
//! Redis down: 503 before the handler runs, without the header nothing changes. If Redis, the caller or the process
//! goes between the effect and the stored answer, a repeat runs again: routes whose effect is not idempotent by nature
//! store the [`OperationId`](crate::http::idempotent_operation::OperationId) with it, in one script, and see the repeat there.
//!
//! Decision: the body is hashed as the route reads it, never collected here, so that bulk ingest may use keys too. A
//! repeat's body is hashed without being kept. What a route did not read to its end is no part of the request.

mod answer;
mod config;
mod error;
mod fingerprint;
mod guard;
mod keys;
mod scripts;
mod service;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::config::http::HttpConfig;
use crate::deps::Deps;
use crate::http::openapi_router::OpenApiRouter;
use crate::redis::ScriptCall;
use config::IdempotencyConfig;
pub use guard::IdempotencyLayer;
use service::IdempotencyService;

pub static FEATURE: Feature = Feature {
    name: "idempotency",
    mount: |_| Ok(OpenApiRouter::new()),
    access: &[],
    problems: error::PROBLEMS,
    scripts: &[scripts::Claim::SCRIPT, scripts::Renew::SCRIPT, scripts::Complete::SCRIPT, scripts::Release::SCRIPT],
    section: Some(SectionCheck::of::<IdempotencyConfig>()),
};

/// The guard, to be put around routes inside the edge.
///
/// # Errors
/// A wrong configuration.
pub fn guard(deps: &Deps) -> Result<IdempotencyLayer, StartError> {
    let http: HttpConfig = deps.config.section()?;
    let service = IdempotencyService::new(deps.redis.state.clone(), deps.config.section()?);
    Ok(IdempotencyLayer::new(service, http.body_idle_timeout.duration()))
}
