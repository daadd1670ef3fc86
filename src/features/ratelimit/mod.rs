//! Rate limits: exact, shared by all replicas, and several in one call.
//!
//! Files, in reading order:
//! - `model.rs`: the JSON types and `LimitKey`; `routes/`: one file per group of routes.
//! - `strategy/`: how calls are counted. `gcra.rs` and `calendar.rs` hold the arithmetic, `rule.rs` prepares a strategy's
//!   numbers for the script and interprets the script's reply.
//! - `limiter.rs`: named rules and the table of the rules in force; `config.rs`: their configuration.
//! - `check.rs`: a validated check and its decision; `resolve.rs` makes the check from a request.
//! - `engine.rs`: decides checks by override, from memory, in Redis or without it. `scripts.rs`: the script calls.
//! - `without_redis/`: decisions that need no Redis, and the task that probes Redis.
//! - `service.rs`: what the routes call; `overrides.rs`: administrators' exceptions for single keys; `reservations.rs`:
//!   reserve a cost now and settle it later; `key_index.rs`: the lists of keys, for resets by prefix.
//! - `envoy/`: Envoy's rate-limit protocol as JSON; `guard.rs`: the layer that limits this service's own callers;
//!   `headers.rs`: the `RateLimit` response headers.
//!
//! Keys: see `keys.rs`.
//!
//! Without Redis: the limiter's `without_redis` decides. `closed` limiters answer 503, never 429. `open` limiters are
//! counted in each replica's memory (`without_redis/local_limits.rs`), and the responses say `degraded`.
//!
//! Decisions:
//! - One script decides for every strategy, for 1 to 100 limits, with or without taking the costs. It takes all costs or
//!   none, in one round trip, on Redis's clock.
//! - A token bucket and GCRA share one kind of state: the time at which no debt is left (`strategy/gcra.rs`), with the rule
//!   and the time of the write. A call under another rule converts the debt, and so does a call after the clock was set back.
//! - The script only adds and compares whole microseconds, which doubles represent exactly. Multiplications and divisions
//!   happen in 128 bits in the service, so that rounding favours neither side.
//! - Reservations are stored next to the state they belong to, and every call for that state checks them. An abandoned
//!   reservation is therefore returned without a background process.
//! - A back-off penalty stays even if another limit refuses the call that violated it: a penalty is not a cost.

mod check;
mod config;
mod engine;
mod envoy;
mod error;
mod guard;
mod headers;
mod key_index;
mod keys;
mod limiter;
mod metrics;
mod model;
mod overrides;
mod reservations;
mod resolve;
mod routes;
mod scripts;
mod service;
mod strategy;
mod without_redis;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::{Access, Repetition};
use crate::http::auth::ADMIN;
use crate::http::layer::RequestLayer;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, INVALID_HEADER, JSON_BODY, NOT_FOUND, REDIS_READ, REDIS_WRITE, WRONG_TYPE};
use config::RatelimitConfig;
use error::{BODY_ROUTE, FROM_MEMORY, KEY_ROUTE, LIMITER_ROUTE};
use service::LimitService;

const CHECK: &str = "ratelimit:check";
const READ: &str = "ratelimit:read";

/// The settings that follow a reloaded configuration.
pub const RELOADED: &[&str] = &["ratelimit.caller_rate", "ratelimit.envoy", "ratelimit.guard", "ratelimit.limiters"];

pub static FEATURE: Feature = Feature {
    name: "ratelimit",
    mount,
    access: &[
        Access::scoped("POST", "/ratelimit/check", CHECK).repeated_by(Repetition::ReplayIfRecorded).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            BODY_ROUTE,
        ]),
        Access::scoped("POST", "/ratelimit/check-all", CHECK).repeated_by(Repetition::ReplayIfRecorded).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            BODY_ROUTE,
            &[&error::CHECKS_APART],
        ]),
        Access::scoped("GET", "/ratelimit/enforce", CHECK).changes_state().problems(&[
            CALLER,
            REDIS_WRITE,
            BODY_ROUTE,
            &[&INVALID_HEADER, &error::RATE_LIMITED],
        ]),
        Access::scoped("POST", "/ratelimit/enforce", CHECK).repeated_by(Repetition::ReplayIfRecorded).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            BODY_ROUTE,
            &[&INVALID_HEADER, &error::RATE_LIMITED],
        ]),
        Access::scoped("POST", "/ratelimit/reserve", CHECK).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            BODY_ROUTE,
            &[&error::TOO_MANY_RESERVATIONS],
        ]),
        Access::scoped("POST", "/ratelimit/reservations/{id}/settle", CHECK)
            .frees()
            .repeated_by(Repetition::Rerun)
            .problems(&[
                CALLER,
                REDIS_WRITE,
                JSON_BODY,
                BODY_ROUTE,
                &[&error::UNKNOWN_RESERVATION, &crate::http::problem::INVALID_PATH],
            ]),
        Access::scoped("POST", "/json", CHECK).repeated_by(Repetition::ReplayIfRecorded).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            BODY_ROUTE,
            &[&NOT_FOUND, &error::CHECKS_APART],
        ]),
        Access::scoped("GET", "/ratelimit/limiters", READ).problems(&[FROM_MEMORY]),
        Access::scoped("GET", "/ratelimit/stats", READ).problems(&[FROM_MEMORY]),
        Access::scoped("GET", "/ratelimit/{limiter}/{key}", READ).problems(&[CALLER, REDIS_READ, KEY_ROUTE]),
        Access::scoped("DELETE", "/ratelimit/{limiter}/{key}", ADMIN).problems(&[CALLER, REDIS_WRITE, LIMITER_ROUTE]),
        Access::scoped("DELETE", "/ratelimit/{limiter}", ADMIN).problems(&[CALLER, REDIS_WRITE, KEY_ROUTE]),
        Access::scoped("GET", "/ratelimit/limiters/{limiter}/exceptions", READ).problems(&[FROM_MEMORY, LIMITER_ROUTE]),
        Access::scoped("PUT", "/ratelimit/limiters/{limiter}/exceptions/{key}", ADMIN).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            LIMITER_ROUTE,
            &[&error::TOO_MANY_EXCEPTIONS, &WRONG_TYPE],
        ]),
        Access::scoped("DELETE", "/ratelimit/limiters/{limiter}/exceptions/{key}", ADMIN).problems(&[
            CALLER,
            REDIS_WRITE,
            KEY_ROUTE,
        ]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<RatelimitConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let limits = service(deps)?;
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::check_limit))
        .routes(routes!(routes::check_limits))
        .routes(routes!(routes::enforce_limit, routes::enforce_limit_by_query))
        .routes(routes!(routes::reserve_limit))
        .routes(routes!(routes::settle_reservation))
        .routes(routes!(routes::check_descriptors))
        .routes(routes!(routes::list_limiters))
        .routes(routes!(routes::get_limit_stats))
        .routes(routes!(routes::peek_limit, routes::reset_limit))
        .routes(routes!(routes::reset_limits))
        .routes(routes!(routes::put_exception, routes::delete_exception))
        .routes(routes!(routes::list_exceptions))
        .with_state(limits))
}

/// The layer that limits the callers of this service.
///
/// # Errors
/// If the configuration is invalid.
pub fn layer(deps: &Deps) -> Result<Arc<dyn RequestLayer>, StartError> {
    Ok(service(deps)?)
}

/// Returns the one service that the routes and the guard share.
fn service(deps: &Deps) -> Result<Arc<LimitService>, StartError> {
    deps.shared.get_or_build(|| {
        let limits = Arc::new(LimitService::new(deps, &deps.config.section()?)?);
        let (follower, configs) = (Arc::clone(&limits), deps.configs.subscribe());
        deps.tasks.plan("ratelimit.rules", |stop| follower.follow(configs, stop));
        Ok(limits)
    })
}
