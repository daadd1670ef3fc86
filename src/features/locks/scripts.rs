//! The scripts of one lock as typed calls. Their contracts are in `migrations-lua/locks/`.

use std::time::Duration;

use super::acquire::{AcquireOutcome, AcquireSpec, QueueEntry, WaitMode};
use super::keys::LockKeys;
use super::model::{Token, Votes, millis};
use crate::lua;
use crate::redis::{BadReply, Effect, Key, LuaScript, OldBinding, OldScriptCall};

/// How long the first waiter has a free lock to itself before the next one may claim it.
///
/// If the replica of the first waiter died, the others lose this much time. With less than a busy replica needs,
/// waiters would lose their turns.
pub(super) const TURN: Duration = Duration::from_millis(50);

/// Arguments that several scripts take.
#[derive(Clone, Debug)]
pub(super) struct CommonArguments {
    /// [`crate::clock::Clock::redis_arg`].
    pub now: String,
    pub fence_ttl: Duration,
    /// The channel on which scripts announce turns.
    pub channel: Key,
}

pub(super) struct Acquire<'a> {
    pub keys: &'a LockKeys,
    pub spec: &'a AcquireSpec,
    pub token: &'a Token,
    pub wait_mode: &'a WaitMode,
    pub queue_limit: usize,
    pub common: &'a CommonArguments,
}

impl OldScriptCall for Acquire<'_> {
    type Raw = Vec<redis::Value>;
    type Reply = AcquireOutcome;
    const KEYS: usize = 5;
    const EFFECT: Effect = Effect::Write;
    const SCRIPT: &'static LuaScript = lua!("locks/acquire.lua");

    fn bind(&self, call: &mut OldBinding) {
        let (ticket, arrival, wait) = match self.wait_mode {
            WaitMode::NoWait => ("", 0, Duration::ZERO),
            WaitMode::Join { name, wait } => (name.as_str(), 0, *wait),
            WaitMode::Keep { entry, wait } => (entry.ticket.as_str(), entry.arrival, *wait),
        };
        bind_keys(call, self.keys)
            .arg(self.token.as_str())
            .arg(millis(self.spec.ttl))
            .arg(&self.common.now)
            .arg(millis(self.common.fence_ttl))
            .arg(&self.spec.owner)
            .arg(&self.spec.metadata)
            .arg(ticket)
            .arg(arrival)
            .arg(millis(wait))
            .arg(self.queue_limit)
            .arg(millis(TURN))
            .arg(self.common.channel.as_str());
    }

    fn decode(raw: Self::Raw) -> Result<AcquireOutcome, BadReply> {
        let outcome = match raw.as_slice() {
            [kind, fence, ends_us] if integer(kind) == Some(1) => {
                integer(fence).zip(integer(ends_us)).and_then(|(fence, ends_us)| {
                    let ends_us = Some(unsigned(ends_us)?);
                    Some(AcquireOutcome::Granted { fence: unsigned(fence)?, ends_us, votes: Votes::SINGLE })
                })
            }
            [kind, remaining] if integer(kind) == Some(0) => {
                integer(remaining).map(|ms| AcquireOutcome::Held { remaining: remaining_time(ms) })
            }
            [kind, remaining, ticket, arrival] if integer(kind) == Some(2) => {
                integer(remaining).zip(text(ticket)).zip(integer(arrival)).and_then(|((ms, ticket), arrival)| {
                    let entry = QueueEntry { ticket, arrival: unsigned(arrival)? };
                    Some(AcquireOutcome::Queued { remaining: remaining_time(ms), entry })
                })
            }
            [kind, _] if integer(kind) == Some(3) => Some(AcquireOutcome::QueueFull),
            _ => None,
        };
        outcome.ok_or_else(|| BadReply::new(raw))
    }
}

/// Whether a token holds a lock; `T` describes its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership<T> {
    Held(T),
    /// The lock is free.
    Free,
    /// Another token holds the lock.
    Other,
}

pub(super) struct Release<'a> {
    pub keys: &'a LockKeys,
    pub token: &'a Token,
    /// A ticket to remove from the queue too.
    pub ticket: Option<&'a str>,
    pub common: &'a CommonArguments,
}

impl OldScriptCall for Release<'_> {
    type Raw = (u8, String);
    /// [`Extension::ends_us`] of the released lease.
    type Reply = Ownership<Option<u64>>;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;
    const SCRIPT: &'static LuaScript = lua!("locks/release.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.keys.lease)
            .key(&self.keys.holder)
            .key(&self.keys.queue)
            .key(&self.keys.turn)
            .arg(self.token.as_str())
            .arg(self.ticket.unwrap_or_default())
            .arg(&self.common.now)
            .arg(millis(TURN))
            .arg(self.common.channel.as_str());
    }

    fn decode(raw: Self::Raw) -> Result<Self::Reply, BadReply> {
        match raw {
            (1, ends_us) => Ok(Ownership::Held(ends_us.parse().ok())),
            (0, _) => Ok(Ownership::Free),
            (2, _) => Ok(Ownership::Other),
            other => Err(BadReply::new(other)),
        }
    }
}

pub(super) struct Extend<'a> {
    pub keys: &'a LockKeys,
    pub token: &'a Token,
    pub ttl: Duration,
    pub common: &'a CommonArguments,
}

/// A lease after an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extension {
    /// At least the requested TTL.
    pub remaining: Duration,
    /// 0 if the lock's holder key is gone.
    pub fence: u64,
    /// The end of the lease under which the index lists it, Unix microseconds on Redis's clock. `None` if the index
    /// does not list it.
    pub ends_us: Option<u64>,
    pub votes: Votes,
}

impl OldScriptCall for Extend<'_> {
    type Raw = (u8, u64, String, String);
    type Reply = Ownership<Extension>;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;
    const SCRIPT: &'static LuaScript = lua!("locks/extend.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.keys.lease)
            .key(&self.keys.holder)
            .arg(self.token.as_str())
            .arg(millis(self.ttl))
            .arg(&self.common.now);
    }

    fn decode(raw: Self::Raw) -> Result<Self::Reply, BadReply> {
        match raw {
            (1, remaining, fence, ends_us) => Ok(Ownership::Held(Extension {
                remaining: Duration::from_millis(remaining),
                fence: fence.parse().unwrap_or_default(),
                ends_us: ends_us.parse().ok(),
                votes: Votes::SINGLE,
            })),
            (0, ..) => Ok(Ownership::Free),
            (2, ..) => Ok(Ownership::Other),
            other => Err(BadReply::new(other)),
        }
    }
}

pub(super) struct ForceRelease<'a> {
    pub keys: &'a LockKeys,
    pub common: &'a CommonArguments,
}

/// A lock that was freed by force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForcedRelease {
    pub was_held: bool,
    /// The fencing token above which the next grant starts.
    pub fence: u64,
    /// Empty if the holder had no name, or was another program.
    pub owner: String,
    /// See [`Extension::ends_us`].
    pub ends_us: Option<u64>,
}

impl OldScriptCall for ForceRelease<'_> {
    type Raw = (u8, u64, String, String);
    type Reply = ForcedRelease;
    const KEYS: usize = 5;
    const EFFECT: Effect = Effect::Write;
    const SCRIPT: &'static LuaScript = lua!("locks/force_release.lua");

    fn bind(&self, call: &mut OldBinding) {
        bind_keys(call, self.keys)
            .arg(&self.common.now)
            .arg(millis(self.common.fence_ttl))
            .arg(millis(TURN))
            .arg(self.common.channel.as_str());
    }

    fn decode((held, fence, owner, ends_us): Self::Raw) -> Result<ForcedRelease, BadReply> {
        Ok(ForcedRelease { was_held: held == 1, fence, owner, ends_us: ends_us.parse().ok() })
    }
}

pub(super) struct Inspect<'a> {
    pub keys: &'a LockKeys,
}

/// The state of a lock in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inspection {
    pub waiters: u64,
    /// The highest fencing token ever granted, while Redis remembers it.
    pub fence: Option<u64>,
    pub holder: Option<Holder>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// `None` if the lease never expires.
    pub remaining: Option<Duration>,
    /// Unix milliseconds; `None` if another program acquired the lease.
    pub acquired_at: Option<i64>,
    pub owner: String,
    pub metadata: String,
}

impl OldScriptCall for Inspect<'_> {
    type Raw = (u8, i64, u64, String, String, String, String);
    type Reply = Inspection;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Read;
    const SCRIPT: &'static LuaScript = lua!("locks/inspect.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.keys.lease).key(&self.keys.fence).key(&self.keys.holder).key(&self.keys.queue);
    }

    fn decode(
        (held, remaining, waiters, fence, acquired_at, owner, metadata): Self::Raw,
    ) -> Result<Inspection, BadReply> {
        let holder = (held == 1).then(|| Holder {
            remaining: remaining_time(remaining),
            acquired_at: acquired_at.parse().ok(),
            owner,
            metadata,
        });
        Ok(Inspection { waiters, fence: fence.parse().ok(), holder })
    }
}

fn bind_keys<'a>(call: &'a mut OldBinding, keys: &LockKeys) -> &'a mut OldBinding {
    call.key(&keys.lease).key(&keys.fence).key(&keys.holder).key(&keys.queue).key(&keys.turn)
}

/// The time behind PTTL's answer, which is -1 for a key that never expires. The scripts ask only for keys that exist.
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
