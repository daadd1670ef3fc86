//! The HTTP operations that Prometheus clients call. Responses and errors have the form of Prometheus.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::render;
use crate::features::timeseries::prom::{Parameters, PromError, PromService};
use crate::http::extract::{Path, collect, media_type};
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{Problem, REDIS_UNAVAILABLE};

/// The routes for Prometheus clients.
pub(in crate::features::timeseries) fn router(prom: PromService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(get_prom_query, post_prom_query))
        .routes(routes!(get_prom_range, post_prom_range))
        .routes(routes!(get_prom_series, post_prom_series))
        .routes(routes!(get_prom_labels, post_prom_labels))
        .routes(routes!(get_prom_values))
        .routes(routes!(get_prom_metadata))
        .routes(routes!(get_prom_build))
        .routes(routes!(get_prom_healthy))
        .routes(routes!(get_prom_ready))
        .with_state(prom)
}

/// The parameters of a query at one time.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the schema of what `params` reads")]
struct PromQuery {
    /// An expression in the query language of Prometheus, with at most 16 regular expressions.
    #[schema(example = "sum by (kind) (increase({kind=\"generation\"}[1h]))")]
    #[param(max_length = 4096, example = "1+1")]
    query: String,
    /// Unix seconds or RFC 3339; the current time if absent.
    #[schema(example = "")]
    time: Option<String>,
    /// The maximum age at which the newest sample is still the current value, such as 5m.
    #[schema(example = "5m")]
    lookback_delta: Option<String>,
    /// Ignored.
    #[schema(example = "10s")]
    timeout: Option<String>,
}

/// The parameters of a query at every step of a window.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the schema of what `params` reads")]
struct PromRangeQuery {
    /// An expression in the query language of Prometheus, with at most 16 regular expressions.
    #[schema(example = "sum by (kind) (increase({kind=\"generation\"}[1h]))")]
    #[param(max_length = 4096, example = "1+1")]
    query: String,
    /// Unix seconds or RFC 3339.
    #[schema(example = "0")]
    #[param(example = "0")]
    start: String,
    /// Unix seconds or RFC 3339.
    #[schema(example = "180")]
    #[param(example = "180")]
    end: String,
    /// Seconds, or a duration such as 1m.
    #[schema(example = "60")]
    #[param(example = "60")]
    step: String,
    /// The maximum age at which the newest sample is still the current value, such as 5m.
    #[schema(example = "5m")]
    lookback_delta: Option<String>,
    /// Ignored.
    #[schema(example = "10s")]
    timeout: Option<String>,
}

/// The parameters that find series.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the schema of what `params` reads")]
struct PromSeriesMatch {
    /// Selectors such as `{kind="generation"}`. A series must match at least one. They have at most 16
    /// regular expressions together.
    #[serde(rename = "match[]")]
    #[schema(example = json!(["{kind=\"generation\"}"]))]
    #[param(rename = "match[]", max_items = 32, example = json!(["{kind=\"generation\"}"]))]
    selectors: Vec<String>,
    /// Ignored: all existing series are found.
    #[schema(example = "")]
    start: Option<String>,
    /// Ignored.
    #[schema(example = "")]
    end: Option<String>,
    /// The maximum number of series; `warnings` says if there are more.
    #[schema(example = 100)]
    limit: Option<u64>,
}

/// The parameters that select the series whose labels are listed.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the schema of what `params` reads")]
struct PromMatch {
    /// Selectors such as `{kind="generation"}`. A series must match at least one. They have at most 16
    /// regular expressions together.
    #[serde(rename = "match[]")]
    #[schema(example = json!(["{kind=\"generation\"}"]))]
    #[param(rename = "match[]", max_items = 32, example = json!(["{kind=\"generation\"}"]))]
    selectors: Option<Vec<String>>,
    /// Ignored: all existing series are listed.
    #[schema(example = "")]
    start: Option<String>,
    /// Ignored.
    #[schema(example = "")]
    end: Option<String>,
    /// The maximum number of items, at most 100,000 names or values; `warnings` says if there are more.
    #[schema(example = 100)]
    limit: Option<u64>,
}

/// The path parameters of a label.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct LabelPath {
    /// The name of a label, or `__name__` for metric names.
    #[param(min_length = 1, max_length = 64, example = "kind")]
    name: String,
}

/// A successful response.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"status": "success", "data": {"resultType": "scalar", "result": [0, "2"]}}))]
#[expect(dead_code, reason = "the schema of what `render` writes")]
struct PromAnswer {
    /// `success`
    status: String,
    /// The data in the form that Prometheus uses for this request.
    data: serde_json::Value,
}

/// An error response.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the schema of what `render` writes")]
struct PromFailure {
    /// `error`
    status: String,
    /// `bad_data`, `execution`, `unavailable`, `timeout` or `internal`.
    #[serde(rename = "errorType")]
    error_type: String,
    error: String,
}

/// The errors of all these operations. The middleware rejects requests with problems, as for all other operations.
impl IntoResponses for PromFailure {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let json = |name: &str| Content::new(Some(Ref::from_schema_name(name)));
        let text = "400 bad_data: a parameter is invalid; 422 execution: the query cannot be evaluated; 500 internal: the \
                    service has a bug; 503 unavailable: Redis is unavailable; 504 timeout: Redis did not answer in time; \
                    or a problem that is the same in all operations";
        let response = ResponseBuilder::new()
            .description(text)
            .content("application/json", json("PromFailure"))
            .content("application/problem+json", json("Problem"));
        BTreeMap::from([("default".to_owned(), RefOr::T(response.build()))])
    }
}

impl IntoResponse for PromError {
    fn into_response(self) -> Response {
        let mut response = (self.status, json(render::prom_error(&self))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn json(body: Vec<u8>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body)
}

const FORM: &str = "application/x-www-form-urlencoded";

/// The parameters of the query string, and with POST also those of the form.
async fn parameters(request: Request) -> Result<Parameters, PromError> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    if request.method() == Method::POST {
        let is_form = media_type(request.headers()).is_none_or(|media_type| media_type == FORM);
        let invalid = |problem: Problem| PromError::bad("body", format!("is invalid: {}", problem.kind().title));
        let body = collect(request).await.map_err(invalid)?;
        if !is_form && !body.is_empty() {
            return Err(PromError::bad("body", format!("must be {FORM}")));
        }
        pairs.extend(form_urlencoded::parse(&body).into_owned());
    }
    Ok(Parameters(pairs))
}

/// Evaluate a query at one time.
#[utoipa::path(get, path = "/prom/api/v1/query", tag = "prometheus", operation_id = "get_prom_query", params(PromQuery),
    responses(
        PromFailure,
        (status = 200, description = "A number, or series with one value each", body = PromAnswer),
        (status = 400, description = "bad_data: a parameter is invalid", body = PromFailure)))]
async fn get_prom_query(State(prom): State<PromService>, request: Request) -> Result<Response, PromError> {
    Ok(json(prom.instant(&parameters(request).await?, render::prom_instant).await?).into_response())
}

/// Evaluate a query at one time, with its parameters in a form.
#[utoipa::path(post, path = "/prom/api/v1/query", tag = "prometheus", operation_id = "post_prom_query",
    request_body(content = PromQuery, content_type = "application/x-www-form-urlencoded"),
    responses(PromFailure, (status = 200, description = "A number, or series with one value each", body = PromAnswer)))]
async fn post_prom_query(prom: State<PromService>, request: Request) -> Result<Response, PromError> {
    get_prom_query(prom, request).await
}

/// Evaluate a query at every step of a window.
#[utoipa::path(get, path = "/prom/api/v1/query_range", tag = "prometheus", operation_id = "get_prom_range",
    params(PromRangeQuery),
    responses(PromFailure, (status = 200, description = "Series with their values", body = PromAnswer)))]
async fn get_prom_range(State(prom): State<PromService>, request: Request) -> Result<Response, PromError> {
    Ok(json(prom.range(&parameters(request).await?, render::prom_range).await?).into_response())
}

/// Evaluate a query at every step of a window, with its parameters in a form.
#[utoipa::path(post, path = "/prom/api/v1/query_range", tag = "prometheus", operation_id = "post_prom_range",
    request_body(content = PromRangeQuery, content_type = "application/x-www-form-urlencoded"),
    responses(PromFailure, (status = 200, description = "Series with their values", body = PromAnswer)))]
async fn post_prom_range(prom: State<PromService>, request: Request) -> Result<Response, PromError> {
    get_prom_range(prom, request).await
}

/// Find series.
#[utoipa::path(get, path = "/prom/api/v1/series", tag = "prometheus", operation_id = "get_prom_series",
    params(PromSeriesMatch),
    responses(PromFailure, (status = 200, description = "The labels of each series", body = PromAnswer)))]
async fn get_prom_series(State(prom): State<PromService>, request: Request) -> Result<Response, PromError> {
    Ok(json(render::prom_list(&prom.series(&parameters(request).await?).await?)).into_response())
}

/// Find series, with the selectors in a form.
#[utoipa::path(post, path = "/prom/api/v1/series", tag = "prometheus", operation_id = "post_prom_series",
    request_body(content = PromSeriesMatch, content_type = "application/x-www-form-urlencoded"),
    responses(PromFailure, (status = 200, description = "The labels of each series", body = PromAnswer)))]
async fn post_prom_series(prom: State<PromService>, request: Request) -> Result<Response, PromError> {
    get_prom_series(prom, request).await
}

/// List label names.
#[utoipa::path(get, path = "/prom/api/v1/labels", tag = "prometheus", operation_id = "get_prom_labels", params(PromMatch),
    responses(PromFailure, (status = 200, description = "Label names in byte order", body = PromAnswer)))]
async fn get_prom_labels(State(prom): State<PromService>, request: Request) -> Result<Response, PromError> {
    Ok(json(render::prom_list(&prom.label_names(&parameters(request).await?).await?)).into_response())
}

/// List label names, with the selectors in a form.
#[utoipa::path(post, path = "/prom/api/v1/labels", tag = "prometheus", operation_id = "post_prom_labels",
    request_body(content = PromMatch, content_type = "application/x-www-form-urlencoded"),
    responses(PromFailure, (status = 200, description = "Label names in byte order", body = PromAnswer)))]
async fn post_prom_labels(prom: State<PromService>, request: Request) -> Result<Response, PromError> {
    get_prom_labels(prom, request).await
}

/// List the values of a label.
#[utoipa::path(get, path = "/prom/api/v1/label/{name}/values", tag = "prometheus", operation_id = "get_prom_values",
    params(LabelPath, PromMatch),
    responses(PromFailure, (status = 200, description = "Label values in byte order", body = PromAnswer)))]
async fn get_prom_values(
    State(prom): State<PromService>,
    Path(LabelPath { name }): Path<LabelPath>,
    request: Request,
) -> Result<Response, PromError> {
    Ok(json(render::prom_list(&prom.label_values(&name, &parameters(request).await?).await?)).into_response())
}

/// Read the metadata of metrics.
#[utoipa::path(get, path = "/prom/api/v1/metadata", tag = "prometheus", operation_id = "get_prom_metadata",
    responses(PromFailure, (status = 200, description = "No metadata: series have no types, units or help texts", body = PromAnswer)))]
async fn get_prom_metadata(request: Request) -> Result<Response, PromError> {
    parameters(request).await?;
    Ok(json(render::prom_data(&serde_json::json!({}))).into_response())
}

/// The version of Prometheus whose semantics the queries have.
const VERSION: &str = "3.0.0";

/// Read the version of the query language.
#[utoipa::path(get, path = "/prom/api/v1/status/buildinfo", tag = "prometheus", operation_id = "get_prom_build",
    responses(PromFailure, (status = 200, description = "`version` is the version of Prometheus whose query language the service supports", body = PromAnswer)))]
async fn get_prom_build(request: Request) -> Result<Response, PromError> {
    parameters(request).await?;
    Ok(json(render::prom_data(&serde_json::json!({"version": VERSION}))).into_response())
}

/// Check that the service runs.
#[utoipa::path(get, path = "/prom/-/healthy", tag = "prometheus", operation_id = "get_prom_healthy",
    responses((status = 200, description = "The service runs", body = String, content_type = "text/plain")))]
async fn get_prom_healthy() -> &'static str {
    "Prometheus Server is Healthy.\n"
}

/// Check that queries can be answered.
#[utoipa::path(get, path = "/prom/-/ready", tag = "prometheus", operation_id = "get_prom_ready",
    responses((status = 200, description = "Redis is connected", body = String, content_type = "text/plain")))]
async fn get_prom_ready(State(prom): State<PromService>) -> Result<&'static str, Problem> {
    if prom.is_ready() { Ok("Prometheus Server is Ready.\n") } else { Err(Problem::new(&REDIS_UNAVAILABLE)) }
}
