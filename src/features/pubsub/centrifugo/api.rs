//! What the commands of the server API do.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::access::Verb;
use super::super::control::Order;
use super::super::error::PubSubError;
use super::super::model::{MAX_BATCH, PublishReply, SHORT_PAGE_BYTES};
use super::super::service::PubSubService;
use super::super::{READ, WRITE};
use super::api_commands::{
    ApiCommand, BatchParams, BroadcastParams, ChannelParams, ChannelsParams, DisconnectParams, InfoParams,
    PublishParams, UnsubscribeParams,
};
use super::error::CommandError;
use super::presence::presence_result;
use super::publication::{HistoryParams, publish_request, to_raw};
use crate::events::{ChannelName, EventsError, HistoryOrder, Message, TagMap};
use crate::http::auth::{ADMIN, Principal};
use crate::http::batch_item::BatchItem;
use crate::random;

/// The most bytes of one broadcast, over all its channels.
const MAX_BROADCAST: usize = 16 << 20;
/// About as many of them are in memory at a time, in several copies.
const BROADCAST_PART: usize = 1 << 20;
/// The bytes of a message beside its data, about.
const MESSAGE_OVERHEAD: usize = 512;
/// A batch runs no further commands after this many bytes of results.
const MAX_BATCH_REPLY: usize = 1 << 20;

/// The most channels of one list, which has no pages: about half a megabyte.
const MAX_LISTED: usize = 5_000;

/// Distinguishes this process from others.
static UID: LazyLock<String> = LazyLock::new(random::unique_text);

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
            ApiCommand::Presence(ChannelParams { channel }) => self.presence(&channel, true).await,
            ApiCommand::PresenceStats(ChannelParams { channel }) => self.presence(&channel, false).await,
            ApiCommand::Disconnect(DisconnectParams { user: subject, client }) => {
                self.order(Order { subject, client, channel: None, revoke: false }).await
            }
            ApiCommand::Unsubscribe(UnsubscribeParams { user: subject, channel, client }) => {
                self.order(Order { subject, client, channel: Some(channel), revoke: false }).await
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
        let in_part = (BROADCAST_PART / (data.get().len() + MESSAGE_OVERHEAD)).max(1);
        let mut responses = Vec::with_capacity(channels.len());
        let mut rest = channels.into_iter();
        while rest.len() > 0 {
            let (mut valid, mut checked) = (Vec::new(), Vec::new());
            for item in rest.by_ref().take(in_part) {
                checked.push(match item {
                    BatchItem::Invalid { problem, .. } => Err((*problem).into()),
                    BatchItem::Valid(channel) => self
                        .message(&channel, data.clone(), tags.clone(), idempotency_key.clone(), version)
                        .map(|message| valid.push((channel, message))),
                });
            }
            let names: Vec<_> = valid.iter().map(|(channel, _)| channel.clone()).collect();
            let published = match self.pubsub.publish_all(valid).await {
                Ok(published) => published,
                Err(fault) if responses.is_empty() => return Err(PubSubError::from(fault).into()),
                // Some of the channels have the message.
                Err(fault) => names.iter().map(|_| Err(fault.clone().into())).collect(),
            };
            let mut published = names.iter().zip(published);
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
        let mut request = publish_request(&namespace, data, tags)?;
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
                let now = self.pubsub.history(channel, None, HistoryOrder::Asc, 0, 0).await?;
                Ok(PublishResult { offset: now.offset, epoch: now.epoch })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn history(&self, params: HistoryParams) -> Result<Box<RawValue>, CommandError> {
        self.require_readable(&params.channel)?;
        let (since, order, limit) = (params.since(), params.order(), params.limit());
        let page = self.pubsub.history(&params.channel, since, order, limit, SHORT_PAGE_BYTES).await?;
        params.result(&page)
    }

    async fn presence(&self, channel: &ChannelName, is_list: bool) -> Result<Box<RawValue>, CommandError> {
        self.require_readable(channel)?;
        presence_result(&self.pubsub.presence(channel, is_list).await?, is_list)
    }

    fn require_readable(&self, channel: &ChannelName) -> Result<(), CommandError> {
        self.pubsub.require(Some(self.caller), Verb::Subscribe, channel)?;
        Ok(self.caller.require_key(READ, channel.as_str())?)
    }

    async fn order(&self, order: Order) -> Result<Box<RawValue>, CommandError> {
        self.caller.require(ADMIN)?;
        self.pubsub.order(order, self.caller).await?;
        Ok(to_raw(&serde_json::Map::new()))
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
        let found: Vec<_> = open.iter().filter(|channel| prefix.is_some() || channel.name.as_str() == fixed).collect();
        if found.len() > MAX_LISTED {
            let rule = format!("{} channels match, more than {MAX_LISTED}: use a longer pattern", found.len());
            return Err(CommandError::limit_exceeded(rule));
        }
        let channels: BTreeMap<_, _> =
            found.iter().map(|channel| (&channel.name, Subscribers { num_clients: channel.subscribers() })).collect();
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
