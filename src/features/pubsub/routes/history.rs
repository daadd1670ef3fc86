//! Reading the messages of channels.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;

use super::super::cloud_event::StoredCloudEvent;
use super::super::error::PubSubError;
use super::super::model::{
    ChannelPath, HistoryQuery, HistoryReply, LatestReply, MAX_PAGE, MAX_WAIT_MS, Order, PAGE_BYTES,
};
use super::super::service::PubSubService;
use crate::events::{HistoryOrder, Keep};
use crate::http::auth::{Caller, Principal};
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::negotiation::preferred;
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

const DEFAULT_PAGE: usize = 100;
/// A list of `CloudEvents`.
const CLOUD_EVENTS: &str = "application/cloudevents-batch+json";

/// Read the history of a channel, or wait for a message.
///
/// With `since` and `epoch`, the page begins after that position, and `recovered` says whether all messages since then are
/// there. With `wait_ms`, the call waits for the next message if there is none: repeat it with `offset` and `epoch` of the
/// response to follow a channel without a WebSocket.
///
/// With `Accept: application/cloudevents-batch+json` the response is a list of `CloudEvents`. Its headers have the position of
/// the channel and what else the JSON says.
#[utoipa::path(get, path = "/pubsub/{channel}/history", tag = "pubsub", operation_id = "get_channel_history",
    params(ChannelPath, HistoryQuery),
    responses((status = 200, description = "A page of messages, and the position of the channel",
        content((HistoryReply = "application/json"), (Vec<StoredCloudEvent> = "application/cloudevents-batch+json")),
        headers(("Channel-Position" = String, description = "Only of CloudEvents: `epoch.offset`, which is also a `cursor`"),
            ("Channel-Recovered" = bool, description = "Only of CloudEvents: `recovered`"),
            ("Next-Cursor" = String, description = "Only of CloudEvents: `next_cursor`")))))]
pub(in super::super) async fn get_history(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<ChannelPath>,
    Query(query): Query<HistoryQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = require_count("limit", query.limit.unwrap_or(DEFAULT_PAGE), MAX_PAGE)?;
    let since = query.position().map_err(|(name, rule)| Problem::query_parameter(name, rule))?;
    pubsub.admit_reader(caller.principal.as_deref(), &path.channel).await?;
    let page = match query.wait_ms {
        Some(wait) if wait > MAX_WAIT_MS => {
            let rule = format!("must be between 0 and {MAX_WAIT_MS}, got {wait}");
            return Err(Problem::query_parameter("wait_ms", rule));
        }
        Some(_) if query.order == Order::Desc => {
            return Err(Problem::query_parameter("wait_ms", "must not be combined with descending order"));
        }
        Some(wait) if wait > 0 => pubsub.wait(&path.channel, since, limit, Duration::from_millis(wait)).await?,
        _ => {
            let order = if query.order == Order::Asc { HistoryOrder::Asc } else { HistoryOrder::Desc };
            pubsub.history(&path.channel, since, order, limit, PAGE_BYTES).await?
        }
    };
    if preferred(&headers, &["application/json", CLOUD_EVENTS]) == CLOUD_EVENTS {
        return Ok(as_cloud_events(page));
    }
    Ok(Json(page).into_response())
}

fn as_cloud_events(page: HistoryReply) -> Response {
    let events: Vec<_> = page.items.iter().filter_map(|text| StoredCloudEvent::parse(text.get())).collect();
    let mut response = Json(events).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CLOUD_EVENTS));
    let position = Some(format!("{}.{}", page.epoch, page.offset));
    let recovered = page.recovered.map(|recovered| recovered.to_string());
    for (name, value) in
        [("channel-position", position), ("channel-recovered", recovered), ("next-cursor", page.next_cursor)]
    {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Read the newest message of each key.
///
/// Only channels that keep the latest messages have them; for others the list is empty.
#[utoipa::path(get, path = "/pubsub/{channel}/latest", tag = "pubsub", operation_id = "get_latest_messages",
    params(ChannelPath),
    responses((status = 200, description = "The messages, in the order of their offsets", body = LatestReply)))]
pub(in super::super) async fn get_latest(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<ChannelPath>,
    NoQuery: NoQuery,
) -> Result<Json<LatestReply>, Problem> {
    let namespace = pubsub.admit_reader(caller.principal.as_deref(), &path.channel).await?;
    if namespace.keep != Keep::Latest {
        return Ok(Json(LatestReply { items: Vec::new() }));
    }
    let messages = pubsub.events.latest(&path.channel).await.map_err(PubSubError::from)?;
    let items = messages.into_iter().filter_map(|text| RawValue::from_string(text).ok()).collect();
    Ok(Json(LatestReply { items }))
}

/// Delete the stored messages of a channel.
///
/// A new epoch begins, so subscribers learn that messages are missing. Offsets go on rising.
#[utoipa::path(delete, path = "/pubsub/{channel}/history", tag = "pubsub", operation_id = "delete_channel_history",
    params(ChannelPath),
    responses((status = 204, description = "The channel has no stored messages")))]
pub(in super::super) async fn delete_history(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<ChannelPath>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    pubsub.clear_history(&path.channel, &caller).await?;
    Ok(NoContent)
}
