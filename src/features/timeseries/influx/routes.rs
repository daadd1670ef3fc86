//! The HTTP operations that clients of InfluxDB call. Clients of versions 1 and 2 write the same lines to different
//! paths.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use crate::features::timeseries::error::{LINES_REFUSED, Progress};
use crate::features::timeseries::ingest::{LineFormat, Precision};
use crate::features::timeseries::model::{LineProtocol, StreamAnswer};
use crate::features::timeseries::routes::{BulkState, REFUSED};
use crate::http::auth::Principal;
use crate::http::body::BodyStream;
use crate::http::extract::{Json, Query, RawBody};
use crate::http::fencing::GrantToken;
use crate::http::problem::{Location, Problem};
use crate::http::reply::NoContent;
use crate::redis::{FencingToken, Outcome};

/// The query parameters that clients of version 2 send. Others are ignored, as `InfluxDB` does.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "clients send parameters that the service ignores")]
pub(in crate::features::timeseries) struct WriteV2 {
    /// The unit of the timestamps; ns if absent.
    #[param(inline)]
    precision: Option<Precision>,
    /// Ignored: the credential identifies the owner of the samples.
    org: Option<String>,
    /// Ignored.
    #[serde(rename = "orgID")]
    #[param(rename = "orgID")]
    org_id: Option<String>,
    /// Ignored: the retention of the family applies.
    bucket: Option<String>,
}

/// The query parameters that clients of version 1 send. Others are ignored, as `InfluxDB` does.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "clients send parameters that the service ignores")]
pub(in crate::features::timeseries) struct WriteV1 {
    /// The unit of the timestamps; ns if absent.
    #[param(inline)]
    precision: Option<Precision>,
    /// Ignored.
    db: Option<String>,
    /// Ignored: the retention of the family applies.
    rp: Option<String>,
    /// Ignored.
    consistency: Option<String>,
    /// Ignored: the API key in `p` identifies the caller.
    #[param(value_type = Option<String>)]
    u: Option<IgnoredAny>,
    /// The API key, if the request has no header with a credential.
    #[param(value_type = Option<String>)]
    p: Option<IgnoredAny>,
}

/// The query parameters of `/ping`. Others are ignored, as `InfluxDB` does.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::features::timeseries) struct PingQuery {
    /// Whether the response has a body with the version.
    verbose: Option<String>,
    /// Ignored.
    #[param(value_type = Option<String>)]
    #[serde(rename = "wait_for_leader")]
    _wait_for_leader: Option<IgnoredAny>,
}

/// Write line protocol with a client of InfluxDB 2.
///
/// Each field becomes a sample of the series `influx:{measurement}:{field},{tag}={value}...`. If some lines are
/// refused, the others are still stored. Fields with text are ignored unless nothing else is stored; the headers
/// `Samples-Refused` and `Samples-Refused-First` report them. Sending the same lines again stores them once. The body can
/// be compressed with gzip; its Content-Type is ignored.
#[utoipa::path(post, path = "/api/v2/write", tag = "influxdb", operation_id = "write_influx_lines", params(WriteV2),
    request_body(content = LineProtocol, content_type = "text/plain"),
    responses((status = 204, description = "All lines were stored, except for fields with text",
        headers(("Samples-Refused" = u64, description = "How many samples were refused; absent if all were accepted"),
                ("Samples-Refused-First" = String, description = "The line and the name of the first field with text")))))]
pub(in crate::features::timeseries) async fn write_v2(
    State(bulk): State<BulkState>,
    Query(query): Query<WriteV2>,
    GrantToken(token): GrantToken,
    Extension(caller): Extension<Arc<Principal>>,
    body: BodyStream,
) -> Result<Response, Problem> {
    write(&bulk, &caller, body, query.precision, token).await
}

/// Write line protocol with a client of InfluxDB 1.
///
/// The operation differs from `/api/v2/write` in its query parameters only.
#[utoipa::path(post, path = "/write", tag = "influxdb", operation_id = "write_influx_lines_v1", params(WriteV1),
    request_body(content = LineProtocol, content_type = "text/plain"),
    responses((status = 204, description = "All lines were stored, except for fields with text",
        headers(("Samples-Refused" = u64, description = "How many samples were refused; absent if all were accepted"),
                ("Samples-Refused-First" = String, description = "The line and the name of the first field with text")))))]
pub(in crate::features::timeseries) async fn write_v1(
    State(bulk): State<BulkState>,
    Query(query): Query<WriteV1>,
    GrantToken(token): GrantToken,
    Extension(caller): Extension<Arc<Principal>>,
    body: BodyStream,
) -> Result<Response, Problem> {
    write(&bulk, &caller, body, query.precision, token).await
}

async fn write(
    bulk: &BulkState,
    caller: &Principal,
    mut body: BodyStream,
    precision: Option<Precision>,
    token: Option<FencingToken>,
) -> Result<Response, Problem> {
    let _place = bulk.acquire_slot(caller, &mut body).await?;
    let format = LineFormat::LineProtocol(precision.unwrap_or_default());
    let answer = bulk.timeseries.ingest(token).stream(body, format, bulk.idle).await?;
    if answer.refused_total == 0 {
        return Ok(NoContent.into_response());
    }
    if answer.refused_total > answer.text_fields || answer.accepted == 0 {
        return Err(refused(&answer));
    }
    let mut response = ([(REFUSED, HeaderValue::from(answer.text_fields))], NoContent).into_response();
    let first = answer.refused.first().map(|refused| format!("line {}: {}", refused.line, refused.detail));
    // A header cannot contain every name; the count is always there.
    if let Ok(first) = HeaderValue::from_str(&first.unwrap_or_default()) {
        response.headers_mut().insert(FIRST_REFUSED, first);
    }
    Ok(response)
}

/// The header that names the first field with text.
const FIRST_REFUSED: HeaderName = HeaderName::from_static("samples-refused-first");

/// The header in which clients of InfluxDB expect the reason of a failure.
const REASON: HeaderName = HeaderName::from_static("x-influxdb-error");

fn refused(answer: &StreamAnswer) -> Problem {
    let first = answer.refused.first().map(|refused| format!("; line {}: {}", refused.line, refused.detail));
    let stored = Progress { accepted: answer.accepted };
    let detail = format!(
        "{} samples or lines were refused, {} samples are stored{}",
        answer.refused_total,
        answer.accepted,
        first.unwrap_or_default()
    );
    let mut problem = Problem::new(&LINES_REFUSED).outcome(stored.outcome(Outcome::NotApplied));
    // A header cannot contain every text; the body always has it.
    if let Ok(reason) = HeaderValue::from_str(&detail) {
        problem = problem.header(REASON, reason);
    }
    problem = problem.detail(detail);
    answer
        .refused
        .iter()
        .fold(problem, |problem, refused| problem.violation(Location::Body, refused.line.to_string(), &refused.detail))
}

/// The version of InfluxDB whose write protocol the service supports.
const VERSION: &str = "v2.7.0";

/// The version, as InfluxDB reports it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InfluxPing)]
pub(in crate::features::timeseries) struct PingAnswer {
    #[schema(example = "v2.7.0")]
    version: &'static str,
}

/// Tell a client of InfluxDB that the service is running.
#[utoipa::path(get, path = "/ping", tag = "influxdb", operation_id = "get_influx_ping", params(PingQuery),
    responses(
        (status = 200, description = "The service is running; the request had `verbose`", body = PingAnswer),
        (status = 204, description = "The service is running; Redis is not checked", headers(
            ("x-influxdb-version" = String, description = "The version of InfluxDB whose write protocol the service supports")))))]
pub(in crate::features::timeseries) async fn get_ping(Query(query): Query<PingQuery>) -> Response {
    let version = [(HeaderName::from_static("x-influxdb-version"), HeaderValue::from_static(VERSION))];
    if query.verbose.is_some_and(|verbose| !matches!(verbose.as_str(), "" | "0" | "false")) {
        return (version, Json(PingAnswer { version: VERSION })).into_response();
    }
    (version, NoContent).into_response()
}

/// Whether the service takes requests, as `InfluxDB` reports it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InfluxReady)]
pub(in crate::features::timeseries) struct ReadyAnswer {
    #[schema(example = "ready")]
    status: &'static str,
}

/// Tell a client of InfluxDB 2 that the service takes requests.
#[utoipa::path(get, path = "/ready", tag = "influxdb", operation_id = "get_influx_ready",
    responses((status = 200, description = "The service is running; Redis is not checked", body = ReadyAnswer)))]
pub(in crate::features::timeseries) async fn get_ready() -> Json<ReadyAnswer> {
    Json(ReadyAnswer { status: "ready" })
}

/// The query parameters of `/query`. Others are ignored, as `InfluxDB` does.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "clients send parameters that the service ignores")]
pub(in crate::features::timeseries) struct QueryV1 {
    /// `CREATE DATABASE <name>` or `SHOW DATABASES`.
    #[param(value_type = String, required, example = "CREATE DATABASE telegraf")]
    q: Option<String>,
    /// Ignored.
    db: Option<String>,
    /// Ignored: the API key in `p` identifies the caller.
    #[param(value_type = Option<String>)]
    u: Option<IgnoredAny>,
    /// The API key, if the request has no header with a credential.
    #[param(value_type = Option<String>)]
    p: Option<IgnoredAny>,
}

/// The form of `/query`.
#[derive(ToSchema)]
#[schema(as = InfluxQueryForm)]
#[expect(dead_code, reason = "described here, read by `post_query`")]
pub(in crate::features::timeseries) struct QueryForm {
    /// `CREATE DATABASE <name>` or `SHOW DATABASES`.
    #[schema(example = "CREATE DATABASE telegraf")]
    q: String,
}

/// Why a statement does not run, as `InfluxDB` 1 reports it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InfluxError)]
pub(in crate::features::timeseries) struct QueryError {
    error: String,
}

/// Answer what clients of InfluxDB 1 ask before they write.
///
/// `CREATE DATABASE` succeeds and does nothing: writes to every database are accepted. `SHOW DATABASES` lists one. Other
/// statements are 400: read samples on the routes of this service.
#[utoipa::path(get, path = "/query", tag = "influxdb", operation_id = "get_influx_query", params(QueryV1),
    responses((status = 200, description = "The result of the statement, in the form of InfluxDB 1", body = Value),
              (status = 400, description = "Another statement, or none", body = QueryError)))]
pub(in crate::features::timeseries) async fn get_query(Query(query): Query<QueryV1>) -> Response {
    answer(query.q.as_deref())
}

/// Answer what clients of InfluxDB 1 ask before they write, with the statement in the query or in a form.
///
/// A statement in the query takes precedence over the one in the form.
#[utoipa::path(post, path = "/query", tag = "influxdb", operation_id = "post_influx_query",
    params(("q" = Option<String>, Query, description = "The statement, if it is not in the form"),
           ("db" = Option<String>, Query, description = "Ignored"),
           ("u" = Option<String>, Query, description = "Ignored: the API key in `p` identifies the caller"),
           ("p" = Option<String>, Query, description = "The API key, if the request has no header with a credential")),
    request_body(content = QueryForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The result of the statement, in the form of InfluxDB 1", body = Value),
              (status = 400, description = "Another statement, or none", body = QueryError)))]
pub(in crate::features::timeseries) async fn post_query(
    Query(query): Query<QueryV1>,
    RawBody(form): RawBody,
) -> Response {
    let in_form = || form_urlencoded::parse(&form).find(|(name, _)| name == "q").map(|(_, value)| value.into_owned());
    answer(query.q.or_else(in_form).as_deref())
}

/// The only database that the service shows.
const DATABASE: &str = "gridtokenx";

fn answer(statement: Option<&str>) -> Response {
    let statement = statement.unwrap_or_default().trim().trim_end_matches(';');
    let words: Vec<String> = statement.split_whitespace().map(str::to_ascii_uppercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let version = [(HeaderName::from_static("x-influxdb-version"), HeaderValue::from_static(VERSION))];
    let result = match words[..] {
        ["CREATE", "DATABASE", _, ..] if !statement.contains(';') => json!({ "statement_id": 0 }),
        ["SHOW", "DATABASES"] => {
            let databases = json!({ "name": "databases", "columns": ["name"], "values": [[DATABASE]] });
            json!({ "statement_id": 0, "series": [databases] })
        }
        _ => {
            let error = if words.is_empty() {
                "missing required parameter \"q\""
            } else {
                "only CREATE DATABASE and SHOW DATABASES are supported: read samples with /timeseries or /prom"
            };
            let reason = [(REASON, HeaderValue::from_static(error))];
            return (StatusCode::BAD_REQUEST, version, reason, Json(QueryError { error: error.to_owned() }))
                .into_response();
        }
    };
    (version, Json(json!({ "results": [result] }))).into_response()
}
