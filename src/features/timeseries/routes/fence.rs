//! The route with which administrators reset fences.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::query::SeriesPath;
use super::super::service::TimeseriesService;
use crate::http::auth::Principal;
use crate::http::extract::{NoQuery, Path};
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

/// Forget the fencing tokens that a series has seen.
///
/// The series does not change. The next write with a `Fencing-Token` is accepted, even if a former holder of the lock
/// sends it: make sure that there is none. The audit log records the call.
#[utoipa::path(delete, path = "/fences/timeseries/{key}", tag = "timeseries", operation_id = "reset_series_fence",
    params(SeriesPath), responses((status = 204, description = "The series remembers no token")))]
pub(in super::super) async fn reset_series_fence(
    State(timeseries): State<TimeseriesService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    timeseries.reset_fence(&key, &caller.id).await?;
    Ok(NoContent)
}
