//! Rollups of a series.

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

/// The path of a rollup.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::features::timeseries) struct RollupPath {
    /// The series.
    #[param(value_type = String, min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$",
            example = "energy:consumption:MTR-001")]
    key: SeriesKey,
    /// The rollup's `id`.
    #[param(example = "sum:1d:Asia.Bangkok", min_length = 1, max_length = 128)]
    rollup: String,
}

/// Add a rollup to a series.
///
/// It is filled from all samples that there are, and follows every later write and deletion. Ranges with its buckets and
/// aggregation are answered from it by themselves, and so are ranges with longer buckets that it divides, for `min`, `max`,
/// `first` and `last`. Sending the same one again changes nothing.
#[utoipa::path(post, path = "/timeseries/{key}/rollups", tag = "timeseries", operation_id = "post_rollup",
    params(SeriesPath), request_body = NewRollup,
    responses((status = 200, description = "It was there", body = RollupEntry),
        (status = 201, description = "It is added", body = RollupEntry)))]
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
#[utoipa::path(get, path = "/timeseries/{key}/rollups", tag = "timeseries", operation_id = "list_rollups",
    params(SeriesPath),
    responses((status = 200, description = "All of them, on one page", body = Page<RollupEntry>)))]
pub(in crate::features::timeseries) async fn list_rollups(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    NoQuery: NoQuery,
) -> Result<Json<Page<RollupEntry>>, Problem> {
    Ok(Json(Page { items: timeseries.rollups().list(&key).await?, next_cursor: None }))
}

/// Drop a rollup with its buckets; the samples stay.
#[utoipa::path(delete, path = "/timeseries/{key}/rollups/{rollup}", tag = "timeseries", operation_id = "delete_rollup",
    params(RollupPath),
    responses((status = 204, description = "It is gone")))]
pub(in crate::features::timeseries) async fn delete_rollup(
    State(timeseries): State<TimeseriesService>,
    Path(RollupPath { key, rollup }): Path<RollupPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
) -> Result<NoContent, Problem> {
    timeseries.rollups().drop_one(key, &rollup, token).await?;
    Ok(NoContent)
}
