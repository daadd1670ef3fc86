//! The scripts of lock nodes as typed calls. Their contracts are in `migrations-lua/locks/`.

use std::time::Duration;

use super::super::acquire::AcquireSpec;
use super::super::keys::LockKeys;
use super::super::model::{Token, millis};
use super::super::scripts::{CommonArguments, remaining_time};
use crate::lua;
use crate::redis::{BadReply, Effect, Key, LuaScript, OldBinding, OldScriptCall};

/// The conditions under which a node may vote.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Eligibility {
    /// How long a node abstains that may have forgotten its votes.
    pub quarantine: Duration,
    /// Whether a node loses nothing when it restarts.
    pub durable: bool,
}

/// Starts the quarantine of a node that is new, was emptied or has restarted.
pub(in super::super) struct RegisterNode<'a> {
    pub record: &'a Key,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: &'a str,
    pub eligibility: Eligibility,
}

impl OldScriptCall for RegisterNode<'_> {
    type Raw = u64;
    /// The rest of the quarantine; zero if the node votes.
    type Reply = Duration;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;
    const SCRIPT: &'static LuaScript = lua!("locks/register_node.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.record)
            .arg(self.now)
            .arg(millis(self.eligibility.quarantine))
            .arg(u8::from(self.eligibility.durable));
    }

    fn decode(raw: u64) -> Result<Duration, BadReply> {
        Ok(Duration::from_millis(raw))
    }
}

/// Asks a node for its lease.
pub(in super::super) struct Vote<'a> {
    pub keys: &'a LockKeys,
    pub record: &'a Key,
    pub spec: &'a AcquireSpec,
    pub token: &'a Token,
    pub eligibility: Eligibility,
    /// The fencing token of the grant whose lease the node lost.
    pub restore: Option<u64>,
    pub common: &'a CommonArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum VoteReply {
    Granted {
        fence: u64,
    },
    /// `remaining` is `None` if the lease never expires.
    Held {
        remaining: Option<Duration>,
    },
    Quarantined,
    /// The node has made a later grant, so it does not restore the lease.
    Superseded,
}

impl OldScriptCall for Vote<'_> {
    type Raw = (u8, i64);
    type Reply = VoteReply;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;
    const SCRIPT: &'static LuaScript = lua!("locks/vote.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.keys.lease)
            .key(&self.keys.fence)
            .key(&self.keys.holder)
            .key(self.record)
            .arg(self.token.as_str())
            .arg(millis(self.spec.ttl))
            .arg(&self.common.now)
            .arg(millis(self.common.fence_ttl))
            .arg(&self.spec.owner)
            .arg(&self.spec.metadata)
            .arg(millis(self.eligibility.quarantine))
            .arg(u8::from(self.eligibility.durable))
            .arg(self.restore.map(|fence| fence.to_string()).unwrap_or_default());
    }

    fn decode(raw: Self::Raw) -> Result<VoteReply, BadReply> {
        match raw {
            (1, fence) => {
                u64::try_from(fence).map(|fence| VoteReply::Granted { fence }).map_err(|_| BadReply::new(raw))
            }
            (0, ms) => Ok(VoteReply::Held { remaining: remaining_time(ms) }),
            (2, _) => Ok(VoteReply::Quarantined),
            (3, _) => Ok(VoteReply::Superseded),
            other => Err(BadReply::new(other)),
        }
    }
}

/// Raises a node's fence to that of the grant.
pub(in super::super) struct RaiseFence<'a> {
    pub keys: &'a LockKeys,
    pub token: &'a Token,
    pub fence: u64,
    pub common: &'a CommonArguments,
}

impl OldScriptCall for RaiseFence<'_> {
    type Raw = u8;
    /// Whether the node holds the lease with that fence now.
    type Reply = bool;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;
    const SCRIPT: &'static LuaScript = lua!("locks/raise_fence.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.keys.lease)
            .key(&self.keys.fence)
            .key(&self.keys.holder)
            .arg(self.token.as_str())
            .arg(self.fence)
            .arg(millis(self.common.fence_ttl));
    }

    fn decode(raw: u8) -> Result<bool, BadReply> {
        Ok(raw == 1)
    }
}
