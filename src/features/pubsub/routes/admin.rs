//! Inspecting channels.

use std::sync::Arc;

use axum::extract::State;

use super::super::model::{ChannelInfo, ChannelsQuery, ChannelsReply, NamespaceInfo, NamespacesReply};
use super::super::service::PubSubService;
use crate::events::Permission;
use crate::http::extract::{Json, NoQuery, Query};
use crate::http::problem::Problem;

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
#[utoipa::path(get, path = "/pubsub/channels", tag = "pubsub", operation_id = "list_channels",
    params(ChannelsQuery),
    responses((status = 200, description = "The channels, by name", body = ChannelsReply)))]
pub(in super::super) async fn list_channels(
    State(pubsub): State<Arc<PubSubService>>,
    Query(query): Query<ChannelsQuery>,
) -> Result<Json<ChannelsReply>, Problem> {
    let info = |channel: Arc<super::super::channel::Channel>| ChannelInfo {
        channel: channel.name.clone(),
        subscribers: channel.subscribers(),
    };
    Ok(Json(ChannelsReply { items: pubsub.channels.list(&query.prefix).into_iter().map(info).collect() }))
}
