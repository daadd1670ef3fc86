//! The scripts of locks as typed calls. Their contracts are in `migrations-lua/locks/`.

use std::time::Duration;

use redis::Value;

use super::acquire_spec::AcquireSpec;
use super::config::LocksConfig;
use super::keys::{LockKeys, node_record, wake_channel};
use super::model::{Resource, Token, Votes, millis};
use super::validity::drift;
use crate::clock::Clock;
use crate::lua_scripts;
use crate::redis::{BadReply, Binding, Key, Redis, ScriptCall, flag};

lua_scripts! {
    ACQUIRE = "locks/acquire.lua" after "locks/fence.lua";
    RELEASE = "locks/release.lua";
    EXTEND = "locks/extend.lua";
    FORCE_RELEASE = "locks/force_release.lua" after "locks/fence.lua";
    INSPECT = "locks/inspect.lua";
    UPDATE_INDEX = "locks/update_index.lua";
    SWEEP_INDEX = "locks/sweep_index.lua";
    REGISTER_NODE = "locks/register_node.lua";
    VOTE = "locks/vote.lua" after "locks/fence.lua";
    RAISE_FENCE = "locks/raise_fence.lua";
}

/// How long the first waiter has a free lock to itself before the next one may claim it.
///
/// If the replica of the first waiter died, the others lose this much time. With less than a busy replica needs,
/// waiters would lose their turns.
pub(super) const TURN: Duration = Duration::from_millis(50);

/// The leases, and the queues of waiters, on one Redis: the calls that read and change them.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    pub redis: Redis,
    key_prefix: &'static str,
    clock: Clock,
    fence_ttl: Duration,
    queue_limit: usize,
    /// How long a lock node abstains that may have forgotten its votes.
    quarantine: Duration,
    /// Whether a lock node loses nothing when it restarts.
    is_durable: bool,
}

/// A position in a lock's queue, as Redis stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueueEntry {
    /// `<deadline ms>:<name>`, or only the name to join the queue.
    pub ticket: String,
    /// Unix microseconds, made unique within the queue; 0 to join it.
    pub arrival: u64,
}

/// The outcome of one attempt to acquire a lock.
///
/// `remaining` is the time until the lease, or the turn of the first waiter, ends; `None` if the lease never expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AcquireOutcome {
    Granted {
        fence: u64,
        /// See [`Extension::ends_us`].
        ends_us: Option<u64>,
        votes: Votes,
    },
    Held {
        remaining: Option<Duration>,
    },
    Queued {
        remaining: Option<Duration>,
        entry: QueueEntry,
    },
    QueueFull,
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

/// The reply of `inspect.lua`: held, remaining time, waiters, arrival of the first one, fence, time of the grant, owner,
/// metadata.
type InspectReply = (u8, i64, u64, String, String, String, String, String);

/// The state of a lock in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inspection {
    pub waiters: u64,
    /// When the first of them joined the queue, Unix microseconds.
    pub first_arrival: Option<u64>,
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

/// A lock node's reply to a request for its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VoteReply {
    Granted {
        fence: u64,
    },
    /// `remaining` is `None` if the lease never expires.
    Held {
        remaining: Option<Duration>,
    },
    /// The node is in quarantine, or has made a later grant and does not restore the lease.
    Abstained,
}

/// A change of the index. `ends_us` is the end of the lease under which the index lists, or listed, the resource.
#[derive(Clone, Debug)]
pub(super) struct IndexChange {
    /// `granted`, `extended` or `released`.
    pub event: &'static str,
    pub resource: Resource,
    pub ends_us: u64,
    /// When a granted lease began, Unix microseconds; else 0.
    pub began_us: u64,
}

impl Leases {
    /// `key_prefix`: see [`LockKeys::new`].
    pub(super) fn new(redis: &Redis, key_prefix: &'static str, clock: &Clock, config: &LocksConfig) -> Self {
        let longest = config.longest_lease();
        Self {
            redis: redis.clone(),
            key_prefix,
            clock: clock.clone(),
            fence_ttl: config.fence_ttl(),
            queue_limit: config.queue_limit,
            quarantine: longest + drift(longest),
            is_durable: config.nodes_durable,
        }
    }

    pub(super) fn keys(&self, resource: &Resource) -> LockKeys {
        LockKeys::new(self.redis.keys(), self.key_prefix, resource)
    }

    /// The channel on which scripts announce turns.
    fn channel(&self) -> Key {
        wake_channel(self.redis.keys())
    }

    /// Grants the lease if the lock is free. If it is not, the client takes this entry in the queue for `spec.wait`
    /// from now.
    pub(super) fn acquire(
        &self,
        spec: &AcquireSpec,
        token: &Token,
        entry: Option<&QueueEntry>,
    ) -> ScriptCall<Vec<Value>, AcquireOutcome> {
        let keys = self.keys(&spec.resource);
        ACQUIRE
            .write(&[&keys.lease, &keys.fence, &keys.ahead, &keys.holder, &keys.queue, &keys.turn])
            .arg(self.clock.redis_arg())
            .arg(millis(self.fence_ttl))
            .arg(token.as_str())
            .arg(millis(spec.ttl))
            .arg(&spec.owner)
            .arg(&spec.metadata)
            .arg(entry.map_or("", |entry| &entry.ticket))
            .arg(entry.map_or(0, |entry| entry.arrival))
            .arg(millis(spec.wait))
            .arg(self.queue_limit)
            .arg(millis(TURN))
            .arg(self.channel().as_str())
            .returns(|raw: Vec<Value>| acquire_outcome(&raw).ok_or_else(|| BadReply::new(raw)))
    }

    /// Releases by token, and removes the ticket from the queue. Returns [`Extension::ends_us`] of the lease.
    pub(super) fn release(
        &self,
        resource: &Resource,
        token: &Token,
        ticket: Option<&str>,
    ) -> ScriptCall<(u8, String), Ownership<Option<u64>>> {
        let keys = self.keys(resource);
        RELEASE
            .write(&[&keys.lease, &keys.holder, &keys.queue, &keys.turn])
            .arg(token.as_str())
            .arg(ticket.unwrap_or_default())
            .arg(self.clock.redis_arg())
            .arg(millis(TURN))
            .arg(self.channel().as_str())
            .returns(|(code, ends_us)| ownership(code, ends_us.parse().ok()))
    }

    /// Extends the lease of a token to `ttl` from now; it is never shortened.
    pub(super) fn extend(
        &self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
    ) -> ScriptCall<(u8, u64, String, String), Ownership<Extension>> {
        let keys = self.keys(resource);
        EXTEND
            .write(&[&keys.lease, &keys.holder])
            .arg(token.as_str())
            .arg(millis(ttl))
            .arg(self.clock.redis_arg())
            .returns(|(code, remaining, fence, ends_us)| {
                let extension = Extension {
                    remaining: Duration::from_millis(remaining),
                    fence: fence.parse().unwrap_or_default(),
                    ends_us: ends_us.parse().ok(),
                    votes: Votes::SINGLE,
                };
                ownership(code, extension)
            })
    }

    /// Frees a lock regardless of its holder, and raises its fence.
    pub(super) fn force_release(&self, resource: &Resource) -> ScriptCall<(u8, u64, String, String), ForcedRelease> {
        let keys = self.keys(resource);
        FORCE_RELEASE
            .write(&[&keys.lease, &keys.fence, &keys.ahead, &keys.holder, &keys.queue, &keys.turn])
            .arg(self.clock.redis_arg())
            .arg(millis(self.fence_ttl))
            .arg(millis(TURN))
            .arg(self.channel().as_str())
            .returns(|(held, fence, owner, ends_us)| {
                Ok(ForcedRelease { was_held: held == 1, fence, owner, ends_us: ends_us.parse().ok() })
            })
    }

    pub(super) fn inspect(&self, resource: &Resource) -> ScriptCall<InspectReply, Inspection> {
        let keys = self.keys(resource);
        INSPECT.read(&[&keys.lease, &keys.fence, &keys.holder, &keys.queue]).returns(
            |(held, remaining, waiters, arrival, fence, acquired_at, owner, metadata)| {
                let holder = Holder {
                    remaining: remaining_time(remaining),
                    acquired_at: acquired_at.parse().ok(),
                    owner,
                    metadata,
                };
                Ok(Inspection {
                    waiters,
                    first_arrival: arrival.parse().ok(),
                    fence: fence.parse().ok(),
                    holder: (held == 1).then_some(holder),
                })
            },
        )
    }

    /// Asks a lock node for its lease; `restore` is the fencing token of a grant whose lease the node lost.
    pub(super) fn vote(
        &self,
        spec: &AcquireSpec,
        token: &Token,
        restore: Option<u64>,
    ) -> ScriptCall<(u8, i64), VoteReply> {
        let keys = self.keys(&spec.resource);
        VOTE.write(&[&keys.lease, &keys.fence, &keys.ahead, &keys.holder, &node_record(self.redis.keys())])
            .arg(self.clock.redis_arg())
            .arg(millis(self.fence_ttl))
            .arg(token.as_str())
            .arg(millis(spec.ttl))
            .arg(&spec.owner)
            .arg(&spec.metadata)
            .arg(millis(self.quarantine))
            .arg(u8::from(self.is_durable))
            .arg(restore.map(|fence| fence.to_string()).unwrap_or_default())
            .returns(|raw| match raw {
                (0, ms) => Ok(VoteReply::Held { remaining: remaining_time(ms) }),
                (1, fence) => {
                    u64::try_from(fence).map(|fence| VoteReply::Granted { fence }).map_err(|_| BadReply::new(raw))
                }
                (2 | 3, _) => Ok(VoteReply::Abstained),
                other => Err(BadReply::new(other)),
            })
    }

    /// Raises a lock node's fence to that of the grant. Returns whether the node holds the lease with that fence now.
    pub(super) fn raise_fence(&self, resource: &Resource, token: &Token, fence: u64) -> ScriptCall<i64, bool> {
        let keys = self.keys(resource);
        RAISE_FENCE
            .write(&[&keys.lease, &keys.fence, &keys.holder])
            .arg(token.as_str())
            .arg(fence)
            .arg(millis(self.fence_ttl))
            .returns(flag)
    }

    /// Returns the rest of a lock node's quarantine, which this call starts if it is due; zero if the node votes.
    pub(super) fn register_node(&self) -> ScriptCall<u64, Duration> {
        REGISTER_NODE
            .write(&[&node_record(self.redis.keys())])
            .arg(self.clock.redis_arg())
            .arg(millis(self.quarantine))
            .arg(u8::from(self.is_durable))
            .returns(|rest| Ok(Duration::from_millis(rest)))
    }
}

/// Applies changes to the index, trims it to `limit` entries and resets its TTL. Returns how many leases had expired
/// when their resource was granted again.
pub(super) fn update_index(index: &Key, limit: usize, ttl: Duration, changes: &[IndexChange]) -> ScriptCall<u64, u64> {
    let call = UPDATE_INDEX.write(&[index]).arg(limit).arg(millis(ttl));
    let add = |call: Binding, change: &IndexChange| {
        call.arg(change.event).arg(change.resource.as_str()).arg(change.ends_us).arg(change.began_us)
    };
    changes.iter().fold(call, add).returns(Ok)
}

/// Removes up to `limit` leases that ended longer than `grace` ago from the index. Returns how many were removed, and how
/// many leases have not ended.
pub(super) fn sweep_index(
    index: &Key,
    clock: &Clock,
    grace: Duration,
    limit: u64,
) -> ScriptCall<(u64, i64), (u64, i64)> {
    SWEEP_INDEX.write(&[index]).arg(clock.redis_arg()).arg(millis(grace)).arg(limit).returns(Ok)
}

fn acquire_outcome(raw: &[Value]) -> Option<AcquireOutcome> {
    let integer = |at| redis::from_redis_value_ref::<i64>(raw.get(at)?).ok();
    let unsigned = |at| integer(at).and_then(|number| u64::try_from(number).ok());
    match (integer(0)?, raw.len()) {
        (0, 2) => Some(AcquireOutcome::Held { remaining: remaining_time(integer(1)?) }),
        (1, 3) => {
            Some(AcquireOutcome::Granted { fence: unsigned(1)?, ends_us: Some(unsigned(2)?), votes: Votes::SINGLE })
        }
        (2, 4) => {
            let ticket = redis::from_redis_value_ref(raw.get(2)?).ok()?;
            let entry = QueueEntry { ticket, arrival: unsigned(3)? };
            Some(AcquireOutcome::Queued { remaining: remaining_time(integer(1)?), entry })
        }
        (3, 2) => Some(AcquireOutcome::QueueFull),
        _ => None,
    }
}

fn ownership<T>(code: u8, lease: T) -> Result<Ownership<T>, BadReply> {
    match code {
        0 => Ok(Ownership::Free),
        1 => Ok(Ownership::Held(lease)),
        2 => Ok(Ownership::Other),
        other => Err(BadReply::new(other)),
    }
}

/// The time behind PTTL's answer, which is -1 for a key that never expires. The scripts ask only for keys that exist.
fn remaining_time(ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}
