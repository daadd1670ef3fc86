//! The HTTP operations that read windows: pages, exports, statistics, and queries over many series.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::multi::ManyPage;
use super::super::query::{ManyQuery, RangeQuery, SeriesPath, WindowQuery};
use super::super::range::{RangePage, Stats};
use super::super::render::{self, Form};
use super::super::service::TimeseriesService;
use super::missing::explained;
use crate::http::accept::{NDJSON, preferred};
use crate::http::auth::Principal;
use crate::http::compression::Uncompressed;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;

const NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");

/// Read a window: raw samples or aggregated buckets.
///
/// With `Accept: text/csv` the response is CSV with a header line, and the HTTP header `Next-Cursor` contains the
/// cursor of the next page.
#[utoipa::path(get, path = "/timeseries/{key}/range", tag = "timeseries", operation_id = "get_series_range",
    params(SeriesPath, RangeQuery),
    responses((status = 200, description = "A page of the window", content((RangePage = "application/json"), (String = "text/csv")))))]
pub(in crate::features::timeseries) async fn get_range(
    State(timeseries): State<TimeseriesService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    Query(query): Query<RangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match timeseries.range(key, &query).await {
        Ok(page) => Ok(page_response(&page, &headers)),
        Err(error) => Err(explained(&timeseries, &caller, error).await),
    }
}

/// The response of a page: JSON or CSV, according to the Accept header.
pub(super) fn page_response(page: &RangePage, headers: &HeaderMap) -> Response {
    let form = accepted(headers, &[Form::Json, Form::Csv]);
    let mut response =
        (StatusCode::OK, [(header::CONTENT_TYPE, media_type(form))], render::page(form, page)).into_response();
    let cursor = page.next_cursor.and_then(|cursor| HeaderValue::try_from(cursor.to_string()).ok());
    if let (Form::Csv, Some(cursor)) = (form, cursor) {
        response.headers_mut().insert(NEXT_CURSOR, cursor);
    }
    response
}

fn media_type(form: Form) -> HeaderValue {
    HeaderValue::from_static(match form {
        Form::Json => "application/json",
        Form::Ndjson => NDJSON,
        Form::Csv => "text/csv; charset=utf-8",
    })
}

/// The offered form that the Accept header prefers; the first one if none is acceptable.
pub(super) fn accepted(headers: &HeaderMap, offers: &[Form]) -> Form {
    let name = |form: &Form| match form {
        Form::Json => "application/json",
        Form::Ndjson => NDJSON,
        Form::Csv => "text/csv",
    };
    let names: Vec<&'static str> = offers.iter().map(name).collect();
    let preferred = preferred(headers, &names);
    offers.iter().copied().find(|form| name(form) == preferred).unwrap_or(Form::Json)
}

/// Export a complete window as CSV, NDJSON or JSON, according to `Accept`.
///
/// The response has no pages and can have any length. Without `limit` it contains all points; `cursor` exports the rest
/// after a page. The response is streamed at the speed of the client, and ends early if Redis fails. CSV and NDJSON are
/// complete if the last chunk of the response has arrived, and JSON if its closing brace has.
#[utoipa::path(get, path = "/timeseries/{key}/export", tag = "timeseries", operation_id = "export_series",
    params(SeriesPath, RangeQuery),
    responses((status = 200, description = "The window", content(
            (RangePage = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")))))]
pub(in crate::features::timeseries) async fn export_series(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    Query(query): Query<RangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let form = accepted(&headers, &[Form::Json, Form::Csv, Form::Ndjson]);
    let export = timeseries.export(key, &query, form).await?;
    let content_type = [(header::CONTENT_TYPE, media_type(form))];
    // Compression would take longer than reading the samples.
    Ok((Extension(Uncompressed), content_type, Body::from_stream(export.into_stream())).into_response())
}

/// Read statistics of a window.
#[utoipa::path(get, path = "/timeseries/{key}/stats", tag = "timeseries", operation_id = "get_series_stats",
    params(SeriesPath, WindowQuery),
    responses((status = 200, description = "The statistics; null if the window has no samples", body = Stats)))]
pub(in crate::features::timeseries) async fn get_stats(
    State(timeseries): State<TimeseriesService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    Query(query): Query<WindowQuery>,
) -> Result<Json<Stats>, Problem> {
    match timeseries.stats(key, &query).await {
        Ok(stats) => Ok(Json(stats)),
        Err(error) => Err(explained(&timeseries, &caller, error).await),
    }
}

/// Read windows of many series, one by one or reduced by groups.
///
/// The items are in byte order of their keys and include series without samples in the window. A page ends early if its
/// response would become too large. With `group_by`, each series is aggregated first; then the points of a group that
/// have the same timestamp are reduced to one. Null points are ignored.
///
/// With `Accept: application/x-ndjson` or `text/csv` there are no pages: the response contains all series, one line per
/// point, and each line names its series. The response is streamed at the speed of the client, and ends early if Redis
/// fails.
#[utoipa::path(post, path = "/timeseries/query", tag = "timeseries", operation_id = "query_series",
    request_body = ManyQuery,
    responses((status = 200, description = "A page of series, or all groups. As NDJSON or CSV: all points, one per line", content(
            (ManyPage = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")))))]
pub(in crate::features::timeseries) async fn query_series(
    State(timeseries): State<TimeseriesService>,
    NoQuery: NoQuery,
    headers: HeaderMap,
    Json(query): Json<ManyQuery>,
) -> Result<Response, Problem> {
    let form = accepted(&headers, &[Form::Json, Form::Csv, Form::Ndjson]);
    let body = if form == Form::Json {
        Body::from(render::json_items(&timeseries.query(query).await?).await)
    } else {
        Body::from_stream(timeseries.export_many(query, form).await?.into_stream())
    };
    Ok(([(header::CONTENT_TYPE, media_type(form))], body).into_response())
}
