//! Health: whether the process runs, whether it can serve, and if not, why.
//!
//! `live` never asks Redis, since restarting this process does not repair Redis. `ready` returns what background tasks
//! last saw, so a load balancer's probes cost Redis nothing.

mod metrics;
mod model;
mod routes;
mod service;

use super::feature::{Feature, StartError};
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::{OpenApiRouter, routes};
use service::HealthService;

pub static FEATURE: Feature = Feature {
    name: "health",
    mount,
    access: &[
        Access::public("GET", "/health").probe(),
        Access::public("GET", "/health/live").probe(),
        Access::public("GET", "/health/ready").probe(),
        Access::public("GET", "/health/traffic").probe(),
    ],
    problems: &[],
    scripts: &[],
    section: None,
};

#[expect(clippy::unnecessary_wraps, reason = "the form of every feature's mount")]
fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    metrics::register(deps);
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::get_health))
        .routes(routes!(routes::get_liveness))
        .routes(routes!(routes::get_readiness))
        .routes(routes!(routes::get_traffic))
        .with_state(HealthService::new(deps)))
}
