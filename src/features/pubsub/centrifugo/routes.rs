//! The WebSocket for clients of Centrifugo, and the server API.

use std::sync::Arc;

use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequest, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::super::service::PubSubService;
use super::super::socket;
use super::api::ServerApi;
use super::api_commands::{
    ApiCommand, BatchParams, BroadcastParams, ChannelParams, ChannelsParams, DisconnectParams, InfoParams,
    PublishParams, UnsubscribeParams,
};
use super::error::CommandError;
use super::protocol::Centrifugo;
use super::publication::HistoryParams;
use crate::http::auth::{Caller, Principal};
use crate::http::extract::{Json, NoQuery, OpenConnection, Query, collect, parse_json};
use crate::http::idempotent_operation::Unrecorded;
use crate::http::problem::Problem;

/// Others are ignored, as Centrifugo does: clients send the version of their protocol.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct SocketQuery {
    /// Send pings as control frames of the WebSocket instead of `{}`.
    #[serde(default)]
    #[param(required = false)]
    cf_ws_frame_ping_pong: bool,
    /// The form of the messages.
    #[serde(default, rename = "format")]
    #[param(inline, required = false)]
    _format: SocketFormat,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SocketFormat {
    #[default]
    Json,
}

/// Open a WebSocket for a client of Centrifugo.
///
/// The socket speaks Centrifugo's JSON protocol, so its client libraries work without changes. The first command is
/// `connect` with a token, unless the handshake has a credential. The page about clients of Centrifugo says what differs.
#[utoipa::path(get, path = "/connection/websocket", tag = "pubsub", operation_id = "open_centrifugo_socket",
    params(SocketQuery), responses((status = 101, description = "The socket is open")))]
pub(in super::super) async fn open_centrifugo_socket(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Caller>,
    open: Option<Extension<OpenConnection>>,
    Query(query): Query<SocketQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let protocol = Centrifugo::new(query.cf_ws_frame_ping_pong);
    socket::upgrade(&pubsub, caller, open.map(|Extension(open)| open), &headers, upgrade, protocol).await
}

/// The result of a command, or the reason why it failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelApiReply)]
pub(in super::super) struct ApiReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<CommandError>,
}

impl From<Result<Box<RawValue>, CommandError>> for ApiReply {
    fn from(result: Result<Box<RawValue>, CommandError>) -> Self {
        match result {
            Ok(result) => Self { result: Some(result), error: None },
            Err(error) => Self { result: None, error: Some(error) },
        }
    }
}

impl IntoResponse for ApiReply {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// The results of a batch, one per command: an object with the result under the name of the command, or with `error`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelApiBatchReply)]
pub(in super::super) struct ApiBatchReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    replies: Option<Vec<Box<RawValue>>>,
    /// Why no command ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<CommandError>,
}

/// The parameters of a command. What is wrong with them is an error of the command, with status 200.
pub(in super::super) struct Params<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Params<T> {
    type Rejection = ApiReply;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiReply> {
        // Centrifugo reads JSON whatever the `Content-Type` is, which is that of a form if the client is curl.
        let params = match collect(request).await.and_then(|body| parse_json(&body)) {
            Ok(params) => params,
            Err(problem) => return Err(Err(CommandError::from(problem)).into()),
        };
        Ok(Self(params))
    }
}

macro_rules! commands {
    ($($(#[$attribute:meta])* $name:ident($command:ident: $params:ty);)+) => {$(
        $(#[$attribute])*
        pub(in super::super) async fn $name(
            State(pubsub): State<Arc<PubSubService>>,
            Extension(caller): Extension<Arc<Principal>>,
            NoQuery: NoQuery,
            Params(params): Params<$params>,
        ) -> ApiReply {
            ServerApi { pubsub: &pubsub, caller: &caller }.run(ApiCommand::$command(params)).await.into()
        }
    )+};
}

commands! {
    /// Publish to a channel, as Centrifugo's server API does.
    ///
    /// Errors other than those of the credential have status 200 and a member `error`.
    #[utoipa::path(post, path = "/publish", tag = "pubsub", operation_id = "publish_as_centrifugo",
        request_body = PublishParams, responses((status = 200, description = "The position of the message", body = ApiReply)))]
    publish_as_centrifugo(Publish: PublishParams);

    /// Publish to several channels, as Centrifugo's server API does.
    #[utoipa::path(post, path = "/broadcast", tag = "pubsub", operation_id = "broadcast_as_centrifugo",
        request_body = BroadcastParams, responses((status = 200, description = "A response per channel", body = ApiReply)))]
    broadcast_as_centrifugo(Broadcast: BroadcastParams);

    /// Read the history of a channel, as Centrifugo's server API does.
    #[utoipa::path(post, path = "/history", tag = "pubsub", operation_id = "read_history_as_centrifugo",
        request_body = HistoryParams,
        responses((status = 200, description = "The messages, and the position of the channel", body = ApiReply)))]
    read_history_as_centrifugo(History: HistoryParams);

    /// Delete the history of a channel, as Centrifugo's server API does.
    #[utoipa::path(post, path = "/history_remove", tag = "pubsub", operation_id = "remove_history_as_centrifugo",
        request_body = ChannelParams, responses((status = 200, description = "The history is empty", body = ApiReply)))]
    remove_history_as_centrifugo(HistoryRemove: ChannelParams);

    /// List the clients of a channel, as Centrifugo's server API does.
    #[utoipa::path(post, path = "/presence", tag = "pubsub", operation_id = "get_presence_as_centrifugo",
        request_body = ChannelParams, responses((status = 200, description = "The clients of all replicas", body = ApiReply)))]
    get_presence_as_centrifugo(Presence: ChannelParams);

    /// Count the clients of a channel, as Centrifugo's server API does.
    #[utoipa::path(post, path = "/presence_stats", tag = "pubsub", operation_id = "count_presence_as_centrifugo",
        request_body = ChannelParams, responses((status = 200, description = "The numbers of clients and users", body = ApiReply)))]
    count_presence_as_centrifugo(PresenceStats: ChannelParams);

    /// Disconnect a user's clients at all replicas, as Centrifugo's server API does.
    #[utoipa::path(post, path = "/disconnect", tag = "pubsub", operation_id = "disconnect_as_centrifugo",
        request_body = DisconnectParams, responses((status = 200, description = "The order was sent", body = ApiReply)))]
    disconnect_as_centrifugo(Disconnect: DisconnectParams);

    /// End a user's subscriptions to a channel at all replicas, as Centrifugo's server API does.
    #[utoipa::path(post, path = "/unsubscribe", tag = "pubsub", operation_id = "unsubscribe_as_centrifugo",
        request_body = UnsubscribeParams, responses((status = 200, description = "The order was sent", body = ApiReply)))]
    unsubscribe_as_centrifugo(Unsubscribe: UnsubscribeParams);

    /// List the channels with subscribers at this replica, as Centrifugo's server API does.
    #[utoipa::path(post, path = "/channels", tag = "pubsub", operation_id = "list_channels_as_centrifugo",
        request_body = ChannelsParams, responses((status = 200, description = "The channels", body = ApiReply)))]
    list_channels_as_centrifugo(Channels: ChannelsParams);

    /// Count connections, subscriptions and channels of this replica, as Centrifugo's server API does.
    #[utoipa::path(post, path = "/info", tag = "pubsub", operation_id = "get_info_as_centrifugo",
        request_body = InfoParams, responses((status = 200, description = "This replica as the only node", body = ApiReply)))]
    get_info_as_centrifugo(Info: InfoParams);
}

/// Run commands of Centrifugo's server API.
///
/// Each command needs the scope that it needs by itself.
#[utoipa::path(post, path = "/batch", tag = "pubsub", operation_id = "run_centrifugo_batch",
    request_body = BatchParams,
    responses((status = 200, description = "One reply per command, or `error`", body = ApiBatchReply)))]
pub(in super::super) async fn run_centrifugo_batch(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(Caller { principal, .. }): Extension<Caller>,
    NoQuery: NoQuery,
    Params(params): Params<BatchParams>,
) -> Result<(Option<Extension<Unrecorded>>, Json<ApiBatchReply>), ApiReply> {
    let Some(caller) = principal else { return Err(Err(CommandError::UNAUTHORIZED).into()) };
    let only_reads = (!params.writes()).then_some(Extension(Unrecorded));
    let replies = ServerApi { pubsub: &pubsub, caller: &caller }.run_batch(params).await;
    match replies {
        Ok(replies) => Ok((only_reads, Json(ApiBatchReply { replies: Some(replies), error: None }))),
        Err(error) => Err(Err(error).into()),
    }
}
