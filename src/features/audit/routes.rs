//! The HTTP operations of the audit log.

use std::sync::Arc;

use axum::extract::State;

use super::model::{AuditVerification, EntriesQuery, Item, VerifyQuery};
use super::service::AuditService;
use crate::http::counts::require_count;
use crate::http::extract::{Json, Query};
use crate::http::problem::Problem;
use crate::http::reply::Page;

/// List entries of the audit log, newest first.
///
/// A page looks at 10,000 entries, so it may have fewer than `limit`. The list ends only if `next_cursor` is null.
#[utoipa::path(get, path = "/admin/audit", tag = "audit", operation_id = "list_audit_entries", params(EntriesQuery),
    responses((status = 200, description = "A page of entries", body = Page<Item>)))]
pub(super) async fn list_entries(
    State(audit): State<Arc<AuditService>>,
    Query(query): Query<EntriesQuery>,
) -> Result<Json<Page<Item>>, Problem> {
    require_count("limit", query.limit, 1_000)?;
    Ok(Json(audit.entries(&query).await?))
}

/// Verify the audit log, 10,000 entries at a time.
///
/// Keep `checkpoint` outside of Redis: without one, a log whose end was cut off, or that was replaced by an older copy, looks
/// whole. `audit verify` checks the whole log and checkpoints.
#[utoipa::path(get, path = "/admin/audit/verify", tag = "audit", operation_id = "verify_audit_log", params(VerifyQuery),
    responses((status = 200, description = "What was found", body = AuditVerification)))]
pub(super) async fn verify_log(
    State(audit): State<Arc<AuditService>>,
    Query(query): Query<VerifyQuery>,
) -> Result<Json<AuditVerification>, Problem> {
    Ok(Json(audit.verify(query.from).await?))
}
