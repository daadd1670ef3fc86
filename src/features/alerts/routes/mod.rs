//! The HTTP operations of alerts.

mod stream;

use axum::Extension;
use axum::extract::State;

use super::keys::HISTORY;
use super::model::{AckRequest, Alert, AlertList, HistoryQuery};
use super::service::Shared;
use crate::http::auth::Principal;
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;
pub(super) use stream::*;

/// List the alerts that fire, the latest first.
///
/// The list is this replica's view of all replicas, at most `alerts.interval` old. It is available without Redis.
#[utoipa::path(get, path = "/alerts", tag = "alerts", operation_id = "list_alerts",
    responses((status = 200, description = "The alerts", body = AlertList)))]
pub(super) async fn list_alerts(State(alerts): State<Shared>, NoQuery: NoQuery) -> Json<AlertList> {
    Json(AlertList { items: alerts.alerts() })
}

/// Take charge of an alert until a time.
///
/// It stays in the list, with the name of the caller. A later call replaces an earlier one.
#[utoipa::path(post, path = "/alerts/{id}/ack", tag = "alerts", operation_id = "acknowledge_alert",
    params(("id" = String, Path, description = "The id of an alert that fires", example = "5f0c1d2e3a4b5c6d7e8f901122334455")),
    request_body = AckRequest,
    responses((status = 200, description = "The alert", body = Alert)))]
pub(super) async fn acknowledge_alert(
    State(alerts): State<Shared>,
    Extension(caller): Extension<std::sync::Arc<Principal>>,
    Path(id): Path<String>,
    NoQuery: NoQuery,
    Json(request): Json<AckRequest>,
) -> Result<Json<Alert>, Problem> {
    Ok(Json(alerts.acknowledge(&id, request.until, &caller.id).await?))
}

/// List the beginnings and ends of alerts, newest first. The newest 1,000 are kept.
#[utoipa::path(get, path = "/alerts/history", tag = "alerts", operation_id = "list_alert_history",
    params(HistoryQuery),
    responses((status = 200, description = "The changes", body = AlertList)))]
pub(super) async fn list_alert_history(
    State(alerts): State<Shared>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<AlertList>, Problem> {
    require_count("limit", query.limit, HISTORY)?;
    Ok(Json(AlertList { items: alerts.history(query.limit).await? }))
}
