//! `GET /metrics`: what Prometheus scrapes.
//!
//! Needs no Redis. Guarded like every other route: numbers tell about customers too.

mod routes;

use super::feature::{Feature, StartError};
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::{OpenApiRouter, routes};

pub static FEATURE: Feature = Feature {
    name: "metrics",
    mount,
    access: &[Access::scoped("GET", "/metrics", "metrics:read")],
    problems: &[],
    scripts: &[],
    section: None,
};

#[expect(clippy::unnecessary_wraps, reason = "the form of every feature's mount")]
fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    Ok(OpenApiRouter::new().routes(routes!(routes::get_metrics)).with_state(deps.metrics.clone()))
}
