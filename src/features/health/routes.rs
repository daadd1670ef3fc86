use axum::extract::State;
use axum::http::StatusCode;

use super::model::{Health, Readiness, Status};
use super::service::HealthService;
use crate::http::extract::Json;

/// How the service is, in short.
#[utoipa::path(get, path = "/health", tag = "health", operation_id = "get_health",
    responses((status = 200, description = "The process answers; `status` says how it is", body = Health)))]
pub(super) async fn get_health(State(health): State<HealthService>) -> Json<Health> {
    Json(health.health())
}

/// Whether the process is alive; Redis is not asked.
#[utoipa::path(get, path = "/health/live", tag = "health", operation_id = "get_liveness",
    responses((status = 200, description = "The process answers", body = Health)))]
pub(super) async fn get_liveness(State(health): State<HealthService>) -> Json<Health> {
    Json(health.liveness())
}

/// Whether requests should be sent here, part by part.
#[utoipa::path(get, path = "/health/ready", tag = "health", operation_id = "get_readiness",
    responses((status = 200, description = "Ready; `degraded` comes with reasons", body = Readiness),
              (status = 503, description = "Not ready, with reasons", body = Readiness)))]
pub(super) async fn get_readiness(State(health): State<HealthService>) -> (StatusCode, Json<Readiness>) {
    let readiness = health.readiness();
    let status = match readiness.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Unavailable | Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(readiness))
}
