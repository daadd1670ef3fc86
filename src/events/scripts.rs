//! One function per script; the script's header is its contract.

use redis::Value;

use super::keys::ChannelKeys;
use super::namespace::{Keep, Namespace};
use super::presence::{Member, PRESENCE_TTL, PresenceUpdate};
use super::{ChannelName, DEDUPE, EventsError, HistoryRange, META_TTL, Message, Published};
use crate::lua_scripts;
use crate::random;
use crate::redis::{BadReply, Fence, Key, ScriptCall};

/// What `events/clear.lua` publishes.
pub const CLEARED: &str = "{\"cleared\":true}";

lua_scripts! {
    PUBLISH = "events/publish.lua";
    HISTORY = "events/history.lua";
    CLEAR = "events/clear.lua";
    PRESENCE = "events/presence.lua";
}

/// The order in which a history is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryOrder {
    Asc,
    Desc,
}

/// A part of a channel's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The offset of the last message of the channel; 0 before the first.
    pub offset: u64,
    pub epoch: String,
    /// The offset of the oldest message that is kept.
    pub first: Option<u64>,
    /// The JSON of the messages, in the order that was requested.
    pub messages: Vec<String>,
    /// Whether further messages follow in that order.
    pub has_more: bool,
}

/// Messages of one channel on their way.
pub(super) struct Publication<'a> {
    pub keys: &'a ChannelKeys,
    pub namespace: &'a Namespace,
    pub messages: &'a [Outgoing<'a>],
    /// The clock argument.
    pub now: &'a str,
}

/// A message as the script takes it.
pub(super) struct Outgoing<'a> {
    pub message: &'a Message,
    /// Its JSON behind the members that the script writes.
    pub members: String,
    /// The memory of its id, if it may be repeated.
    pub seen: Option<Key>,
}

/// Status, offset, epoch and time of each message.
pub(super) type PublishRaw = Vec<String>;

/// What became of a message.
#[derive(Debug)]
pub(super) enum PublishReply {
    Published(Published),
    Superseded,
    Full,
}

impl PublishReply {
    pub(super) fn into_result(self, channel: &ChannelName, message: &Message) -> Result<Published, EventsError> {
        match self {
            Self::Published(published) => Ok(published),
            Self::Superseded => Err(EventsError::Superseded {
                channel: channel.clone(),
                revision: message.revision.unwrap_or_default(),
            }),
            Self::Full => Err(EventsError::LatestFull { channel: channel.clone() }),
        }
    }
}

pub(super) fn publish(
    publication: &Publication<'_>,
    fence: Option<&Fence>,
) -> ScriptCall<PublishRaw, Vec<PublishReply>> {
    let Publication { keys, namespace, messages, now } = publication;
    let size = if namespace.keep == Keep::Latest { super::namespace::MAX_KEYS } else { namespace.history_size };
    let mut bound = vec![&keys.meta, &keys.log, &keys.latest];
    bound.extend(messages.iter().filter_map(|message| message.seen.as_ref()));
    let call = PUBLISH
        .guarded_write(fence, &bound)
        .arg(namespace.keep.as_str())
        .arg(keys.channel.as_str())
        .arg(new_epoch())
        .arg(size)
        .arg(namespace.history_ttl.as_millis())
        .arg(META_TTL.as_millis())
        .arg(DEDUPE.as_millis())
        .arg(*now)
        .arg(super::namespace::LATEST_BYTES);
    // Behind the keys of the channel.
    let mut place = 3;
    let call = messages.iter().fold(call, |call, Outgoing { message, members, seen }| {
        place += usize::from(seen.is_some());
        call.arg(members)
            .arg(message.key.as_deref().unwrap_or_default())
            .arg(message.revision.map(|revision| revision.to_string()).unwrap_or_default())
            .arg(if seen.is_some() { place } else { 0 })
    });
    call.returns(|values: PublishRaw| values.chunks(4).map(outcome).collect())
}

/// What became of one message: status, offset, epoch and time.
fn outcome(values: &[String]) -> Result<PublishReply, BadReply> {
    let [status, offset, epoch, time] = values else { return Err(BadReply::new(values)) };
    let duplicate = status == "duplicate";
    match (status.as_str(), offset.parse(), time.parse()) {
        ("published" | "duplicate", Ok(offset), Ok(timestamp)) => {
            Ok(PublishReply::Published(Published { offset, epoch: epoch.clone(), timestamp, duplicate }))
        }
        ("superseded", ..) => Ok(PublishReply::Superseded),
        ("full", ..) => Ok(PublishReply::Full),
        _ => Err(BadReply::new(values)),
    }
}

/// The last offset, the epoch, the first offset, the messages, and 1 if more follow.
pub(super) type HistoryRaw = (String, String, Value, Vec<String>, u8);

pub(super) fn history(
    keys: &ChannelKeys,
    namespace: &Namespace,
    range: HistoryRange,
    now: &str,
) -> ScriptCall<HistoryRaw, History> {
    // A new epoch may begin, so this is a write.
    HISTORY
        .write(&[&keys.meta, &keys.log])
        .arg(if range.order == HistoryOrder::Asc { "asc" } else { "desc" })
        .arg(range.offset.map(|offset| offset.to_string()).unwrap_or_default())
        .arg(range.limit)
        .arg(namespace.history_ttl.as_millis())
        .arg(META_TTL.as_millis())
        .arg(new_epoch())
        .arg(now)
        .arg(range.bytes)
        .returns(|(offset, epoch, first, messages, more): HistoryRaw| {
            let first = match first {
                Value::BulkString(digits) if !digits.is_empty() => {
                    let parsed = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
                    Some(parsed.ok_or_else(|| BadReply::new(&digits))?)
                }
                _ => None,
            };
            let offset = offset.parse().map_err(|_| BadReply::new(&offset))?;
            Ok(History { offset, epoch, first, messages, has_more: more == 1 })
        })
}

pub(super) fn clear(keys: &ChannelKeys) -> ScriptCall<i64, ()> {
    CLEAR
        .write(&[&keys.meta, &keys.log, &keys.latest])
        .arg(new_epoch())
        .arg(META_TTL.as_millis())
        .arg(keys.channel.as_str())
        .returns(|_| Ok(()))
}

/// Clients, subjects, and the added and removed clients with their subjects.
pub(super) type PresenceRaw = (usize, usize, Vec<(String, String)>, Vec<(String, String)>);

pub(super) fn presence(
    keys: &ChannelKeys,
    subscribed: &[Member],
    left: &[String],
    now: &str,
) -> ScriptCall<PresenceRaw, PresenceUpdate> {
    let [members, info, subjects] = keys.presence();
    let keys = [&members, &info, &subjects];
    let call = PRESENCE.write(&keys).arg(now).arg(PRESENCE_TTL.as_millis()).arg(left.len()).arg(left);
    let call = subscribed.iter().fold(call, |call, member| call.arg(&member.client).arg(&member.subject));
    call.returns(|(clients, subjects, joined, left): PresenceRaw| {
        let members = |pairs: Vec<(String, String)>| {
            pairs.into_iter().map(|(client, subject)| Member { client, subject }).collect()
        };
        Ok(PresenceUpdate { clients, subjects, joined: members(joined), left: members(left) })
    })
}

/// A name for an epoch that begins with this call: 8 hexadecimal digits. It is compared only with the former epochs of one
/// channel.
fn new_epoch() -> String {
    let digits = random::hex_digits(u128::from(random::fraction().to_bits()).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    String::from_utf8_lossy(digits.get(16..24).unwrap_or_default()).into_owned()
}
