//! What administrators do.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::model::{Flushed, HostPath};
use super::super::service::HostService;
use super::OrganisationQuery;
use crate::features::hosts::access_scope::AccessScope;
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

/// Write everything that waits in this replica to Redis now.
///
/// What cannot be written goes on waiting.
#[utoipa::path(post, path = "/hosts/flush", tag = "hosts", operation_id = "flush_host_metrics",
    responses((status = 200, description = "It is written", body = Flushed)))]
pub(in super::super) async fn flush_host_metrics(
    State(hosts): State<HostService>,
    NoQuery: NoQuery,
) -> Result<Json<Flushed>, Problem> {
    Ok(Json(hosts.flush().await?))
}

/// Delete everything that is kept of a host.
///
/// The host belongs to nobody then. What another replica holds in memory may still be written; agents should be stopped
/// first.
#[utoipa::path(delete, path = "/hosts/{id}/metrics", tag = "hosts", operation_id = "delete_host_metrics",
    params(HostPath, OrganisationQuery),
    responses((status = 204, description = "It is gone")))]
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
