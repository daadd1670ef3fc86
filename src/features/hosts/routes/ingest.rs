//! Adding samples, directly or with an agent's heartbeat.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::model::{HeartbeatAnswer, HeartbeatRequest, HostPath, IngestAnswer, NewSamples};
use super::super::service::HostService;
use super::super::tenancy::AccessScope;
use super::{OrganisationQuery, samples_body};
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Path, Query, RawBody, require_json};
use crate::http::problem::Problem;

/// Add samples of a host.
///
/// The body is one sample or an array. Valid items of an array are accepted and invalid ones listed; if no item is valid,
/// nothing is stored. Accepted samples are in memory when the response is sent, and in Redis within
/// `hosts.batch_interval`; samples are accepted even while Redis is unavailable. A sample with a timestamp is stored only
/// once, however often it is sent.
#[utoipa::path(post, path = "/hosts/{id}/metrics", tag = "hosts", operation_id = "post_host_metrics",
    params(HostPath, OrganisationQuery), request_body = NewSamples,
    responses((status = 202, description = "The accepted and the refused samples", body = IngestAnswer, links(
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
    let answer = hosts.ingest(&scope, id, samples_body::read(&body)?).await?;
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Accept a heartbeat of one of the platform's agents.
///
/// Its sample is stored like one sent to `POST /hosts/{id}/metrics`. Agents call `/api/v2/heartbeat`.
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
    hosts.ingest_heartbeat(&scope, host_id, heartbeat).await?;
    Ok(Json(HeartbeatAnswer { success: true }))
}
