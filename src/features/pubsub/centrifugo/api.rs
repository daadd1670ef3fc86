//! The commands of the server API.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::access::Verb;
use super::super::error::PubSubError;
use super::super::model::{MAX_BATCH, PublishReply};
use super::super::service::PubSubService;
use super::super::{READ, WRITE};
use super::error::CommandError;
use super::publication::{HistoryParams, publish_request, to_raw};
use crate::events::{ChannelName, EventsError, HistoryOrder, Message, TagMap};
use crate::http::auth::{ADMIN, Principal};
use crate::http::batch_item::BatchItem;
use crate::http::integer;
use crate::random;

/// The most bytes of one broadcast, over all its channels.
const MAX_BROADCAST: usize = 16 << 20;
/// A batch runs no further commands after this many bytes of results.
const MAX_BATCH_REPLY: usize = 1 << 20;

/// Distinguishes this process from others.
static UID: LazyLock<String> = LazyLock::new(random::unique_text);

/// A message to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiPublishRequest,
    example = json!({ "channel": "orderbook:ENERGY", "data": { "best_bid": "3.41" } }))]
pub(in super::super) struct PublishParams {
    #[schema(value_type = String)]
    pub channel: ChannelName,
    /// Any JSON. On a channel with a schema: `{"message_type", "data"}`.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
    /// Up to 16 short labels, by which subscribers filter.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub tags: TagMap,
    /// A repetition with this key within five minutes is not published again.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub idempotency_key: Option<String>,
    /// If the channel has a message with this version or a later one, the message is not published.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub version: Option<u64>,
}

/// A message to publish to several channels.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiBroadcastRequest,
    example = json!({ "channels": ["orderbook:ENERGY", "orderbook:REC"], "data": { "is_open": true } }))]
pub(in super::super) struct BroadcastParams {
    /// At most 1,000. Each receives the message, at most 16 MiB in all.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 1_000)]
    pub channels: Vec<BatchItem<ChannelName>>,
    /// Any JSON. On a channel with a schema: `{"message_type", "data"}`.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
    /// Up to 16 short labels, by which subscribers filter.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub tags: TagMap,
    /// A repetition with this key within five minutes is not published again; applies to each channel.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub idempotency_key: Option<String>,
    /// A channel that has a message with this version or a later one does not receive the message.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub version: Option<u64>,
}

/// A channel.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiRequest, example = json!({ "channel": "orderbook:ENERGY" }))]
pub(in super::super) struct ChannelParams {
    #[schema(value_type = String)]
    pub channel: ChannelName,
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

/// A command with its parameters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum ApiCommand {
    Publish(PublishParams),
    Broadcast(BroadcastParams),
    History(HistoryParams),
    HistoryRemove(ChannelParams),
    Channels(ChannelsParams),
    Info(InfoParams),
}

impl ApiCommand {
    const fn name(&self) -> &'static str {
        match self {
            Self::Publish(_) => "publish",
            Self::Broadcast(_) => "broadcast",
            Self::History(_) => "history",
            Self::HistoryRemove(_) => "history_remove",
            Self::Channels(_) => "channels",
            Self::Info(_) => "info",
        }
    }
}

/// The position of a message, or of the channel if it has a later version.
#[derive(Debug, Serialize)]
struct PublishResult {
    offset: u64,
    epoch: String,
}

/// The server API for one caller.
pub(super) struct ServerApi<'a> {
    pub pubsub: &'a PubSubService,
    pub caller: &'a Principal,
}

impl ServerApi<'_> {
    /// Runs a command and returns its result as JSON.
    ///
    /// # Errors
    /// [`CommandError`], also if the caller lacks the scope of the command.
    pub(super) async fn run(&self, command: ApiCommand) -> Result<Box<RawValue>, CommandError> {
        match command {
            ApiCommand::Publish(params) => Ok(to_raw(&self.publish(params).await?)),
            ApiCommand::Broadcast(params) => self.broadcast(params).await,
            ApiCommand::History(params) => self.history(params).await,
            ApiCommand::HistoryRemove(params) => {
                self.caller.require(ADMIN)?;
                self.pubsub.clear_history(&params.channel, self.caller).await?;
                Ok(to_raw(&serde_json::Map::new()))
            }
            ApiCommand::Channels(params) => self.channels(&params),
            ApiCommand::Info(InfoParams {}) => self.info(),
        }
    }

    /// Runs commands in their order, and returns an object for each: its result under its name, or `error`.
    ///
    /// # Errors
    /// A bad request if there are too many commands.
    pub(super) async fn run_batch(&self, params: BatchParams) -> Result<Vec<Box<RawValue>>, CommandError> {
        check_count("commands", params.commands.len())?;
        let mut replies = Vec::with_capacity(params.commands.len());
        let mut bytes = 0;
        for item in params.commands {
            let (name, result) = match item {
                BatchItem::Invalid { problem, .. } => ("", Err((*problem).into())),
                BatchItem::Valid(_) if bytes >= MAX_BATCH_REPLY => {
                    ("", Err(CommandError::limit_exceeded("the results before this one are too large".to_owned())))
                }
                BatchItem::Valid(command) => (command.name(), self.run(command).await),
            };
            let reply = match result {
                Ok(result) => to_raw(&BTreeMap::from([(name, result)])),
                Err(error) => to_raw(&BTreeMap::from([("error", error)])),
            };
            bytes += reply.get().len();
            replies.push(reply);
        }
        Ok(replies)
    }

    async fn publish(&self, params: PublishParams) -> Result<PublishResult, CommandError> {
        let PublishParams { channel, data, tags, idempotency_key, version } = params;
        let message = self.message(&channel, data, tags, idempotency_key, version)?;
        let published = self.pubsub.publish_all(vec![(channel.clone(), message)]).await.map_err(PubSubError::from)?;
        match published.into_iter().next() {
            Some(published) => self.published(&channel, published).await,
            None => Err(CommandError::bad_request("there is no message".to_owned())),
        }
    }

    async fn broadcast(&self, params: BroadcastParams) -> Result<Box<RawValue>, CommandError> {
        #[derive(Serialize)]
        #[serde(rename_all = "lowercase")]
        enum Response {
            Result(PublishResult),
            Error(CommandError),
        }

        let BroadcastParams { channels, data, tags, idempotency_key, version } = params;
        check_count("channels", channels.len())?;
        if channels.len() * data.get().len() > MAX_BROADCAST {
            return Err(CommandError::bad_request("data times channels must be at most 16 MiB".to_owned()));
        }
        let mut valid = Vec::with_capacity(channels.len());
        let mut checked = Vec::with_capacity(channels.len());
        for item in channels {
            checked.push(match item {
                BatchItem::Invalid { problem, .. } => Err((*problem).into()),
                BatchItem::Valid(channel) => self
                    .message(&channel, data.clone(), tags.clone(), idempotency_key.clone(), version)
                    .map(|message| valid.push((channel, message))),
            });
        }
        let names: Vec<_> = valid.iter().map(|(channel, _)| channel.clone()).collect();
        let published = self.pubsub.publish_all(valid).await.map_err(PubSubError::from)?;
        let mut published = names.iter().zip(published);
        let mut responses = Vec::with_capacity(checked.len());
        for is_valid in checked {
            let result = match is_valid {
                Ok(()) => match published.next() {
                    Some((channel, result)) => self.published(channel, result).await,
                    None => break,
                },
                Err(error) => Err(error),
            };
            responses.push(result.map_or_else(Response::Error, Response::Result));
        }
        Ok(to_raw(&BTreeMap::from([("responses", responses)])))
    }

    /// Checks a message before it is published.
    fn message(
        &self,
        channel: &ChannelName,
        data: Box<RawValue>,
        tags: TagMap,
        id: Option<String>,
        revision: Option<u64>,
    ) -> Result<Message, CommandError> {
        let namespace = self.pubsub.events.namespace(channel).map_err(PubSubError::from)?;
        self.caller.require_key(WRITE, channel.as_str())?;
        let mut request = publish_request(namespace, data, tags)?;
        (request.id, request.revision) = (id, revision);
        Ok(self.pubsub.check(Some(self.caller), channel, request)?)
    }

    /// A message with an older version is no mistake of its publisher: the result is the position of the channel.
    async fn published(
        &self,
        channel: &ChannelName,
        published: Result<PublishReply, PubSubError>,
    ) -> Result<PublishResult, CommandError> {
        match published {
            Ok(published) => Ok(PublishResult { offset: published.offset, epoch: published.epoch }),
            Err(PubSubError::Events(EventsError::Superseded { .. })) => {
                let now = self.pubsub.history(channel, None, HistoryOrder::Asc, 0).await?;
                Ok(PublishResult { offset: now.offset, epoch: now.epoch })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn history(&self, params: HistoryParams) -> Result<Box<RawValue>, CommandError> {
        let channel = &params.channel;
        self.pubsub.require(Some(self.caller), Verb::Subscribe, channel)?;
        self.caller.require_key(READ, channel.as_str())?;
        let page = self.pubsub.history(channel, params.since(), params.order(), params.limit()).await?;
        params.result(&page)
    }

    fn channels(&self, params: &ChannelsParams) -> Result<Box<RawValue>, CommandError> {
        #[derive(Serialize)]
        struct Subscribers {
            num_clients: usize,
        }

        self.caller.require(READ)?;
        let pattern = params.pattern.as_deref().unwrap_or("*");
        let prefix = pattern.strip_suffix('*');
        let fixed = prefix.unwrap_or(pattern);
        if fixed.contains(['*', '?', '[', '{', '\\']) {
            let rule = format!("pattern must have at most one `*`, at its end, got `{pattern}`");
            return Err(CommandError::bad_request(rule));
        }
        let open = self.pubsub.channels.list(fixed);
        let found = open.iter().filter(|channel| prefix.is_some() || channel.name.as_str() == fixed);
        let channels: BTreeMap<_, _> =
            found.map(|channel| (&channel.name, Subscribers { num_clients: channel.subscribers() })).collect();
        Ok(to_raw(&BTreeMap::from([("channels", channels)])))
    }

    fn info(&self) -> Result<Box<RawValue>, CommandError> {
        #[derive(Serialize)]
        struct Node {
            uid: &'static str,
            name: &'static str,
            version: &'static str,
            num_clients: usize,
            num_users: usize,
            num_subs: i64,
            num_channels: i64,
        }

        self.caller.require(READ)?;
        let (num_clients, num_users) = self.pubsub.sockets.totals();
        let metrics = &self.pubsub.metrics;
        let node = Node {
            uid: &UID,
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            num_clients,
            num_users,
            num_subs: metrics.subscriptions.get(),
            num_channels: metrics.channels.get(),
        };
        Ok(to_raw(&BTreeMap::from([("nodes", [node])])))
    }
}

fn check_count(field: &str, count: usize) -> Result<(), CommandError> {
    if (1..=MAX_BATCH).contains(&count) {
        return Ok(());
    }
    Err(CommandError::bad_request(format!("{field} must have 1 to {MAX_BATCH} items, got {count}")))
}
