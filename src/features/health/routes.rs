use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::model::{Health, InfluxHealth, Readiness};
use super::service::HealthService;
use crate::http::auth::{ADMIN, Visitor};
use crate::http::extract::Json;
use crate::lifecycle::Status;

/// Get the service's status.
///
/// Clients of InfluxDB, which identify themselves by their `User-Agent`, receive the form of InfluxDB: `status` is `pass` or
/// `fail`.
#[utoipa::path(get, path = "/health", tag = "health", operation_id = "get_health",
    responses((status = 200, description = "The process is running; `status` is its condition", body = Health)))]
pub(super) async fn get_health(State(health): State<HealthService>, headers: HeaderMap) -> Response {
    let health = health.health();
    let agent = headers.get(header::USER_AGENT).map(|agent| agent.as_bytes().to_ascii_lowercase());
    if agent.is_some_and(|agent| agent.starts_with(b"influxdb")) {
        return Json(InfluxHealth::from(health)).into_response();
    }
    Json(health).into_response()
}

/// Check whether the process is running. Redis is not asked.
#[utoipa::path(get, path = "/health/live", tag = "health", operation_id = "get_liveness",
    responses((status = 200, description = "The process is running", body = Health)))]
pub(super) async fn get_liveness(State(health): State<HealthService>) -> Json<Health> {
    Json(health.liveness())
}

/// Check whether a load balancer should send requests: always, unless the service is draining.
///
/// While Redis is unavailable, the service still answers, in part without Redis; removing every replica from a load balancer
/// would only hide that. While the service starts, it accepts no connections.
#[utoipa::path(get, path = "/health/traffic", tag = "health", operation_id = "get_traffic_health",
    responses((status = 200, description = "Send requests", body = Health),
              (status = 503, description = "Send new requests to another replica", body = Health)))]
pub(super) async fn get_traffic(State(health): State<HealthService>) -> (StatusCode, Json<Health>) {
    let traffic = health.traffic();
    let status = if traffic.status == Status::Draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(traffic))
}

/// Check whether the service can take requests, component by component.
///
/// A caller with the scope `admin` also receives the addresses of Redis.
#[utoipa::path(get, path = "/health/ready", tag = "health", operation_id = "get_readiness",
    responses((status = 200, description = "Ready; `degraded` includes reasons", body = Readiness),
              (status = 503, description = "Not ready; `reasons` says why", body = Readiness)))]
pub(super) async fn get_readiness(
    State(health): State<HealthService>,
    visitor: Option<Extension<Visitor>>,
) -> (StatusCode, Json<Readiness>) {
    let readiness = health.readiness(visitor.is_some_and(|Extension(Visitor(caller))| caller.may(ADMIN)));
    let status = match readiness.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Unavailable | Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(readiness))
}
