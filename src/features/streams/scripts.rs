//! One function per script; the script's header is its contract.

use serde_json::value::RawValue;

use super::config::StreamsConfig;
use super::group_model::{DeadLetter, DeliveredEvent, Receipt};
use super::keys::{StreamKeys, group_keys, owners};
use super::model::{ExpectedVersion, GroupStart, Order, StoredEvent};
use super::names::{ShortName, StreamName};
use crate::clock::UnixMillis;
use crate::lua_scripts;
use crate::redis::{BadReply, Binding, Fence, Key, KeySpace, LuaScript, ScriptCall, flag};

/// The most bytes of the events of one reply, roughly.
const PAGE_BYTES: usize = 1 << 20;
/// The most events that a group holds: at this number it must acknowledge some first.
const MAX_HELD: usize = 10_000;
/// The most groups of a stream.
pub(super) const MAX_GROUPS: usize = 64;
/// The most dead letters of one redrive without versions.
const MAX_REDRIVEN: usize = 1_000;

lua_scripts! {
    APPEND = "streams/append.lua";
    READ = "streams/read.lua";
    REGISTER = "streams/register.lua";
    UNLIST = "streams/unlist.lua";
    PUT_GROUP = "streams/put_group.lua" after "streams/group.lua";
    DELETE_GROUP = "streams/delete_group.lua" after "streams/group.lua";
    CLAIM = "streams/claim.lua" after "streams/group.lua";
    SETTLE = "streams/settle.lua" after "streams/group.lua";
    REPLAY = "streams/replay.lua" after "streams/group.lua";
    REDRIVE = "streams/redrive.lua" after "streams/group.lua";
    DEAD = "streams/dead.lua" after "streams/group.lua";
}

/// An event on its way into a stream.
#[derive(Debug)]
pub(super) struct Event {
    pub id: String,
    /// Whether a client chose the id, and may send the event again.
    pub may_be_repeated: bool,
    pub kind: String,
    pub data: Box<RawValue>,
    pub metadata: Option<Box<RawValue>>,
}

/// What became of an append.
#[derive(Debug)]
pub(super) enum AppendReply {
    Appended { first: u64, last: u64, time: UnixMillis, duplicate: bool },
    Conflict { current: u64 },
    IdUsed { current: u64 },
    Full,
}

pub(super) fn append(
    keys: &StreamKeys,
    events: &[Event],
    expected: ExpectedVersion,
    config: &StreamsConfig,
    fence: Option<&Fence>,
    now: &str,
) -> ScriptCall<(String, String, String, String), AppendReply> {
    let call = APPEND
        .guarded_write(fence, &[&keys.meta, &keys.log, &keys.ids, &keys.groups])
        .arg(expected.text())
        .arg(config.max_events)
        .arg(config.max_age.as_millis())
        .arg(config.life_ms())
        .arg(config.retain.as_str())
        .arg(config.group_idle.as_millis())
        .arg(&keys.moved)
        .arg(now);
    let call = events.iter().fold(call, |call, event| {
        call.arg(&event.id)
            .arg(u8::from(event.may_be_repeated))
            .arg(&event.kind)
            .arg(event.data.get())
            .arg(event.metadata.as_ref().map_or("", |metadata| metadata.get()))
    });
    call.returns(|(status, first, last, time): (String, String, String, String)| {
        let numbers = (number(&first)?, number(&last)?);
        match (status.as_str(), numbers) {
            ("appended" | "duplicate", (first, last)) => {
                let time = time.parse().map_err(|_| BadReply::new(&time))?;
                Ok(AppendReply::Appended { first, last, time, duplicate: status == "duplicate" })
            }
            ("conflict", (_, current)) => Ok(AppendReply::Conflict { current }),
            ("id-used", (_, current)) => Ok(AppendReply::IdUsed { current }),
            ("full", _) => Ok(AppendReply::Full),
            _ => Err(BadReply::new(&status)),
        }
    })
}

/// Which events of a stream are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub order: Order,
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub limit: usize,
}

/// A part of a stream.
#[derive(Debug)]
pub(super) struct Part {
    /// The version of the stream.
    pub version: u64,
    /// The version of the oldest event that is kept.
    pub first: Option<u64>,
    pub events: Vec<StoredEvent>,
}

/// Reads a part of a stream; `None` if there is no such stream.
pub(super) fn read(keys: &StreamKeys, range: Range) -> ScriptCall<(String, String, Vec<String>), Option<Part>> {
    let text = |version: Option<u64>| version.map(|version| version.to_string()).unwrap_or_default();
    READ.read(&[&keys.meta, &keys.log])
        .arg(if range.order == Order::Asc { "asc" } else { "desc" })
        .arg(text(range.from))
        .arg(text(range.to))
        .arg(range.limit)
        .arg(PAGE_BYTES)
        .returns(|(version, first, values): (String, String, Vec<String>)| {
            if version.is_empty() {
                return Ok(None);
            }
            let first = if first.is_empty() { None } else { Some(number(&first)?) };
            let events = values.chunks(6).map(|values| match values {
                [version, event @ ..] => stored(number(version)?, event),
                [] => Err(BadReply::new(values)),
            });
            let events = events.collect::<Result<_, _>>()?;
            Ok(Some(Part { version: number(&version)?, first, events }))
        })
}

/// Whether a stream is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// There are as many streams as there may be.
    Full,
    /// Half of them belong to the client.
    ShareTaken,
    Before,
    /// It is listed since this call, which listed it at this time, Unix milliseconds.
    Now(UnixMillis),
}

/// Lists a stream, which belongs to `owner` if it is new.
pub(super) fn register(
    index: &Key,
    stream: &StreamName,
    limit: usize,
    life_ms: u64,
    now: &str,
    owner: Option<u64>,
) -> ScriptCall<i64, Listed> {
    let owner = owner.map(|owner| owner.to_string()).unwrap_or_default();
    let call = REGISTER.write(&[index, &owners(index)]).arg(stream.as_str());
    call.arg(limit).arg(life_ms).arg(now).arg(owner).returns(|reply| match reply {
        0 => Ok(Listed::Full),
        -1 => Ok(Listed::ShareTaken),
        1 => Ok(Listed::Before),
        at => Ok(Listed::Now(at)),
    })
}

/// Removes a stream from the list, if it was listed `at` this time. Returns false if it was registered again since.
pub(super) fn unlist(index: &Key, stream: &StreamName, at: Option<UnixMillis>) -> ScriptCall<i64, bool> {
    let at = at.map(|at| at.to_string()).unwrap_or_default();
    UNLIST.write(&[index, &owners(index)]).arg(stream.as_str()).arg(at).returns(flag)
}

/// One group, for the scripts about it.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub keys: &'a StreamKeys,
    pub space: &'a KeySpace,
    pub stream: &'a StreamName,
    pub name: &'a ShortName,
    pub config: &'a StreamsConfig,
    /// The clock argument.
    pub now: &'a str,
}

/// The reply about a group, unless there is no such stream or group.
#[derive(Debug)]
pub(super) enum OfGroup<T> {
    NoStream,
    NoGroup,
    Found(T),
}

impl Group<'_> {
    fn bind(&self, script: &'static LuaScript) -> Binding {
        let [due, held, info, dead] = group_keys(self.space, self.stream, self.name);
        let StreamKeys { meta, log, groups, .. } = self.keys;
        script
            .write(&[meta, log, groups, &due, &held, &info, &dead])
            .arg(self.name.as_str())
            .arg(self.now)
            .arg(self.config.group_idle.as_millis())
    }

    /// Creates a group or changes it. The reply is whether it was created; `None` if the stream has too many groups.
    pub(super) fn put(
        &self,
        start: GroupStart,
        timeout_ms: u64,
        deliveries: u64,
    ) -> ScriptCall<Vec<String>, OfGroup<Option<bool>>> {
        let call = self.bind(&PUT_GROUP).arg(start.text()).arg(timeout_ms).arg(deliveries).arg(MAX_GROUPS);
        call.returns(|reply: Vec<String>| match reply.first().map(String::as_str) {
            Some("created") => Ok(OfGroup::Found(Some(true))),
            Some("updated") => Ok(OfGroup::Found(Some(false))),
            Some("full") => Ok(OfGroup::Found(None)),
            _ => missing(&reply),
        })
    }

    pub(super) fn claim(&self, consumer: &ShortName, count: u64) -> ScriptCall<redis::Value, OfGroup<Claimed>> {
        let call = self.bind(&CLAIM).arg(consumer.as_str()).arg(count).arg(PAGE_BYTES).arg(MAX_HELD);
        call.returns(|reply: redis::Value| {
            let (words, items) = words_and_list(reply, 8)?;
            let [status, version, cursor, pending, dead, buried, lost, next] = words.as_slice() else {
                return missing(&words);
            };
            if status != "claimed" {
                return Err(BadReply::new(status));
            }
            let (version, cursor) = (number(version)?, number(cursor)?);
            let items = items.chunks(8).map(|values| match values {
                [version, deliveries, delivery, event @ ..] => {
                    let version = number(version)?;
                    let receipt = Receipt { version, delivery: number(delivery)? };
                    let (deliveries, event) = (number(deliveries)?, stored(version, event)?);
                    Ok(DeliveredEvent { receipt, deliveries, event })
                }
                _ => Err(BadReply::new(values)),
            });
            let items = items.collect::<Result<_, BadReply>>()?;
            let (pending, dead) = (number(pending)?, number(dead)?);
            let lag = version.saturating_sub(cursor) + pending;
            let next_due_ms = if next.is_empty() { None } else { Some(number(next)?) };
            let (buried, lost) = (number(buried)?, number(lost)?);
            Ok(OfGroup::Found(Claimed { items, lag, pending, dead, buried, lost, next_due_ms }))
        })
    }

    /// Acknowledges, returns or extends deliveries. The reply has the number of the settled and the stale receipts.
    pub(super) fn settle(
        &self,
        verb: Verb,
        receipts: &[Receipt],
    ) -> ScriptCall<redis::Value, OfGroup<(u64, Vec<Receipt>)>> {
        let (name, delay) = match verb {
            Verb::Ack => ("ack", 0),
            Verb::Nack { delay_ms } => ("nack", delay_ms),
            Verb::Extend => ("extend", 0),
            Verb::Check => ("check", 0),
        };
        let call = self.bind(&SETTLE).arg(name).arg(delay).arg(&self.keys.moved);
        let call = receipts.iter().fold(call, |call, receipt| call.arg(receipt.version).arg(receipt.delivery));
        call.returns(|reply: redis::Value| {
            let (words, stale) = words_and_list(reply, 2)?;
            let [status, settled] = words.as_slice() else { return missing(&words) };
            if status != "settled" {
                return Err(BadReply::new(status));
            }
            let receipts = stale.chunks(2).map(|values| match values {
                [version, delivery] => Ok(Receipt { version: number(version)?, delivery: number(delivery)? }),
                _ => Err(BadReply::new(values)),
            });
            Ok(OfGroup::Found((number(settled)?, receipts.collect::<Result<_, BadReply>>()?)))
        })
    }

    pub(super) fn replay(&self, from: u64) -> ScriptCall<Vec<String>, OfGroup<()>> {
        let call = self.bind(&REPLAY).arg(from).arg(&self.keys.moved);
        call.returns(|reply: Vec<String>| done(&reply, "replayed"))
    }

    /// Delivers dead letters again. The reply has their number, and the number of those whose event is gone.
    pub(super) fn redrive(&self, versions: &[u64]) -> ScriptCall<Vec<String>, OfGroup<(u64, u64)>> {
        let call = self.bind(&REDRIVE).arg(MAX_REDRIVEN).arg(&self.keys.moved).arg(versions);
        call.returns(|reply: Vec<String>| match reply.as_slice() {
            [status, moved, lost] if status == "redriven" => Ok(OfGroup::Found((number(moved)?, number(lost)?))),
            _ => missing(&reply),
        })
    }

    /// Reads dead letters behind a version, and whether more follow.
    pub(super) fn dead(&self, after: u64, limit: usize) -> ScriptCall<redis::Value, OfGroup<(Vec<DeadLetter>, bool)>> {
        self.bind(&DEAD).arg(after).arg(limit).arg(PAGE_BYTES).returns(|reply: redis::Value| {
            let (words, items) = words_and_list(reply, 2)?;
            let [status, more] = words.as_slice() else { return missing(&words) };
            if status != "read" {
                return Err(BadReply::new(status));
            }
            let letters = items.chunks(6).map(|values| match values {
                [letter, event @ ..] => dead_letter(letter, event).ok_or_else(|| BadReply::new(letter)),
                [] => Err(BadReply::new(values)),
            });
            Ok(OfGroup::Found((letters.collect::<Result<_, _>>()?, more == "1")))
        })
    }
}

pub(super) fn delete_group(group: &Group<'_>) -> ScriptCall<Vec<String>, OfGroup<()>> {
    group.bind(&DELETE_GROUP).returns(|reply: Vec<String>| done(&reply, "deleted"))
}

/// What a consumer does with delivered events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    /// They are done.
    Ack,
    /// Deliver them again after a delay.
    Nack { delay_ms: u64 },
    /// Their timeout begins again.
    Extend,
    /// None: it asks whether it still holds them.
    Check,
}

impl Verb {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ack => "acknowledged",
            Self::Nack { .. } => "returned",
            Self::Extend => "extended",
            Self::Check => "checked",
        }
    }
}

/// What a claim found.
#[derive(Debug)]
pub(super) struct Claimed {
    pub items: Vec<DeliveredEvent>,
    pub lag: u64,
    pub pending: u64,
    pub dead: u64,
    /// The events that became dead letters, and those that were trimmed.
    pub buried: u64,
    pub lost: u64,
    /// When the next held event may be delivered again, milliseconds from now.
    pub next_due_ms: Option<u64>,
}

fn number(text: &str) -> Result<u64, BadReply> {
    text.parse().map_err(|_| BadReply::new(text))
}

fn done(reply: &[String], status: &str) -> Result<OfGroup<()>, BadReply> {
    if reply == [status] { Ok(OfGroup::Found(())) } else { missing(reply) }
}

fn missing<T>(reply: &[String]) -> Result<OfGroup<T>, BadReply> {
    match reply.first().map(String::as_str) {
        Some("no-stream") => Ok(OfGroup::NoStream),
        Some("no-group") => Ok(OfGroup::NoGroup),
        _ => Err(BadReply::new(reply)),
    }
}

/// Splits a reply of `count` texts and a list of texts. A shorter reply has no list.
fn words_and_list(reply: redis::Value, count: usize) -> Result<(Vec<String>, Vec<String>), BadReply> {
    let redis::Value::Array(mut values) = reply else { return Err(BadReply::new(reply)) };
    let list = if values.len() > count { values.pop() } else { None };
    let words = redis::from_redis_value::<Vec<String>>(redis::Value::Array(values)).map_err(BadReply::new)?;
    let list = list.map(redis::from_redis_value::<Vec<String>>).transpose().map_err(BadReply::new)?;
    Ok((words, list.unwrap_or_default()))
}

/// Reads id, type, data, metadata and time of an event.
fn stored(version: u64, values: &[String]) -> Result<StoredEvent, BadReply> {
    let [id, kind, data, metadata, time] = values else { return Err(BadReply::new(values)) };
    let json = |text: &String| RawValue::from_string(text.clone()).map_err(BadReply::new);
    Ok(StoredEvent {
        version,
        id: id.clone(),
        kind: kind.clone(),
        data: json(data)?,
        metadata: if metadata.is_empty() { None } else { Some(json(metadata)?) },
        timestamp: time.parse().map_err(|_| BadReply::new(time))?,
    })
}

fn dead_letter(letter: &str, event: &[String]) -> Option<DeadLetter> {
    let mut words = letter.split(' ');
    let version = words.next()?.parse().ok()?;
    let (deliveries, dead_at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let consumer = words.next()?.to_owned();
    let is_kept = event.first().is_some_and(|id| !id.is_empty());
    let event = if is_kept { Some(stored(version, event).ok()?) } else { None };
    Some(DeadLetter { version, deliveries, consumer, dead_at, event })
}
