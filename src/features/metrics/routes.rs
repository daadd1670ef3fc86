use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;

use crate::http::problem::{INTERNAL, Problem};
use crate::telemetry::metrics::Metrics;

/// Get the service's metrics.
#[utoipa::path(get, path = "/metrics", tag = "metrics", operation_id = "get_metrics",
    responses((status = 200, description = "Prometheus text, format 0.0.4", body = String, content_type = "text/plain")))]
pub(super) async fn get_metrics(State(metrics): State<Metrics>) -> Result<impl IntoResponse, Problem> {
    let text = metrics.render().map_err(|error| Problem::new(&INTERNAL).caused_by(error))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))], text))
}
