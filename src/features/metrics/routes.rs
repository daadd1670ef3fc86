use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use prometheus::proto::MetricFamily;

use super::service::MetricsService;
use crate::http::problem::{INTERNAL, Problem};
use crate::telemetry::metrics::render;

/// Get the service's metrics.
#[utoipa::path(get, path = "/metrics", tag = "metrics", operation_id = "get_metrics",
    responses((status = 200, description = "Prometheus text, format 0.0.4", body = String, content_type = "text/plain")))]
pub(super) async fn get_metrics(State(metrics): State<MetricsService>) -> Result<impl IntoResponse, Problem> {
    text(&metrics.own())
}

/// Get the metrics of the Redis servers, under the names of `redis_exporter`.
///
/// The values are those of the last check, every `redis.check_interval`: a scrape never contacts Redis. `store` is the roles
/// that a server has for this service. While a server is unavailable, only `redis_up` and `redis_last_look_timestamp_seconds`
/// describe it.
#[utoipa::path(get, path = "/metrics/redis", tag = "metrics", operation_id = "get_redis_metrics",
    responses((status = 200, description = "Prometheus text, format 0.0.4", body = String, content_type = "text/plain")))]
pub(super) async fn get_redis_metrics(State(metrics): State<MetricsService>) -> Result<impl IntoResponse, Problem> {
    text(&metrics.servers())
}

fn text(families: &[MetricFamily]) -> Result<impl IntoResponse + use<>, Problem> {
    let text = render(families).map_err(|error| Problem::new(&INTERNAL).caused_by(error))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))], text))
}
