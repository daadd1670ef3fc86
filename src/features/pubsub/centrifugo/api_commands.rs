//! The commands of the server API with their parameters, as JSON.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::publication::HistoryParams;
use crate::events::{ChannelName, TagMap};
use crate::http::batch_item::BatchItem;
use crate::http::integer;
use crate::http::portable_json::unique_names;

/// Commands that publish a message, which differ in where they publish it.
macro_rules! publications {
    ($($(#[$attribute:meta])* $name:ident { $(#[$target:meta])* $field:ident: $type:ty })+) => {$(
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$attribute])*
        pub(in super::super) struct $name {
            $(#[$target])*
            pub $field: $type,
            /// Any JSON. On a channel with a schema: `{"message_type", "data"}`.
            #[schema(value_type = serde_json::Value)]
            pub data: Box<RawValue>,
            /// Up to 16 short labels, by which subscribers filter.
            #[serde(default, deserialize_with = "unique_names")]
            #[schema(value_type = std::collections::BTreeMap<String, String>)]
            pub tags: TagMap,
            /// A repetition with this key within five minutes is not published to a channel again.
            #[serde(default)]
            #[schema(min_length = 1, max_length = 128)]
            pub idempotency_key: Option<String>,
            /// The message is not published to a channel that has a message with this version or a later one.
            #[serde(default, deserialize_with = "integer::unsigned_if_given")]
            #[schema(maximum = 9_007_199_254_740_991_u64)]
            pub version: Option<u64>,
        }
    )+};
}

publications! {
    /// A message to publish.
    #[schema(as = ChannelApiPublishRequest,
        example = json!({ "channel": "orderbook:ENERGY", "data": { "best_bid": "3.41" } }))]
    PublishParams {
        #[schema(value_type = String)]
        channel: ChannelName
    }

    /// A message to publish to several channels.
    #[schema(as = ChannelApiBroadcastRequest,
        example = json!({ "channels": ["orderbook:ENERGY", "orderbook:REC"], "data": { "is_open": true } }))]
    BroadcastParams {
        /// At most 1,000. Each receives the message, at most 16 MiB in all.
        #[schema(value_type = Vec<String>, min_items = 1, max_items = 1_000)]
        channels: Vec<BatchItem<ChannelName>>
    }
}

/// A channel.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiRequest, example = json!({ "channel": "orderbook:ENERGY" }))]
pub(in super::super) struct ChannelParams {
    #[schema(value_type = String)]
    pub channel: ChannelName,
}

/// The connections to close.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiDisconnectRequest, example = json!({ "user": "user-7" }))]
pub(in super::super) struct DisconnectParams {
    /// The subject of the clients' tokens, or the id of their API key.
    #[schema(min_length = 1, max_length = 256)]
    pub user: String,
    /// One connection; all of the user if absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub client: Option<String>,
}

/// The subscriptions to end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiUnsubscribeRequest, example = json!({ "user": "user-7", "channel": "market:events" }))]
pub(in super::super) struct UnsubscribeParams {
    /// The subject of the clients' tokens, or the id of their API key.
    #[schema(min_length = 1, max_length = 256)]
    pub user: String,
    #[schema(value_type = String)]
    pub channel: ChannelName,
    /// One connection; all of the user if absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub client: Option<String>,
}

/// Which channels to list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiListRequest, example = json!({ "pattern": "market:*" }))]
pub(in super::super) struct ChannelsParams {
    /// A channel, or the beginning of names followed by `*`; absent: all.
    #[serde(default)]
    #[schema(max_length = 201)]
    pub pattern: Option<String>,
}

/// No parameters.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiInfoRequest, example = json!({}))]
pub(in super::super) struct InfoParams {}

/// Commands to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiBatchRequest,
    example = json!({ "commands": [{ "publish": { "channel": "orderbook:ENERGY", "data": { "best_bid": "3.41" } } }] }))]
pub(in super::super) struct BatchParams {
    /// At most 1,000 objects that name one command each. They run in their order.
    #[schema(value_type = Vec<serde_json::Value>, min_items = 1, max_items = 1_000)]
    pub commands: Vec<BatchItem<ApiCommand>>,
    /// Without effect: the commands always run in their order.
    #[serde(default)]
    #[expect(dead_code, reason = "clients send it")]
    pub parallel: bool,
}

impl BatchParams {
    /// Whether a command has an effect, so that a repetition must not run it again.
    pub(super) fn writes(&self) -> bool {
        self.commands.iter().any(|item| matches!(item, BatchItem::Valid(command) if command.writes()))
    }
}

/// A command with its parameters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum ApiCommand {
    Publish(PublishParams),
    Broadcast(BroadcastParams),
    History(HistoryParams),
    HistoryRemove(ChannelParams),
    Presence(ChannelParams),
    PresenceStats(ChannelParams),
    Disconnect(DisconnectParams),
    Unsubscribe(UnsubscribeParams),
    Channels(ChannelsParams),
    Info(InfoParams),
}

impl ApiCommand {
    const fn writes(&self) -> bool {
        match self {
            Self::Publish(_)
            | Self::Broadcast(_)
            | Self::HistoryRemove(_)
            | Self::Disconnect(_)
            | Self::Unsubscribe(_) => true,
            Self::History(_) | Self::Presence(_) | Self::PresenceStats(_) | Self::Channels(_) | Self::Info(_) => false,
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Publish(_) => "publish",
            Self::Broadcast(_) => "broadcast",
            Self::History(_) => "history",
            Self::HistoryRemove(_) => "history_remove",
            Self::Presence(_) => "presence",
            Self::PresenceStats(_) => "presence_stats",
            Self::Disconnect(_) => "disconnect",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Channels(_) => "channels",
            Self::Info(_) => "info",
        }
    }
}
