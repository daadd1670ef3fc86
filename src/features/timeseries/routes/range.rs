//! Reads of windows.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::query::{ManyQuery, RangeQuery, Reducer, SeriesPath, WindowQuery};
use super::super::range::Stats;
use super::super::render;
use super::super::service::TimeseriesService;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::failures::ReadFailures;
use crate::http::problem::{Problem, ProblemBody};

/// A page of a range as the document describes it; `render` writes it.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "the document's form of what render.rs writes")]
pub(in crate::features::timeseries) struct Range {
    #[schema(example = "energy:consumption:MTR-001")]
    key: String,
    /// The window of all pages, Unix milliseconds, both included.
    from: i64,
    to: i64,
    samples: Vec<RangePoint>,
    /// Ask with `cursor` set to this for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A sample, or a bucket by its timestamp.
#[derive(Debug, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the document's form of what render.rs writes")]
pub(in crate::features::timeseries) enum RangePoint {
    #[schema(title = "Value")]
    Value {
        timestamp: i64,
        /// Null in a bucket without samples, and where the sum of a bucket is out of range.
        #[schema(required = true)]
        value: Option<f64>,
    },
    #[schema(title = "Candle")]
    Candle {
        timestamp: i64,
        #[schema(required = true)]
        open: Option<f64>,
        #[schema(required = true)]
        high: Option<f64>,
        #[schema(required = true)]
        low: Option<f64>,
        #[schema(required = true)]
        close: Option<f64>,
        /// Null without `volume_key`.
        #[schema(required = true)]
        volume: Option<f64>,
    },
}

const NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");

/// Read a window: raw samples, or aggregates of buckets.
///
/// With `Accept: text/csv` the answer is CSV with a header line, and the header `Next-Cursor` says where the next page
/// begins.
#[utoipa::path(get, path = "/timeseries/{key}/range", tag = "timeseries", operation_id = "get_range",
    params(SeriesPath, RangeQuery),
    responses(
        ReadFailures,
        (status = 200, description = "A page of the window", content((Range = "application/json"), (String = "text/csv"))),
        (status = 404, description = "series-not-found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "wrong-type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid-path, invalid-query, range-too-wide", body = ProblemBody, content_type = "application/problem+json")))]
pub(in crate::features::timeseries) async fn get_range(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    Query(query): Query<RangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let page = timeseries.range(key, &query).await?;
    if !prefers_csv(&headers) {
        let json = HeaderValue::from_static("application/json");
        return Ok(([(header::CONTENT_TYPE, json)], render::json(&page)).into_response());
    }
    let csv = HeaderValue::from_static("text/csv; charset=utf-8");
    let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, csv)], render::csv(&page)).into_response();
    if let Some(cursor) = page.next.and_then(|cursor| HeaderValue::try_from(cursor.to_string()).ok()) {
        response.headers_mut().insert(NEXT_CURSOR, cursor);
    }
    Ok(response)
}

/// Whether the caller asks for CSV rather than for JSON: by a higher weight, or by name where JSON is only covered by a
/// wildcard.
fn prefers_csv(headers: &HeaderMap) -> bool {
    let (mut csv, mut json) = ((0.0, false), (0.0, false));
    let ranges = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight: f32 =
            parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        match media.as_str() {
            "text/csv" => csv = (weight, true),
            "application/json" => json = (weight, true),
            "*/*" | "application/*" if !json.1 => json = (weight, false),
            _ => {}
        }
    }
    csv > json
}

/// Statistics of a window.
#[utoipa::path(get, path = "/timeseries/{key}/stats", tag = "timeseries", operation_id = "get_series_stats",
    params(SeriesPath, WindowQuery),
    responses(
        ReadFailures,
        (status = 200, description = "The statistics; null where there are no samples", body = Stats),
        (status = 404, description = "series-not-found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "wrong-type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid-path, invalid-query, range-too-wide", body = ProblemBody, content_type = "application/problem+json")))]
pub(in crate::features::timeseries) async fn get_stats(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    Query(query): Query<WindowQuery>,
) -> Result<Json<Stats>, Problem> {
    Ok(Json(timeseries.stats(key, &query).await?))
}

/// Ranges of many series as the document describes them; `render` writes them.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "the document's form of what render.rs writes")]
pub(in crate::features::timeseries) struct ManyRanges {
    items: Vec<ItemRange>,
    /// Ask with `cursor` set to this for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// The range of a series, or of a group.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "the document's form of what render.rs writes")]
pub(in crate::features::timeseries) struct ItemRange {
    /// The series, or `label=value` of a group.
    #[schema(example = "zone=1")]
    key: String,
    labels: BTreeMap<String, Option<String>>,
    samples: Vec<RangePoint>,
    /// Whether the window has more points than `limit`.
    truncated: bool,
    /// Of a group: how its points were reduced.
    #[schema(required = false)]
    reducer: Option<Reducer>,
    /// Of a group: its series.
    #[schema(required = false)]
    sources: Option<Vec<String>>,
}

/// Read windows of many series, each by itself or reduced by groups.
///
/// Series come in byte order of their keys, also those without samples in the window. A page ends early when its answer
/// would grow too long. With `group_by`, series are aggregated first, and their points with one timestamp are reduced
/// then; null points do not count.
#[utoipa::path(post, path = "/timeseries/query", tag = "timeseries", operation_id = "query_series",
    request_body = ManyQuery,
    responses(
        ReadFailures,
        (status = 200, description = "A page of series, or all groups", body = ManyRanges),
        (status = 400, description = "invalid-json, json-too-deep, body-incomplete", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "wrong-type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-media-type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid-query, invalid-body, range-too-wide", body = ProblemBody, content_type = "application/problem+json")))]
pub(in crate::features::timeseries) async fn query_series(
    State(timeseries): State<TimeseriesService>,
    NoQuery: NoQuery,
    Json(query): Json<ManyQuery>,
) -> Result<Response, Problem> {
    let page = timeseries.query(query).await?;
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], render::json_items(&page)).into_response())
}
