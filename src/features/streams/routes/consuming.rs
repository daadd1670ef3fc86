//! Consuming events: claim, acknowledge, return, extend.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::super::error::StreamError;
use super::super::group_model::{
    ClaimReply, ClaimRequest, MAX_DELAY_MS, NackRequest, Receipt, ReceiptsRequest, SettledReply,
};
use super::super::model::{GroupPath, MAX_CLAIM, MAX_WAIT_MS};
use super::super::scripts::Verb;
use super::super::service::StreamService;
use crate::http::extract::{Json, NoQuery, Path};
use crate::http::idempotent_operation::{FirstResponse, Repeated, Unrecorded};
use crate::http::problem::Problem;

/// Claim events for a consumer.
///
/// Events that were not acknowledged in time come first, then new ones. Acknowledge each with its receipt before
/// `ack_timeout_ms` have passed; otherwise it is delivered again, perhaps to another consumer. An event may therefore be handled
/// more than once. With `wait_ms`, the call waits for an event if there is none.
///
/// With an `Idempotency-Key`, a repetition receives the events of the first request while the consumer holds all of them. After
/// that, it claims events as a new request does.
#[utoipa::path(post, path = "/streams/{stream}/groups/{group}/claim", tag = "streams", operation_id = "claim_events",
    params(GroupPath), request_body = ClaimRequest,
    responses((status = 200, description = "The events, at most `count` and about 1 MiB", body = ClaimReply)))]
pub(in super::super) async fn claim_events(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<GroupPath>,
    NoQuery: NoQuery,
    first: FirstResponse,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, Problem> {
    let limit = u64::try_from(MAX_CLAIM).unwrap_or_default();
    if !(1..=limit).contains(&request.count) {
        let rule = format!("must be between 1 and {limit}, got {}", request.count);
        return Err(StreamError::invalid("/count", rule).into());
    }
    if request.wait_ms > MAX_WAIT_MS {
        let rule = format!("must be between 0 and {MAX_WAIT_MS}, got {}", request.wait_ms);
        return Err(StreamError::invalid("/wait_ms", rule).into());
    }
    if let Some(first) = first.json::<ClaimReply>()
        && streams.still_holds(&path.stream, &path.group, &first).await?
    {
        return Ok((Extension(Repeated), Json(ClaimReply { lag: None, ..first })).into_response());
    }
    let claimed = streams.claim(&path.stream, &path.group, &request).await?;
    let nothing = claimed.items.is_empty().then_some(Extension(Unrecorded));
    Ok((nothing, Json(claimed)).into_response())
}

/// Acknowledge delivered events.
///
/// A stale receipt belongs to an earlier delivery: nothing is done with it. If all receipts are stale, the response is 409
/// `receipt-stale`.
#[utoipa::path(post, path = "/streams/{stream}/groups/{group}/ack", tag = "streams", operation_id = "acknowledge_events",
    params(GroupPath), request_body = ReceiptsRequest,
    responses((status = 200, description = "How many are acknowledged", body = SettledReply)))]
pub(in super::super) async fn acknowledge_events(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<GroupPath>,
    NoQuery: NoQuery,
    Json(ReceiptsRequest { receipts }): Json<ReceiptsRequest>,
) -> Result<Json<SettledReply>, Problem> {
    settle(&streams, &path, Verb::Ack, &receipts).await
}

/// Return delivered events.
///
/// They are delivered again after `delay_ms`. The delivery counts.
#[utoipa::path(post, path = "/streams/{stream}/groups/{group}/nack", tag = "streams", operation_id = "return_events",
    params(GroupPath), request_body = NackRequest,
    responses((status = 200, description = "How many are returned", body = SettledReply)))]
pub(in super::super) async fn return_events(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<GroupPath>,
    NoQuery: NoQuery,
    Json(NackRequest { receipts, delay_ms }): Json<NackRequest>,
) -> Result<Json<SettledReply>, Problem> {
    if delay_ms > MAX_DELAY_MS {
        let rule = format!("must be between 0 and {MAX_DELAY_MS}, got {delay_ms}");
        return Err(StreamError::invalid("/delay_ms", rule).into());
    }
    settle(&streams, &path, Verb::Nack { delay_ms }, &receipts).await
}

/// Hold delivered events longer.
///
/// Their `ack_timeout_ms` begins again.
#[utoipa::path(post, path = "/streams/{stream}/groups/{group}/extend", tag = "streams", operation_id = "extend_events",
    params(GroupPath), request_body = ReceiptsRequest,
    responses((status = 200, description = "How many are held longer", body = SettledReply)))]
pub(in super::super) async fn extend_events(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<GroupPath>,
    NoQuery: NoQuery,
    Json(ReceiptsRequest { receipts }): Json<ReceiptsRequest>,
) -> Result<Json<SettledReply>, Problem> {
    settle(&streams, &path, Verb::Extend, &receipts).await
}

async fn settle(
    streams: &StreamService,
    path: &GroupPath,
    verb: Verb,
    receipts: &[Receipt],
) -> Result<Json<SettledReply>, Problem> {
    if !(1..=MAX_CLAIM).contains(&receipts.len()) {
        let rule = format!("must have 1 to {MAX_CLAIM} items, got {}", receipts.len());
        return Err(StreamError::invalid("/receipts", rule).into());
    }
    Ok(Json(streams.settle(&path.stream, &path.group, verb, receipts).await?))
}
