//! The scripts of the index as typed calls; their contracts are in `migrations-lua/locks/`.

use std::time::Duration;

use super::model::{Resource, millis};
use super::scripts::End;
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

/// A change of the index.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub resource: Resource,
    /// The end of the lease that is listed from now on; of one that was released, under which it was listed.
    pub ends: End,
    pub happened: Happened,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Happened {
    /// For so long.
    Granted(Duration),
    Extended,
    Released,
}

pub(super) struct Relist<'a> {
    pub index: &'a Key,
    pub limit: usize,
    /// How long the index outlives its last change.
    pub life: Duration,
    pub changes: &'a [Change],
}

impl ScriptCall for Relist<'_> {
    type Raw = u64;
    /// How many leases had ended, unreleased, when their resource was granted anew.
    type Reply = u64;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("locks/relist.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.index).arg(self.limit).arg(millis(self.life));
        for Change { resource, ends: End(ends_us), happened } in self.changes {
            let (happened, began_us) = match happened {
                Happened::Granted(ttl) => ("granted", ends_us.saturating_sub(millis(*ttl) * 1_000)),
                Happened::Extended => ("extended", 0),
                Happened::Released => ("released", 0),
            };
            call.arg(happened).arg(resource.as_str()).arg(ends_us).arg(began_us);
        }
    }

    fn decode(raw: u64) -> Result<u64, BadReply> {
        Ok(raw)
    }
}

pub(super) struct Sweep<'a> {
    pub index: &'a Key,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: &'a str,
    /// How long ago a lease must have ended.
    pub grace: Duration,
    pub most: u64,
}

impl ScriptCall for Sweep<'_> {
    type Raw = u64;
    /// How many leases were taken out.
    type Reply = u64;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("locks/sweep.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.index).arg(self.now).arg(millis(self.grace)).arg(self.most);
    }

    fn decode(raw: u64) -> Result<u64, BadReply> {
        Ok(raw)
    }
}
