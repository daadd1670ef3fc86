//! Groups of consumers and their dead letters.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::error::StreamError;
use super::super::group_model::{
    ACK_TIMEOUTS, DeadLetter, DeadLettersQuery, GroupInfo, GroupList, GroupRequest, MAX_DELIVERIES, RedriveRequest,
    RedrivenReply, ReplayRequest,
};
use super::super::model::{GroupPath, MAX_CLAIM, MAX_VERSION, StreamPath, UnusedGroupPath};
use super::super::service::StreamService;
use super::page_limit;
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;
use crate::http::reply::{NoContent, Page};

/// Create a group of consumers, or change its settings.
///
/// The consumers of a group share the events of the stream: each event is delivered to one of them until it is acknowledged.
/// An existing group stays where it is; `start` counts only for a new one.
#[utoipa::path(put, path = "/streams/{stream}/groups/{group}", tag = "streams", operation_id = "put_stream_group",
    params(GroupPath), request_body = GroupRequest,
    responses((status = 200, description = "The group after the change", body = GroupInfo),
              (status = 201, description = "The group that this call has created", body = GroupInfo)))]
pub(in super::super) async fn put_group(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<GroupPath>,
    NoQuery: NoQuery,
    Json(request): Json<GroupRequest>,
) -> Result<Response, Problem> {
    if !ACK_TIMEOUTS.contains(&request.ack_timeout_ms) {
        let rule = format!("must be between 100 and 86400000, got {}", request.ack_timeout_ms);
        return Err(StreamError::invalid("/ack_timeout_ms", rule).into());
    }
    if !(1..=MAX_DELIVERIES).contains(&request.max_deliveries) {
        let rule = format!("must be between 1 and {MAX_DELIVERIES}, got {}", request.max_deliveries);
        return Err(StreamError::invalid("/max_deliveries", rule).into());
    }
    let created = streams.put_group(&path.stream, &path.group, &request).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let group = streams.group(&path.stream, &path.group).await.map_err(StreamError::applied)?;
    Ok((status, Json(group)).into_response())
}

/// Describe a group.
#[utoipa::path(get, path = "/streams/{stream}/groups/{group}", tag = "streams", operation_id = "get_stream_group",
    params(GroupPath),
    responses((status = 200, description = "The group", body = GroupInfo)))]
pub(in super::super) async fn get_group(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<GroupPath>,
    NoQuery: NoQuery,
) -> Result<Json<GroupInfo>, Problem> {
    Ok(Json(streams.group(&path.stream, &path.group).await?))
}

/// List the groups of a stream.
#[utoipa::path(get, path = "/streams/{stream}/groups", tag = "streams", operation_id = "list_stream_groups",
    params(StreamPath),
    responses((status = 200, description = "The groups, by name", body = GroupList)))]
pub(in super::super) async fn list_groups(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<StreamPath>,
    NoQuery: NoQuery,
) -> Result<Json<GroupList>, Problem> {
    Ok(Json(GroupList { items: streams.groups(&path.stream).await? }))
}

/// Delete a group with everything that it holds.
#[utoipa::path(delete, path = "/streams/{stream}/groups/{group}", tag = "streams", operation_id = "delete_stream_group",
    params(UnusedGroupPath),
    responses((status = 204, description = "There is no such group any more")))]
pub(in super::super) async fn delete_group(
    State(streams): State<Arc<StreamService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<UnusedGroupPath>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    streams.delete_group(&path.stream, &path.group, &caller.id).await?;
    Ok(NoContent)
}

/// List the dead letters of a group.
///
/// An event that was delivered `max_deliveries` times without acknowledgement is a dead letter and is not delivered any more.
#[utoipa::path(get, path = "/streams/{stream}/groups/{group}/dead-letters", tag = "streams",
    operation_id = "list_dead_letters", params(GroupPath, DeadLettersQuery),
    responses((status = 200, description = "A page of dead letters, by version", body = Page<DeadLetter>)))]
pub(in super::super) async fn list_dead_letters(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<GroupPath>,
    Query(query): Query<DeadLettersQuery>,
) -> Result<Json<Page<DeadLetter>>, Problem> {
    let limit = page_limit(query.limit)?;
    let after = query.cursor.unwrap_or_default();
    if after > MAX_VERSION {
        return Err(Problem::query_parameter("cursor", "must be the next_cursor of a page"));
    }
    Ok(Json(streams.dead_letters(&path.stream, &path.group, after, limit).await?))
}

/// Deliver dead letters again.
#[utoipa::path(post, path = "/streams/{stream}/groups/{group}/dead-letters/redrive", tag = "streams",
    operation_id = "redrive_dead_letters", params(GroupPath), request_body = RedriveRequest,
    responses((status = 200, description = "How many are delivered again", body = RedrivenReply)))]
pub(in super::super) async fn redrive_dead_letters(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<GroupPath>,
    NoQuery: NoQuery,
    Json(request): Json<RedriveRequest>,
) -> Result<Json<RedrivenReply>, Problem> {
    if let Some(versions) = &request.versions {
        if !(1..=MAX_CLAIM).contains(&versions.len()) {
            let rule = format!("must have 1 to {MAX_CLAIM} items, got {}", versions.len());
            return Err(StreamError::invalid("/versions", rule).into());
        }
        if let Some(version) = versions.iter().find(|version| !(1..=MAX_VERSION).contains(*version)) {
            let rule = format!("must have versions between 1 and {MAX_VERSION}, got {version}");
            return Err(StreamError::invalid("/versions", rule).into());
        }
    }
    let versions = request.versions.unwrap_or_default();
    Ok(Json(streams.redrive(&path.stream, &path.group, &versions).await?))
}

/// Deliver the events of the stream to a group again.
///
/// All receipts of the group become stale. Dead letters stay.
#[utoipa::path(post, path = "/streams/{stream}/groups/{group}/replay", tag = "streams", operation_id = "replay_group",
    params(GroupPath), request_body = ReplayRequest,
    responses((status = 200, description = "The group after the change", body = GroupInfo)))]
pub(in super::super) async fn replay_group(
    State(streams): State<Arc<StreamService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<GroupPath>,
    NoQuery: NoQuery,
    Json(ReplayRequest { from_version }): Json<ReplayRequest>,
) -> Result<Json<GroupInfo>, Problem> {
    if !(1..=MAX_VERSION).contains(&from_version) {
        let rule = format!("must be between 1 and {MAX_VERSION}, got {from_version}");
        return Err(StreamError::invalid("/from_version", rule).into());
    }
    Ok(Json(streams.replay(&path.stream, &path.group, from_version, &caller.id).await?))
}
