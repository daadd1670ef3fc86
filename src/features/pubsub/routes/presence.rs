//! Who is subscribed to a channel.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::model::{ChannelPath, PresenceReply};
use super::super::service::PubSubService;
use crate::http::auth::Caller;
use crate::http::extract::{Json, NoQuery, Path};
use crate::http::problem::Problem;

/// List the clients that are subscribed to a channel.
///
/// The list has the connections of all replicas; those of other replicas may be a second old. Only channels whose namespace
/// has `presence` show them, to callers that may subscribe.
#[utoipa::path(get, path = "/pubsub/{channel}/presence", tag = "pubsub", operation_id = "get_channel_presence",
    params(ChannelPath),
    responses((status = 200, description = "The subscribed clients", body = PresenceReply)))]
pub(in super::super) async fn get_presence(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<ChannelPath>,
    NoQuery: NoQuery,
) -> Result<Json<PresenceReply>, Problem> {
    pubsub.admit_reader(caller.principal.as_deref(), &path.channel).await?;
    Ok(Json(pubsub.presence(&path.channel, true).await?))
}

/// Count the clients that are subscribed to a channel.
#[utoipa::path(get, path = "/pubsub/{channel}/presence/stats", tag = "pubsub", operation_id = "count_channel_presence",
    params(ChannelPath),
    responses((status = 200, description = "The numbers of clients and subjects", body = PresenceReply)))]
pub(in super::super) async fn get_presence_stats(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<ChannelPath>,
    NoQuery: NoQuery,
) -> Result<Json<PresenceReply>, Problem> {
    pubsub.admit_reader(caller.principal.as_deref(), &path.channel).await?;
    Ok(Json(pubsub.presence(&path.channel, false).await?))
}
