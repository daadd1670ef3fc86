//! Adding samples, directly or with an agent's heartbeat; flushing samples and deleting hosts.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;

use super::super::heartbeat::{HeartbeatRequest, OlderHeartbeatRequest};
use super::super::ingest::accept::SamplesBody;
use super::super::model::{Flushed, HeartbeatAnswer, HostPath, IngestAnswer, NewSample, NewSamples};
use super::super::sample::Violation;
use super::super::service::HostService;
use super::super::tenancy::AccessScope;
use super::OrganisationQuery;
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Path, Query, RawBody, parse_json, read_json, require_json};
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

/// The header that states how many samples were refused.
const REFUSED: HeaderName = HeaderName::from_static("samples-refused");

/// Add samples of a host.
///
/// The body is one sample or an array. Valid items of an array are accepted and invalid ones listed; if no item is valid,
/// nothing is stored. Accepted samples are in memory when the response is sent, and in Redis within
/// `hosts.batch_interval`; samples are accepted even while Redis is unavailable. A sample with a timestamp is stored only
/// once, however often it is sent.
#[utoipa::path(post, path = "/hosts/{id}/metrics", tag = "hosts", operation_id = "post_host_metrics",
    params(HostPath, OrganisationQuery), request_body = NewSamples,
    responses((status = 202, description = "The accepted and the refused samples", body = IngestAnswer,
        headers(("Samples-Refused" = u64, description = "How many samples were refused; absent if all were accepted")), links(
        ("newest" = (operation_id = "get_latest_host_metrics", parameters(("id" = "$request.path.id"))))))))]
pub(in super::super) async fn post_host_metrics(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(OrganisationQuery { org_id }): Query<OrganisationQuery>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    require_json(&headers)?;
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    let answer = hosts.ingest(&scope, id, read_samples(&body)?).await?;
    Ok(match answer.refused_samples() {
        0 => (StatusCode::ACCEPTED, Json(answer)).into_response(),
        refused => (StatusCode::ACCEPTED, [(REFUSED, HeaderValue::from(refused))], Json(answer)).into_response(),
    })
}

/// Accept a heartbeat of one of the platform's agents.
///
/// Its sample is stored like one sent to `POST /hosts/{id}/metrics`. Agents call `/api/v2/heartbeat`. Unlike on other routes,
/// fields that the service does not keep are ignored.
#[utoipa::path(post, path = "/v2/heartbeat", tag = "hosts", operation_id = "post_heartbeat",
    request_body = HeartbeatRequest,
    responses((status = 200, description = "The heartbeat is accepted", body = HeartbeatAnswer)))]
pub(in super::super) async fn post_heartbeat(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    Json(HeartbeatRequest { organization_slug, host_id, heartbeat }): Json<HeartbeatRequest>,
) -> Result<Json<HeartbeatAnswer>, Problem> {
    let scope = AccessScope::of(&caller, Some(&organization_slug))?;
    hosts.ingest_heartbeat(&scope, host_id, heartbeat.into()).await?;
    Ok(Json(HeartbeatAnswer { success: true }))
}

/// The header in which older agents name their organisation.
const ORGANISATION: &str = "x-organization-id";

/// Accept a heartbeat of an older agent of the platform.
///
/// It differs from `POST /v2/heartbeat` in its form only. Agents call `/api/agent/heartbeat`. Fields that the service does not
/// keep are ignored.
#[utoipa::path(post, path = "/agent/heartbeat", tag = "hosts", operation_id = "post_older_heartbeat",
    params(("X-Organization-Id" = Option<String>, Header, description = "The credential's organisation")),
    request_body = OlderHeartbeatRequest,
    responses((status = 200, description = "The heartbeat is accepted", body = HeartbeatAnswer)))]
pub(in super::super) async fn post_older_heartbeat(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    headers: HeaderMap,
    Json(request): Json<OlderHeartbeatRequest>,
) -> Result<Json<HeartbeatAnswer>, Problem> {
    let named = match headers.get(ORGANISATION).map(HeaderValue::to_str) {
        None => None,
        Some(Ok(named)) => Some(named),
        Some(Err(_)) => return Err(Problem::request_header("X-Organization-Id", "must be visible ASCII characters")),
    };
    let scope = AccessScope::of(&caller, named)?;
    hosts.ingest_heartbeat(&scope, request.host_id.clone(), request.into()).await?;
    Ok(Json(HeartbeatAnswer { success: true }))
}

/// Parses one sample, or an array whose items are parsed one by one.
///
/// # Errors
/// The body is not JSON, or neither a sample nor an array.
fn read_samples(body: &[u8]) -> Result<SamplesBody, Problem> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        return Ok(SamplesBody::One(parse_json(body)?));
    }
    // Most arrays are valid as a whole; only the others are parsed again, item by item.
    Ok(SamplesBody::Many(match read_json::<Vec<NewSample>>(body) {
        Ok(items) => items.into_iter().map(Ok).collect(),
        Err(_) => parse_json::<Vec<Box<RawValue>>>(body)?.iter().map(|text| item(text)).collect(),
    }))
}

fn item(text: &RawValue) -> Result<NewSample, Vec<Violation>> {
    parse_json(text.get().as_bytes()).map_err(|problem| {
        let violations = problem.violations().iter();
        violations.map(|violation| Violation::new(violation.pointer.clone(), violation.detail.clone())).collect()
    })
}

/// Write all waiting samples of this replica to Redis now.
///
/// Samples that cannot be written keep waiting.
#[utoipa::path(post, path = "/hosts/flush", tag = "hosts", operation_id = "flush_host_metrics",
    responses((status = 200, description = "The samples are in Redis", body = Flushed)))]
pub(in super::super) async fn flush_host_metrics(
    State(hosts): State<HostService>,
    NoQuery: NoQuery,
) -> Result<Json<Flushed>, Problem> {
    Ok(Json(hosts.flush().await?))
}

/// Delete all data of a host.
///
/// Afterwards the host has no owner. Samples that wait in other replicas are deleted, too, and these replicas forget the host
/// within 2 seconds. Samples that arrive later belong to a new host.
#[utoipa::path(delete, path = "/hosts/{id}/metrics", tag = "hosts", operation_id = "delete_host_metrics",
    params(HostPath, OrganisationQuery),
    responses((status = 204, description = "The host is deleted")))]
pub(in super::super) async fn delete_host_metrics(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(OrganisationQuery { org_id }): Query<OrganisationQuery>,
) -> Result<NoContent, Problem> {
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    hosts.delete(&scope, &id).await?;
    Ok(NoContent)
}
