//! `Idempotency-Key` on POST and PATCH: a repeated request receives the first response and does not run again.
//!
//! Read `guard.rs` (the layer), `service.rs` (claim, renew, complete), `fingerprint.rs` (which requests are the same),
//! `recorded_response.rs`, `scripts.rs`, `keys.rs`.
//!
//! The guard sits between the middleware and all routes. It acts on guarded routes only, since a key belongs to a
//! caller: the record's name contains the caller, the method, the path and the key.
//!
//! - The first attempt claims the record, runs, and stores its response there for `idempotency.retention`.
//! - A repetition receives that response with `Idempotency-Replayed: true`. A different query, body, content type or other
//!   header that has a meaning is 422, and so are other limits of the caller's scopes to keys.
//! - Longer response bodies are counted for their caller, and not recorded beyond a limit: a repetition is 409 then.
//! - While an attempt runs, others receive 409. The claim is a lease that the attempt renews, so that a lost caller,
//!   deadline or process does not block the key for long.
//! - A full Redis permits the claim of an operation that may free memory, and keeps the response for a minute: short records do
//!   not fill it further, and a deletion is not repeated on what was stored since.
//! - Errors are not recorded. Nothing was changed or the outcome is unknown, and in both cases a retry should run.
//! - A response that its route marks as `Unrecorded` is not recorded either: its content must not be kept in Redis, or
//!   it states that nothing was changed.
//! - A response that describes a state with an end has a `LimitedLife` and is recorded no longer than that. Routes whose
//!   state can end at any time, such as a lease, rerun: the handler receives the recorded response, states what is left
//!   of it, and its new response is recorded. Routes whose effect stays, but whose state changes later, such as an order,
//!   refresh: the handler only reads what became of the effect. Routes that only read ignore the key.
//!
//! Without Redis: 503 before the handler runs, unless its operation can be decided without Redis; requests without the header
//! are unaffected. If Redis, the caller or the
//! process fails between the effect and the recorded response, a repetition runs again. Routes whose effect is not
//! idempotent by nature therefore store the [`OperationId`](crate::http::idempotent_operation::OperationId) with the
//! effect, in one script, and recognise the repetition there.
//!
//! Decision: the body is hashed while the route reads it and is never collected here, so bulk ingest can use keys too.
//! The part of a body that a route does not read does not count.

mod config;
mod error;
mod fingerprint;
mod guard;
mod keys;
mod recorded_response;
mod scripts;
mod service;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::config::http::HttpConfig;
use crate::deps::Deps;
use crate::http::layer::RequestLayer;
use crate::http::openapi_router::OpenApiRouter;
use config::{IdempotencyConfig, OpenOperations};
use service::IdempotencyService;

pub static FEATURE: Feature = Feature {
    name: "idempotency",
    mount: |_| Ok(OpenApiRouter::new()),
    access: &[],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<IdempotencyConfig>()),
};

/// The layer that makes requests repeatable.
///
/// # Errors
/// An invalid configuration.
pub fn layer(deps: &Deps) -> Result<Arc<dyn RequestLayer>, StartError> {
    let http: HttpConfig = deps.config.section()?;
    let config: IdempotencyConfig = deps.config.section()?;
    let open: OpenOperations = deps.config.section()?;
    Ok(Arc::new(IdempotencyService {
        redis: deps.redis.state.clone(),
        retention: config.retention,
        body_idle_timeout: http.body_idle_timeout.duration(),
        open_timeout: open.open_timeout.duration(),
    }))
}
