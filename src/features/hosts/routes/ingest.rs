//! Samples on their way in.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::error::HostsError;
use super::super::model::{Agent, Heartbeat, HeartbeatAnswer, HeartbeatRequest, HostPath, IngestAnswer, NewSamples};
use super::super::sample::Violation;
use super::super::service::HostService;
use super::OrganisationQuery;
use super::sample_body::{self, Refusal};
use crate::features::hosts::access_scope::AccessScope;
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Path, Query, RawBody, require_json};
use crate::http::problem::Problem;

/// Add samples of a host.
///
/// One object or an array. Good items of an array are taken and bad ones listed; only when none is good, nothing is
/// stored. Samples are in memory when this is answered and in Redis within `hosts.batch_interval`; Redis may be away.
/// Sending samples with their timestamps again stores them once.
#[utoipa::path(post, path = "/hosts/{id}/metrics", tag = "hosts", operation_id = "post_host_metrics",
    params(HostPath, OrganisationQuery), request_body = NewSamples,
    responses((status = 202, description = "What was accepted", body = IngestAnswer, links(
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
    let ingest =
        sample_body::read(&body, hosts.request_samples(), |new| hosts.validate(new)).map_err(
            |refusal| match refusal {
                Refusal::Problem(problem) => problem,
                Refusal::Violations(violations) => HostsError::Refused(violations).into(),
            },
        )?;
    hosts.count_refused(ingest.refused.len());
    let accepted = ingest.good.len();
    let stored = hosts.record(&scope, id, ingest.good, None).await?;
    let answer = IngestAnswer { accepted, stored, refused: ingest.refused };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Take a heartbeat in the form of the platform's agents.
///
/// The sample is kept as by `POST /hosts/{id}/metrics`. Agents call `/api/v2/heartbeat`.
#[utoipa::path(post, path = "/v2/heartbeat", tag = "hosts", operation_id = "post_heartbeat",
    request_body = HeartbeatRequest,
    responses((status = 200, description = "It was taken", body = HeartbeatAnswer)))]
pub(in super::super) async fn post_heartbeat(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    Json(HeartbeatRequest { organization_slug, host_id, heartbeat }): Json<HeartbeatRequest>,
) -> Result<Json<HeartbeatAnswer>, Problem> {
    let scope = AccessScope::of(&caller, Some(&organization_slug))?;
    let mut violations = heartbeat.violations();
    let Heartbeat { hostname, agent_version, agent_status, uptime, metrics } = heartbeat;
    match hosts.validate(&metrics) {
        Ok(sample) if violations.is_empty() => {
            let agent = Agent { hostname, agent_version, agent_status, uptime };
            hosts.record(&scope, host_id, vec![sample], Some(agent)).await?;
            Ok(Json(HeartbeatAnswer { success: true }))
        }
        judged => {
            let below = |violation: Violation| {
                Violation::new(format!("/heartbeat/metrics{}", violation.pointer), violation.detail)
            };
            violations.extend(judged.err().unwrap_or_default().into_iter().map(below));
            Err(HostsError::Refused(violations).into())
        }
    }
}
