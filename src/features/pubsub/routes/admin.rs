//! Inspecting channels, and controlling their clients.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::admin_model::{
    ChannelInfo, ChannelsQuery, MAX_CHANNELS, NamespaceInfo, NamespacesReply, TokenReply, TokenRequest,
};
use super::super::control::Order;
use super::super::error::PubSubError;
use super::super::model::ChannelPath;
use super::super::service::PubSubService;
use super::super::{READ, WRITE};
use crate::events::{ChannelName, Permission};
use crate::http::auth::Principal;
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;
use crate::http::reply::{Created, NoContent, Page};

/// List the rules of all channels.
#[utoipa::path(get, path = "/pubsub/namespaces", tag = "pubsub", operation_id = "list_channel_namespaces",
    responses((status = 200, description = "The namespaces, in the order of the configuration", body = NamespacesReply)))]
pub(in super::super) async fn list_namespaces(
    State(pubsub): State<Arc<PubSubService>>,
    NoQuery: NoQuery,
) -> Result<Json<NamespacesReply>, Problem> {
    let text = |permissions: &[Permission]| permissions.iter().map(ToString::to_string).collect();
    let info = |namespace: &Arc<crate::events::Namespace>| NamespaceInfo {
        pattern: namespace.pattern.as_str().to_owned(),
        keep: namespace.keep.as_str(),
        history_size: namespace.history_size,
        history_ttl_ms: namespace.history_ttl.as_millis(),
        schema: namespace.schema.clone(),
        subscribe: text(&namespace.subscribe),
        publish: text(&namespace.publish),
        presence: namespace.presence,
    };
    Ok(Json(NamespacesReply { items: pubsub.events.namespaces().iter().map(info).collect() }))
}

/// List the channels with subscribers at this replica.
///
/// The list has the channels that the credential may read.
#[utoipa::path(get, path = "/pubsub/channels", tag = "pubsub", operation_id = "list_channels",
    params(ChannelsQuery),
    responses((status = 200, description = "A page of the channels, by name", body = Page<ChannelInfo>)))]
pub(in super::super) async fn list_channels(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<ChannelsQuery>,
) -> Result<Json<Page<ChannelInfo>>, Problem> {
    for (name, text) in [("prefix", query.prefix.as_str()), ("cursor", query.cursor.as_deref().unwrap_or_default())] {
        let length = text.chars().count();
        if length > 200 {
            return Err(Problem::query_parameter(name, format!("must have at most 200 characters, got {length}")));
        }
    }
    let limit = require_count("limit", query.limit, MAX_CHANNELS)?;
    let info = |channel: Arc<super::super::channel::Channel>| ChannelInfo {
        channel: channel.name.clone(),
        subscribers: channel.subscribers(),
    };
    let mut open = pubsub.channels.list(&query.prefix);
    open.retain(|channel| caller.may_access(READ, channel.name.as_str()));
    if let Some(cursor) = &query.cursor {
        open.retain(|channel| channel.name.as_str() > cursor.as_str());
    }
    let is_last = open.len() <= limit;
    open.truncate(limit);
    let next_cursor = open.last().filter(|_| !is_last).map(|last| last.name.to_string());
    Ok(Json(Page { items: open.into_iter().map(info).collect(), next_cursor }))
}

/// Issue a channel token.
///
/// The token permits its bearer to subscribe to channels whose namespace has the permission `token`. Pass it as `token` of the
/// command `subscribe`. The caller must have the scope for all channels, or for each named channel.
#[utoipa::path(post, path = "/pubsub/tokens", tag = "pubsub", operation_id = "create_channel_token",
    request_body = TokenRequest,
    responses((status = 201, description = "The token", body = TokenReply)))]
pub(in super::super) async fn create_token(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    Json(TokenRequest { channels, subject, ttl_ms }): Json<TokenRequest>,
) -> Result<Created<TokenReply>, Problem> {
    if !(1..=32).contains(&channels.len()) {
        return Err(Problem::body_field("/channels", format!("must have 1 to 32 items, got {}", channels.len())));
    }
    for (at, pattern) in channels.iter().enumerate() {
        let name = pattern.strip_suffix('*').map_or_else(|| pattern.clone(), |prefix| format!("{prefix}x"));
        ChannelName::parse(&name).map_err(|rule| Problem::body_field(&format!("/channels/{at}"), rule))?;
        caller.require_key(WRITE, pattern)?;
    }
    if let Some(length) =
        subject.as_ref().map(|subject| subject.chars().count()).filter(|count| !(1..=256).contains(count))
    {
        return Err(Problem::body_field("/subject", format!("must have 1 to 256 characters, got {length}")));
    }
    if !(1_000..=86_400_000).contains(&ttl_ms) {
        return Err(Problem::body_field("/ttl_ms", format!("must be between 1000 and 86400000, got {ttl_ms}")));
    }
    let tokens = pubsub.tokens.as_ref().ok_or(PubSubError::TokensDisabled)?;
    let (token, expires_at) =
        tokens.sign(channels, subject, pubsub.clock.now(), std::time::Duration::from_millis(ttl_ms))?;
    Ok(Created(TokenReply { token, expires_at }))
}

/// Disconnect a subject's clients at all replicas.
///
/// The clients may connect again with a valid credential. The response says that the order was sent to the replicas.
#[utoipa::path(post, path = "/pubsub/disconnect", tag = "pubsub", operation_id = "disconnect_channel_client",
    request_body(content = Order, example = json!({ "subject": "user-7" })),
    responses((status = 204, description = "The order was sent")))]
pub(in super::super) async fn disconnect(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    Json(order): Json<Order>,
) -> Result<NoContent, Problem> {
    if order.channel.is_some() {
        return Err(Problem::body_field("/channel", "is only allowed for POST /pubsub/unsubscribe"));
    }
    pubsub.order(order, &caller).await?;
    Ok(NoContent)
}

/// End a subject's subscriptions to a channel at all replicas.
#[utoipa::path(post, path = "/pubsub/unsubscribe", tag = "pubsub", operation_id = "unsubscribe_channel_client",
    request_body(content = Order, example = json!({ "subject": "user-7", "channel": "market:events" })),
    responses((status = 204, description = "The order was sent")))]
pub(in super::super) async fn unsubscribe(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    Json(order): Json<Order>,
) -> Result<NoContent, Problem> {
    if order.channel.is_none() {
        return Err(Problem::body_field("/channel", "is required"));
    }
    pubsub.order(order, &caller).await?;
    Ok(NoContent)
}

/// Forget the fencing tokens that a channel has seen.
///
/// The next message with a `Fencing-Token` is accepted, even if a former holder of the lock sends it: make sure that there is
/// none. The audit log records the call.
#[utoipa::path(delete, path = "/fences/pubsub/{channel}", tag = "pubsub", operation_id = "reset_channel_fence",
    params(ChannelPath), responses((status = 204, description = "The channel remembers no token")))]
pub(in super::super) async fn reset_channel_fence(
    State(pubsub): State<Arc<PubSubService>>,
    Path(path): Path<ChannelPath>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    pubsub.events.reset_fence(&path.channel, &caller.id).await?;
    Ok(NoContent)
}
