//! The scripts of a lock as typed calls; their contracts are in `migrations-lua/locks/`.

use std::time::Duration;

use super::keys::LockKeys;
use super::model::{Token, millis};
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

/// What scripts need to know beside their own arguments.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// [`crate::clock::Clock::redis_arg`].
    pub now: String,
    pub fence_life: Duration,
    /// How long a waiter may take to claim a free lease.
    pub turn: Duration,
    /// Where turns are announced.
    pub channel: Key,
}

/// A place in a lock's queue, as Redis keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `<deadline ms>:<name>`.
    pub ticket: String,
    /// Unix microseconds, made unique.
    pub arrival: u64,
}

/// Whether a caller who is refused wants a place in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    None,
    /// A new place under this name.
    Join(String),
    Keep(Place),
}

pub(super) struct Acquire<'a> {
    pub keys: &'a LockKeys,
    pub token: &'a Token,
    pub ttl: Duration,
    pub owner: &'a str,
    pub metadata: &'a str,
    pub patience: &'a Patience,
    /// From now.
    pub wait: Duration,
    pub queue_limit: usize,
    pub terms: &'a Terms,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    Granted {
        fence: u64,
        ends: End,
    },
    /// `None`: the lease has no end.
    Held {
        remaining: Option<Duration>,
    },
    Waiting {
        remaining: Option<Duration>,
        place: Place,
    },
    QueueFull,
}

impl ScriptCall for Acquire<'_> {
    type Raw = Vec<redis::Value>;
    type Reply = Acquired;
    const KEYS: usize = 5;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("locks/acquire.lua");

    fn bind(&self, call: &mut Binding) {
        let (ticket, arrival) = match self.patience {
            Patience::None => ("", 0),
            Patience::Join(name) => (name.as_str(), 0),
            Patience::Keep(place) => (place.ticket.as_str(), place.arrival),
        };
        bind_keys(call, self.keys)
            .arg(self.token.as_str())
            .arg(millis(self.ttl))
            .arg(&self.terms.now)
            .arg(millis(self.terms.fence_life))
            .arg(self.owner)
            .arg(self.metadata)
            .arg(ticket)
            .arg(arrival)
            .arg(millis(self.wait))
            .arg(self.queue_limit)
            .arg(millis(self.terms.turn))
            .arg(self.terms.channel.as_str());
    }

    fn decode(raw: Self::Raw) -> Result<Acquired, BadReply> {
        let reply = match raw.as_slice() {
            [kind, fence, ends] if integer(kind) == Some(1) => {
                integer(fence).zip(integer(ends)).and_then(|(fence, ends)| {
                    Some(Acquired::Granted { fence: unsigned(fence)?, ends: End(unsigned(ends)?) })
                })
            }
            [kind, remaining] if integer(kind) == Some(0) => {
                integer(remaining).map(|ms| Acquired::Held { remaining: remaining_time(ms) })
            }
            [kind, remaining, ticket, arrival] if integer(kind) == Some(2) => {
                integer(remaining).zip(text(ticket)).zip(integer(arrival)).and_then(|((ms, ticket), arrival)| {
                    let place = Place { ticket, arrival: unsigned(arrival)? };
                    Some(Acquired::Waiting { remaining: remaining_time(ms), place })
                })
            }
            [kind, _] if integer(kind) == Some(3) => Some(Acquired::QueueFull),
            _ => None,
        };
        reply.ok_or_else(|| BadReply::new(Self::SCRIPT, raw))
    }
}

/// The end under which a lease is listed in the index, Unix microseconds on Redis's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End(pub u64);

impl End {
    /// Empty: the lease has no holder's companion key, so it was never listed.
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

/// What became of a token's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owned<T> {
    Mine(T),
    /// Nobody holds the lock.
    Nobody,
    /// Another token holds it.
    Other,
}

pub(super) struct Release<'a> {
    pub keys: &'a LockKeys,
    pub token: &'a Token,
    /// Taken out of the queue as well.
    pub ticket: Option<&'a str>,
    pub terms: &'a Terms,
}

impl ScriptCall for Release<'_> {
    type Raw = (u8, String);
    type Reply = Owned<Option<End>>;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("locks/release.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.keys.lease)
            .key(&self.keys.holder)
            .key(&self.keys.queue)
            .key(&self.keys.turn)
            .arg(self.token.as_str())
            .arg(self.ticket.unwrap_or_default())
            .arg(&self.terms.now)
            .arg(millis(self.terms.turn))
            .arg(self.terms.channel.as_str());
    }

    fn decode(raw: Self::Raw) -> Result<Self::Reply, BadReply> {
        match raw {
            (1, ends) => Ok(Owned::Mine(End::parse(&ends))),
            (0, _) => Ok(Owned::Nobody),
            (2, _) => Ok(Owned::Other),
            other => Err(BadReply::new(Self::SCRIPT, other)),
        }
    }
}

pub(super) struct Extend<'a> {
    pub keys: &'a LockKeys,
    pub token: &'a Token,
    pub ttl: Duration,
    pub terms: &'a Terms,
}

/// A lease that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extended {
    /// At least what was asked for.
    pub remaining: Duration,
    /// 0 when the holder's companion key is gone.
    pub fence: u64,
    pub ends: Option<End>,
}

impl ScriptCall for Extend<'_> {
    type Raw = (u8, u64, String, String);
    type Reply = Owned<Extended>;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("locks/extend.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.keys.lease)
            .key(&self.keys.holder)
            .arg(self.token.as_str())
            .arg(millis(self.ttl))
            .arg(&self.terms.now);
    }

    fn decode(raw: Self::Raw) -> Result<Self::Reply, BadReply> {
        match raw {
            (1, remaining, fence, ends) => Ok(Owned::Mine(Extended {
                remaining: Duration::from_millis(remaining),
                fence: fence.parse().unwrap_or_default(),
                ends: End::parse(&ends),
            })),
            (0, ..) => Ok(Owned::Nobody),
            (2, ..) => Ok(Owned::Other),
            other => Err(BadReply::new(Self::SCRIPT, other)),
        }
    }
}

pub(super) struct Force<'a> {
    pub keys: &'a LockKeys,
    pub terms: &'a Terms,
}

/// What was freed by force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forced {
    pub was_held: bool,
    pub fence: u64,
    /// Empty when the holder gave no name, or was not of this service.
    pub owner: String,
    pub ends: Option<End>,
}

impl ScriptCall for Force<'_> {
    type Raw = (u8, u64, String, String);
    type Reply = Forced;
    const KEYS: usize = 5;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("locks/force.lua");

    fn bind(&self, call: &mut Binding) {
        bind_keys(call, self.keys)
            .arg(&self.terms.now)
            .arg(millis(self.terms.fence_life))
            .arg(millis(self.terms.turn))
            .arg(self.terms.channel.as_str());
    }

    fn decode((held, fence, owner, ends): Self::Raw) -> Result<Forced, BadReply> {
        Ok(Forced { was_held: held == 1, fence, owner, ends: End::parse(&ends) })
    }
}

pub(super) struct Inspect<'a> {
    pub keys: &'a LockKeys,
}

/// A lock as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inspected {
    pub waiters: u64,
    /// The highest fencing token handed out, if one is remembered.
    pub fence: Option<u64>,
    pub holder: Option<Holder>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// `None`: the lease has no end.
    pub remaining: Option<Duration>,
    /// Unix milliseconds; `None` when others than this service took the lease.
    pub acquired_at: Option<i64>,
    pub owner: String,
    pub metadata: String,
}

impl ScriptCall for Inspect<'_> {
    type Raw = (u8, i64, u64, String, String, String, String);
    type Reply = Inspected;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("locks/inspect.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.keys.lease).key(&self.keys.fence).key(&self.keys.holder).key(&self.keys.queue);
    }

    fn decode(
        (held, remaining, waiters, fence, acquired_at, owner, metadata): Self::Raw,
    ) -> Result<Inspected, BadReply> {
        let holder = (held == 1).then(|| Holder {
            remaining: remaining_time(remaining),
            acquired_at: acquired_at.parse().ok(),
            owner,
            metadata,
        });
        Ok(Inspected { waiters, fence: fence.parse().ok(), holder })
    }
}

fn bind_keys<'a>(call: &'a mut Binding, keys: &LockKeys) -> &'a mut Binding {
    call.key(&keys.lease).key(&keys.fence).key(&keys.holder).key(&keys.queue).key(&keys.turn)
}

/// Redis says -1 for a key without an end; between the check and the question none can have vanished.
pub(super) fn remaining_time(ms: i64) -> Option<Duration> {
    unsigned(ms).map(Duration::from_millis)
}

fn unsigned(number: i64) -> Option<u64> {
    u64::try_from(number).ok()
}

fn integer(value: &redis::Value) -> Option<i64> {
    redis::from_redis_value_ref(value).ok()
}

fn text(value: &redis::Value) -> Option<String> {
    redis::from_redis_value_ref(value).ok()
}
