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
}

/// One message on its way.
pub(super) struct Publication<'a> {
    pub keys: &'a ChannelKeys,
    /// The memory of its id.
    pub seen: &'a Key,
    pub channel: &'a ChannelName,
    pub namespace: &'a Namespace,
    pub message: &'a Message,
    /// The clock argument.
    pub now: &'a str,
}

/// Status, offset, epoch, time.
pub(super) type PublishRaw = (String, String, String, String);

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
            Self::Full => Err(EventsError::TooManyKeys { channel: channel.clone(), limit: super::namespace::MAX_KEYS }),
        }
    }
}

pub(super) fn publish(publication: &Publication<'_>, fence: Option<&Fence>) -> ScriptCall<PublishRaw, PublishReply> {
    let Publication { keys, seen, channel, namespace, message, now } = publication;
    let size = if namespace.keep == Keep::Latest { super::namespace::MAX_KEYS } else { namespace.history_size };
    PUBLISH
        .guarded_write(fence, &[&keys.meta, &keys.log, &keys.latest, seen])
        .arg(namespace.keep.as_str())
        .arg(message.members(channel))
        .arg(keys.channel.as_str())
        .arg(new_epoch())
        .arg(size)
        .arg(namespace.history_ttl.as_millis())
        .arg(META_TTL.as_millis())
        .arg(if message.may_be_repeated { DEDUPE.as_millis() } else { 0 })
        .arg(message.key.as_deref().unwrap_or_default())
        .arg(message.revision.map(|revision| revision.to_string()).unwrap_or_default())
        .arg(*now)
        .returns(|(status, offset, epoch, time): PublishRaw| {
            let duplicate = status == "duplicate";
            match (status.as_str(), offset.parse(), time.parse()) {
                ("published" | "duplicate", Ok(offset), Ok(timestamp)) => {
                    Ok(PublishReply::Published(Published { offset, epoch, timestamp, duplicate }))
                }
                ("superseded", ..) => Ok(PublishReply::Superseded),
                ("full", ..) => Ok(PublishReply::Full),
                _ => Err(BadReply::new((status, offset, time))),
            }
        })
}

pub(super) fn history(
    keys: &ChannelKeys,
    namespace: &Namespace,
    range: HistoryRange,
    now: &str,
) -> ScriptCall<(String, String, Value, Vec<String>), History> {
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
        .returns(|(offset, epoch, first, messages): (String, String, Value, Vec<String>)| {
            let first = match first {
                Value::BulkString(digits) if !digits.is_empty() => {
                    let parsed = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
                    Some(parsed.ok_or_else(|| BadReply::new(&digits))?)
                }
                _ => None,
            };
            let offset = offset.parse().map_err(|_| BadReply::new(&offset))?;
            Ok(History { offset, epoch, first, messages })
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
