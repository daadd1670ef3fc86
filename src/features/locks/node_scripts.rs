//! The scripts of lock nodes as typed calls; their contracts are in `migrations-lua/locks/`.

use std::time::Duration;

use super::keys::LockKeys;
use super::model::{Token, millis};
use super::scripts::{Terms, remaining_time};
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

/// How a node may vote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Franchise {
    /// How long a node stays out that may have forgotten its votes.
    pub quarantine: Duration,
    /// Whether nodes lose nothing when they restart.
    pub durable: bool,
}

pub(super) struct Enroll<'a> {
    pub record: &'a Key,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: &'a str,
    pub franchise: Franchise,
}

impl ScriptCall for Enroll<'_> {
    type Raw = u64;
    /// How long the node stays out yet; zero when it votes.
    type Reply = Duration;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("locks/enroll.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.record)
            .arg(self.now)
            .arg(millis(self.franchise.quarantine))
            .arg(u8::from(self.franchise.durable));
    }

    fn decode(raw: u64) -> Result<Duration, BadReply> {
        Ok(Duration::from_millis(raw))
    }
}

pub(super) struct Vote<'a> {
    pub keys: &'a LockKeys,
    pub record: &'a Key,
    pub token: &'a Token,
    pub ttl: Duration,
    pub owner: &'a str,
    pub metadata: &'a str,
    pub franchise: Franchise,
    /// Of the grant whose lease the node lost.
    pub take_back: Option<u64>,
    pub terms: &'a Terms,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ballot {
    Granted {
        fence: u64,
    },
    /// `None`: the lease has no end.
    Held {
        remaining: Option<Duration>,
    },
    /// The node is in quarantine.
    Out {
        remaining: Option<Duration>,
    },
    /// A later grant was made here.
    Overtaken,
}

impl ScriptCall for Vote<'_> {
    type Raw = (u8, i64);
    type Reply = Ballot;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("locks/vote.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.keys.lease)
            .key(&self.keys.fence)
            .key(&self.keys.holder)
            .key(self.record)
            .arg(self.token.as_str())
            .arg(millis(self.ttl))
            .arg(&self.terms.now)
            .arg(millis(self.terms.fence_life))
            .arg(self.owner)
            .arg(self.metadata)
            .arg(millis(self.franchise.quarantine))
            .arg(u8::from(self.franchise.durable))
            .arg(self.take_back.map(|fence| fence.to_string()).unwrap_or_default());
    }

    fn decode(raw: Self::Raw) -> Result<Ballot, BadReply> {
        match raw {
            (1, fence) => u64::try_from(fence)
                .map(|fence| Ballot::Granted { fence })
                .map_err(|_| BadReply::new(Self::SCRIPT, raw)),
            (0, ms) => Ok(Ballot::Held { remaining: remaining_time(ms) }),
            (2, ms) => Ok(Ballot::Out { remaining: remaining_time(ms) }),
            (3, _) => Ok(Ballot::Overtaken),
            other => Err(BadReply::new(Self::SCRIPT, other)),
        }
    }
}

pub(super) struct Raise<'a> {
    pub keys: &'a LockKeys,
    pub token: &'a Token,
    pub fence: u64,
    pub terms: &'a Terms,
}

impl ScriptCall for Raise<'_> {
    type Raw = u8;
    /// Whether the node holds the lease with that fence now.
    type Reply = bool;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("locks/raise.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.keys.lease)
            .key(&self.keys.fence)
            .key(&self.keys.holder)
            .arg(self.token.as_str())
            .arg(self.fence)
            .arg(millis(self.terms.fence_life));
    }

    fn decode(raw: u8) -> Result<bool, BadReply> {
        Ok(raw == 1)
    }
}
