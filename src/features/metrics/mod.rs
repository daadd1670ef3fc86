//! `GET /metrics`, for Prometheus.
//!
//! It needs no Redis. It needs a credential like every other route: the figures reveal the load of customers too.

mod routes;

use super::feature::{Feature, StartError};
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::UNAUTHENTICATED;

pub static FEATURE: Feature = Feature {
    name: "metrics",
    mount,
    access: &[Access::scoped("GET", "/metrics", "metrics:read").probe().problems(&[&[&UNAUTHENTICATED]])],
    problems: &[],
    scripts: &[],
    section: None,
};

#[expect(clippy::unnecessary_wraps, reason = "the form of every feature's mount")]
fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    Ok(OpenApiRouter::new().routes(routes!(routes::get_metrics)).with_state(deps.metrics.clone()))
}
