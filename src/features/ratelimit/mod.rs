//! Rate limits: exact, across replicas, several at once.
//!
//! Keys: see `keys.rs`. Redis down: each limiter says. `closed` ones answer 503 at once, never 429; `open` ones are
//! counted in each replica's memory (`local.rs`), and the answers say `degraded`.
//!
//! Decisions:
//! - One script decides for every strategy, for one limit or a hundred at once, for takes and looks. It takes all costs
//!   or none, in one round trip, on Redis's clock.
//! - A token bucket and GCRA are one kind of state (`flow.rs`): the moment at which no debt is left.
//! - The script only adds and compares whole microseconds, which doubles hold exactly; what multiplies and divides is
//!   done in 128 bits beside it, so that nothing is rounded in anybody's favour.
//! - Reservations lie beside their state and are looked at by every call for it, so that one that nobody settles returns
//!   without a process that would have to do it.
//! - A back-off's penalty is kept also when the call that violated it is refused by another limit: it is no cost.

mod asking;
mod blocked;
mod calendar;
mod config;
mod deciding;
mod decision;
mod envoy;
mod error;
mod exceptions;
mod fields;
mod flow;
mod guard;
mod index;
mod keys;
mod limiter;
mod local;
mod metrics;
mod model;
mod reservations;
mod routes;
mod rule;
mod scripts;
mod service;
mod slots;
mod strategy;
mod watch;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::redis::ScriptCall;
use config::RatelimitConfig;
pub use guard::CallerLimitLayer;
use service::LimitService;

const CHECK: &str = "ratelimit:check";
const READ: &str = "ratelimit:read";

pub static FEATURE: Feature = Feature {
    name: "ratelimit",
    mount,
    access: &[
        Access::scoped("POST", "/ratelimit/check", CHECK),
        Access::scoped("POST", "/ratelimit/check-all", CHECK),
        Access::scoped("GET", "/ratelimit/enforce", CHECK),
        Access::scoped("POST", "/ratelimit/enforce", CHECK),
        Access::scoped("POST", "/ratelimit/reserve", CHECK),
        Access::scoped("POST", "/ratelimit/reservations/{id}/settle", CHECK),
        Access::scoped("POST", "/json", CHECK),
        Access::scoped("GET", "/ratelimit/limiters", READ),
        Access::scoped("GET", "/ratelimit/stats", READ),
        Access::scoped("GET", "/ratelimit/{limiter}/{key}", READ),
        Access::scoped("DELETE", "/ratelimit/{limiter}/{key}", ADMIN),
        Access::scoped("DELETE", "/ratelimit/{limiter}", ADMIN),
        Access::scoped("GET", "/ratelimit/limiters/{limiter}/exceptions", READ),
        Access::scoped("PUT", "/ratelimit/limiters/{limiter}/exceptions/{key}", ADMIN),
        Access::scoped("DELETE", "/ratelimit/limiters/{limiter}/exceptions/{key}", ADMIN),
    ],
    problems: error::PROBLEMS,
    scripts: &[
        scripts::Take::SCRIPT,
        scripts::Except::SCRIPT,
        scripts::ReadExceptions::SCRIPT,
        scripts::Enter::SCRIPT,
        scripts::Settle::SCRIPT,
    ],
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
        .routes(routes!(routes::list_exceptions))
        .routes(routes!(routes::put_exception, routes::delete_exception))
        .with_state(limits))
}

/// The layer that holds this service's own callers to a limit, to be put around routes inside the edge.
///
/// # Errors
/// A wrong configuration.
pub fn guard(deps: &Deps) -> Result<CallerLimitLayer, StartError> {
    service(deps).map(CallerLimitLayer::new)
}

/// The one service behind the routes and the guard.
fn service(deps: &Deps) -> Result<LimitService, StartError> {
    deps.shared.get_or_build(|| {
        let limits = LimitService::new(deps, &deps.config.section()?)?;
        let (follower, configs) = (limits.clone(), deps.configs.subscribe());
        deps.tasks.plan("ratelimit.rules", |stop| follower.follow(configs, stop));
        Ok(limits)
    })
}
