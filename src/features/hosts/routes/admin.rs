//! Administration: flushing samples and deleting hosts.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::model::{Flushed, HostPath};
use super::super::service::HostService;
use super::super::tenancy::AccessScope;
use super::OrganisationQuery;
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

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
/// Afterwards the host has no owner. Another replica may still write samples that it holds in memory; stop the host's
/// agents first.
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
