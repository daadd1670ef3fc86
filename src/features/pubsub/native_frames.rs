//! The JSON of the native protocol: commands, replies and events.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::delivery::{Delivery, Position};
use super::filter::Filter;
use super::presence_digest::PresenceDigest;
use super::subscriber::Subscribed;
use super::subscription::Mode;
use crate::events::{ChannelName, TagMap};
use crate::http::portable_json::unique_names;

/// The most bytes of messages in the reply to a subscription: a frame must fit into the buffer of a socket.
const MAX_REPLY: usize = 128 << 10;

/// A command of a client. Members that do not belong to the command are ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    pub id: u64,
    pub cmd: CommandName,
    pub token: Option<String>,
    /// Channels to subscribe to when connecting.
    #[serde(default)]
    pub channels: Vec<ChannelName>,
    pub channel: Option<ChannelName>,
    pub since: Option<Position>,
    #[serde(default)]
    pub mode: Mode,
    pub max_rate: Option<f64>,
    pub filter: Option<Filter>,
    #[serde(default)]
    pub snapshot: bool,
    /// Tell who joins and leaves the channel.
    #[serde(default)]
    pub presence: bool,
    pub limit: Option<usize>,
    // The fields of a message to publish.
    pub message_type: Option<String>,
    pub data: Option<Box<RawValue>>,
    pub message_id: Option<String>,
    pub key: Option<String>,
    #[serde(default, deserialize_with = "unique_names")]
    pub tags: TagMap,
    pub revision: Option<u64>,
    pub version: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CommandName {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    History,
    Presence,
    Refresh,
    Ping,
}

#[derive(Serialize)]
pub(super) struct Reply<'a, T> {
    pub id: u64,
    pub ok: &'a T,
}

#[derive(Serialize)]
pub(super) struct ErrorReply<'a> {
    pub id: u64,
    pub error: ErrorDetail<'a>,
}

#[derive(Serialize)]
pub(super) struct ErrorDetail<'a> {
    /// The slug of the problem.
    pub code: &'a str,
    pub detail: &'a str,
}

#[derive(Serialize)]
pub(super) struct Connected<'a> {
    pub client: &'a str,
    pub subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    pub ping_ms: u64,
}

#[derive(Serialize)]
pub(super) struct SubscribedReply<'a> {
    channel: &'a ChannelName,
    offset: u64,
    epoch: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
    messages: Vec<&'a RawValue>,
}

/// An event that is not a message.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Notice<'a> {
    Gap { channel: &'a ChannelName, from: u64, to: u64, epoch: &'a str, reason: &'a str },
    Stale,
    Fresh,
    Presence(&'a PresenceDigest),
    Unsubscribed { channel: &'a ChannelName, code: &'a str },
}

/// Nothing to say but that it was done.
#[derive(Serialize)]
pub(super) struct Done {}

/// Adds the reply to a subscription. Recovered messages that do not fit into it follow as events.
pub(super) fn push_subscribed(id: u64, channel: &ChannelName, subscribed: &Subscribed, replies: &mut Vec<Utf8Bytes>) {
    let Subscribed { position, recovered, messages } = subscribed;
    let mut bytes = 0;
    let fits = |delivery: &&Arc<Delivery>| {
        bytes += delivery.text().len();
        bytes <= MAX_REPLY
    };
    let count = messages.iter().take_while(fits).count();
    let (first, others) = messages.split_at(count);
    let parsed = first.iter().filter_map(|delivery| serde_json::from_str(delivery.text()).ok());
    let ok = SubscribedReply {
        channel,
        offset: position.offset,
        epoch: &position.epoch,
        recovered: *recovered,
        messages: parsed.collect(),
    };
    replies.push(json(&Reply { id, ok: &ok }));
    replies.extend(others.iter().map(|delivery| delivery.native(0)));
}

/// Text, numbers and raw JSON always serialise.
pub(super) fn json(value: &impl Serialize) -> Utf8Bytes {
    serde_json::to_string(value).unwrap_or_default().into()
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
