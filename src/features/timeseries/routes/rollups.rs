//! The HTTP operations on the rollups of a series.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::query::SeriesPath;
use super::super::rollup::{NewRollup, RollupEntry};
use super::super::series::SeriesKey;
use super::super::service::TimeseriesService;
use crate::http::extract::{Json, NoQuery, Path};
use crate::http::fencing::GrantToken;
use crate::http::problem::Problem;
use crate::http::reply::{Created, NoContent, Page};

/// The path parameters of a rollup.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::features::timeseries) struct RollupPath {
    /// The key of the series.
    #[param(value_type = String, min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$",
            example = "energy:consumption:MTR-001")]
    key: SeriesKey,
    /// The `id` of the rollup.
    #[param(example = "sum:1d:Asia.Bangkok", min_length = 1, max_length = 128)]
    rollup: String,
}

/// Add a rollup to a series.
///
/// The rollup is filled from the stored samples and follows every later write and deletion. Ranges with its buckets and
/// its aggregation use it automatically. For `min`, `max`, `first` and `last`, so do ranges with longer buckets that
/// consist of whole buckets of the rollup. Sending the same rollup again changes nothing.
#[utoipa::path(post, path = "/timeseries/{key}/rollups", tag = "timeseries", operation_id = "post_series_rollup",
    params(SeriesPath), request_body = NewRollup,
    responses((status = 200, description = "The rollup already existed", body = RollupEntry),
        (status = 201, description = "The rollup was added", body = RollupEntry)))]
pub(in crate::features::timeseries) async fn post_rollup(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(new): Json<NewRollup>,
) -> Result<Response, Problem> {
    Ok(match timeseries.rollups().add(key, new, token).await? {
        (true, rollup) => Created(rollup).into_response(),
        (false, rollup) => Json(rollup).into_response(),
    })
}

/// List the rollups of a series.
#[utoipa::path(get, path = "/timeseries/{key}/rollups", tag = "timeseries", operation_id = "list_series_rollups",
    params(SeriesPath),
    responses((status = 200, description = "All rollups of the series, on one page", body = Page<RollupEntry>)))]
pub(in crate::features::timeseries) async fn list_rollups(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    NoQuery: NoQuery,
) -> Result<Json<Page<RollupEntry>>, Problem> {
    Ok(Json(Page { items: timeseries.rollups().list(&key).await?, next_cursor: None }))
}

/// Delete a rollup and its buckets.
///
/// The samples of the series are kept.
#[utoipa::path(delete, path = "/timeseries/{key}/rollups/{rollup}", tag = "timeseries", operation_id = "delete_series_rollup",
    params(RollupPath),
    responses((status = 204, description = "The rollup was deleted")))]
pub(in crate::features::timeseries) async fn delete_rollup(
    State(timeseries): State<TimeseriesService>,
    Path(RollupPath { key, rollup }): Path<RollupPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
) -> Result<NoContent, Problem> {
    timeseries.rollups().drop_one(key, &rollup, token).await?;
    Ok(NoContent)
}
