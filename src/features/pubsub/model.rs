//! Wire types of channels.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::delivery::Position;
use super::error::PubSubError;
use super::event_types::EventData;
use crate::clock::UnixMillis;
use crate::events::{ChannelName, Member, Message, Published, TagMap, is_message_type, is_short, on_one_line};
use crate::http::batch_item::BatchItem;
use crate::http::integer;
use crate::http::portable_json::{is_portable, unique_names};
use crate::http::reply::ItemError;
use crate::random;

/// The most messages of one batch.
pub(super) const MAX_BATCH: usize = 1_000;
/// The most messages of a page of the history.
pub(super) const MAX_PAGE: usize = 300;
/// The most bytes of its messages, over HTTP ...
pub(super) const PAGE_BYTES: usize = 1 << 20;
/// ... and elsewhere, where replies wait in the memory of a connection.
pub(super) const SHORT_PAGE_BYTES: usize = 128 << 10;
/// The longest wait for a message, milliseconds: [`crate::http::access::LONGEST_WAIT`].
pub(super) const MAX_WAIT_MS: u64 = 30_000;

/// Names under `/pubsub/` that are routes.
const RESERVED: &[&str] = &["ws", "sse", "tokens", "channels", "namespaces", "disconnect", "unsubscribe"];

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Path)]
pub(super) struct ChannelPath {
    /// The channel: 1 to 200 letters, digits, `_`, `.`, `-`, and `:` between segments.
    #[param(value_type = String, min_length = 1, max_length = 200, pattern = r"^[A-Za-z0-9_.\-]+(:[A-Za-z0-9_.\-]+)*$",
            example = "market:events")]
    #[serde(deserialize_with = "not_reserved")]
    pub channel: ChannelName,
}

fn not_reserved<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ChannelName, D::Error> {
    let name = ChannelName::deserialize(deserializer)?;
    if RESERVED.contains(&name.as_str()) {
        return Err(serde::de::Error::custom(format!("must not be `{name}`, the name of a route")));
    }
    Ok(name)
}

/// A message to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelMessageRequest)]
#[schema(example = json!({ "message_type": "PriceUpdate", "key": "ENERGY",
    "data": { "symbol": "ENERGY", "price": "3.42", "change_percent": "0.4" } }))]
pub(super) struct PublishRequest {
    /// The channel, only in a batch: otherwise the path names it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub channel: Option<ChannelName>,
    /// The kind of event, 1 to 64 letters, digits, `_`, `.` and `-`. Channels with a schema accept only their kinds.
    #[schema(min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9_.\-]+$", example = "PriceUpdate")]
    pub message_type: String,
    /// Any JSON, or what the channel's schema requires.
    #[schema(value_type = EventData)]
    pub data: Box<RawValue>,
    /// Identifies the message: a repetition within five minutes is not published again. The service makes one if it is
    /// absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub id: Option<String>,
    /// The entity that the message describes, such as a symbol. A channel that keeps the latest messages keeps one per key.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub key: Option<String>,
    /// Up to 16 short labels, by which subscribers filter.
    #[serde(default, deserialize_with = "unique_names")]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub tags: TagMap,
    /// The revision of the entity. If the channel has a message with this revision or a later one, the message is rejected.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub revision: Option<u64>,
    /// The version of the data's schema, `1.0` if absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 16)]
    pub version: Option<String>,
}

impl PublishRequest {
    /// Checks every field but the data.
    ///
    /// # Errors
    /// [`PubSubError::Invalid`], naming the field.
    pub(super) fn into_message(self) -> Result<Message, PubSubError> {
        if !is_message_type(&self.message_type) {
            let rule = "must have 1 to 64 letters, digits, `_`, `.` and `-`";
            return Err(PubSubError::invalid("/message_type", rule));
        }
        for (pointer, text, limit) in
            [("/id", &self.id, 128), ("/key", &self.key, 128), ("/version", &self.version, 16)]
        {
            if text.as_ref().is_some_and(|text| !is_short(text, limit)) {
                let rule = format!("must have 1 to {limit} bytes without control characters");
                return Err(PubSubError::invalid(pointer, rule));
            }
        }
        if self.tags.len() > 16 || !self.tags.iter().all(|(name, tag)| is_short(name, 64) && tag.len() <= 64) {
            return Err(PubSubError::invalid("/tags", "must have at most 16 names and values of at most 64 bytes"));
        }
        if self.revision.is_some_and(|revision| revision > (1 << 53) - 1) {
            return Err(PubSubError::invalid("/revision", "must be at most 9007199254740991"));
        }
        if !is_portable(self.data.get().as_bytes()) {
            return Err(PubSubError::invalid("/data", "must be JSON that every parser reads alike"));
        }
        Ok(Message {
            may_be_repeated: self.id.is_some(),
            id: self.id.unwrap_or_else(random::unique_text),
            message_type: self.message_type,
            version: self.version.unwrap_or_else(|| "1.0".to_owned()),
            data: on_one_line(self.data),
            key: self.key,
            tags: self.tags,
            revision: self.revision,
        })
    }
}

/// A published message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelPublished)]
pub(super) struct PublishReply {
    pub id: String,
    #[schema(value_type = String, example = "market:events")]
    pub channel: ChannelName,
    /// The number of the message in its channel and epoch.
    pub offset: u64,
    pub epoch: String,
    /// Redis's time, Unix milliseconds.
    pub timestamp: UnixMillis,
    /// A message with this id was published before, and this is its position.
    pub duplicate: bool,
}

impl PublishReply {
    pub(super) fn new(channel: ChannelName, id: String, published: Published) -> Self {
        let Published { offset, epoch, timestamp, duplicate } = published;
        Self { id, channel, offset, epoch, timestamp, duplicate }
    }
}

/// Messages to publish in one round trip.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelBatchRequest)]
#[schema(example = json!({ "messages": [{ "channel": "market:prices", "message_type": "PriceUpdate", "key": "ENERGY",
    "data": { "symbol": "ENERGY", "price": "3.42", "change_percent": "0.4" } }] }))]
pub(super) struct BatchRequest {
    /// At most 1,000. Messages of one channel keep their order.
    #[schema(value_type = Vec<PublishRequest>, min_items = 1, max_items = 1_000)]
    pub messages: Vec<BatchItem<PublishRequest>>,
}

/// What became of the messages of a batch or of a stream.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ChannelBatchReply)]
pub(super) struct BatchReply {
    /// The number of published messages.
    pub published: u64,
    /// The number of messages whose id was published before.
    pub duplicates: u64,
    /// One result per message, in their order. Of a stream: only those of the messages that were not published, at most
    /// 1,000.
    pub results: Vec<BatchResult>,
}

impl BatchReply {
    /// Counts a published message.
    pub(super) fn count(&mut self, published: &PublishReply) {
        *if published.duplicate { &mut self.duplicates } else { &mut self.published } += 1;
    }

    /// The number of messages that are in their channels.
    pub(super) fn done(&self) -> u64 {
        self.published + self.duplicates
    }
}

/// The result of one message: its position, or an error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelBatchResult)]
pub(super) struct BatchResult {
    /// The status that the message would have as a request of its own.
    pub status: u16,
    /// The line of the message in a stream, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<PublishReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// One message per line, as in a batch.
#[derive(ToSchema)]
#[schema(as = ChannelMessageLines, value_type = String)]
#[expect(dead_code, reason = "described here, read line by line by load.rs")]
#[schema(
    example = "{\"channel\":\"market:prices\",\"message_type\":\"PriceUpdate\",\"key\":\"ENERGY\",\"data\":{\"symbol\":\"ENERGY\",\"price\":\"3.42\",\"change_percent\":\"0.4\"}}\n"
)]
pub(super) struct MessageLines(String);

/// A part of the history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// Messages after this offset, or before it in descending order; needs `epoch`.
    #[param(required = false)]
    pub since: Option<u64>,
    /// The epoch of `since`.
    #[param(required = false, min_length = 1, max_length = 32)]
    pub epoch: Option<String>,
    /// `next_cursor` of the previous page, instead of `since` and `epoch`.
    #[param(required = false, min_length = 3, max_length = 64)]
    pub cursor: Option<String>,
    /// The most messages. A page ends earlier where it would exceed 1 MiB; a larger message comes alone.
    #[param(required = false, minimum = 1, maximum = 300, default = 100)]
    pub limit: Option<usize>,
    /// `asc`: the oldest first; `desc`: the newest first.
    #[serde(default)]
    #[param(required = false, inline)]
    pub order: Order,
    /// Wait for a message if there is none yet, milliseconds.
    #[param(required = false, minimum = 0, maximum = 30_000)]
    pub wait_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ChannelHistoryOrder)]
pub(super) enum Order {
    #[default]
    Asc,
    Desc,
}

impl HistoryQuery {
    /// The position that the query names.
    ///
    /// # Errors
    /// The parameter and the rule that it violates.
    pub(super) fn position(&self) -> Result<Option<Position>, (&'static str, String)> {
        if let Some(cursor) = &self.cursor {
            if self.since.is_some() || self.epoch.is_some() {
                return Err(("cursor", "replaces `since` and `epoch`".to_owned()));
            }
            let position = parse_position(cursor).ok_or(("cursor", "must be the next_cursor of a page".to_owned()))?;
            return Ok(Some(position));
        }
        match (self.since, &self.epoch) {
            (Some(offset), Some(epoch)) => Ok(Some(Position { epoch: epoch.as_str().into(), offset })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(("epoch", "is required with `since`".to_owned())),
            (None, Some(_)) => Err(("since", "is required with `epoch`".to_owned())),
        }
    }
}

/// Reads `epoch.offset`.
pub(super) fn parse_position(text: &str) -> Option<Position> {
    let (epoch, offset) = text.split_once('.')?;
    Some(Position { epoch: epoch.into(), offset: offset.parse().ok()? })
}

/// A page of the history.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelHistory)]
pub(super) struct HistoryReply {
    #[schema(value_type = Vec<StoredMessage>)]
    pub items: Vec<Box<RawValue>>,
    /// The offset of the last message of the channel; with `wait_ms`, where the next call begins.
    pub offset: u64,
    pub epoch: String,
    /// Whether no message since the requested position is missing; absent without a position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Pass this as `cursor` to get the next page; null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A message as subscribers receive it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ChannelMessage)]
pub(super) struct StoredMessage {
    pub offset: u64,
    pub epoch: String,
    /// Redis's time, Unix milliseconds.
    pub timestamp: UnixMillis,
    pub id: String,
    pub channel: String,
    pub message_type: String,
    #[schema(value_type = EventData)]
    pub data: Box<RawValue>,
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    pub tags: Option<TagMap>,
}

/// The newest message of each key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelLatest)]
pub(super) struct LatestReply {
    #[schema(value_type = Vec<StoredMessage>)]
    pub items: Vec<Box<RawValue>>,
}

/// Who is subscribed to a channel, at all replicas.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelPresence)]
pub(super) struct PresenceReply {
    /// The number of connections.
    pub clients: usize,
    /// The number of different subjects.
    pub subjects: usize,
    /// The connections; absent in statistics, and if there are more than 1,000 or more than 128 KiB of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
}
