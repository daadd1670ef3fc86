//! `GET /metrics` and `GET /metrics/redis`, for Prometheus.
//!
//! They contact no Redis. They need a credential like every other route: the figures reveal the load of customers too.
//! The metrics of Redis have a path of their own, since `redis_exporter`'s `redis_commands_total` and the service's differ.

mod routes;
mod service;

use super::feature::{Feature, StartError};
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::UNAUTHENTICATED;
use service::MetricsService;

const READ: &str = "metrics:read";

pub static FEATURE: Feature = Feature {
    name: "metrics",
    mount,
    access: &[
        Access::scoped("GET", "/metrics", READ).probe().problems(&[&[&UNAUTHENTICATED]]),
        Access::scoped("GET", "/metrics/redis", READ).probe().problems(&[&[&UNAUTHENTICATED]]),
    ],
    problems: &[],
    scripts: &[],
    section: None,
};

#[expect(clippy::unnecessary_wraps, reason = "the form of every feature's mount")]
fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::get_metrics))
        .routes(routes!(routes::get_redis_metrics))
        .with_state(MetricsService::new(deps)))
}
