//! The scripts of the index as typed calls. Their contracts are in `migrations-lua/locks/`.

use std::time::Duration;

use super::super::model::{Resource, millis};
use crate::lua;
use crate::redis::{BadReply, Effect, Key, LuaScript, OldBinding, OldScriptCall};

/// A change of the index. `ends_us` is the end of the lease under which the index lists, or listed, the resource.
#[derive(Clone, Debug)]
pub(super) enum IndexChange {
    Granted { resource: Resource, ends_us: u64, ttl: Duration },
    Extended { resource: Resource, ends_us: u64 },
    Released { resource: Resource, ends_us: u64 },
}

pub(in super::super) struct UpdateIndex<'a> {
    pub index: &'a Key,
    pub limit: usize,
    /// The TTL of the index after its last change.
    pub ttl: Duration,
    pub(super) changes: &'a [IndexChange],
}

impl OldScriptCall for UpdateIndex<'_> {
    type Raw = u64;
    /// How many leases had expired when their resource was granted again.
    type Reply = u64;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;
    const SCRIPT: &'static LuaScript = lua!("locks/update_index.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.index).arg(self.limit).arg(millis(self.ttl));
        for change in self.changes {
            let began_us = match change {
                IndexChange::Granted { ends_us, ttl, .. } => ends_us.saturating_sub(millis(*ttl) * 1_000),
                IndexChange::Extended { .. } | IndexChange::Released { .. } => 0,
            };
            let (event, resource, ends_us) = match change {
                IndexChange::Granted { resource, ends_us, .. } => ("granted", resource, ends_us),
                IndexChange::Extended { resource, ends_us } => ("extended", resource, ends_us),
                IndexChange::Released { resource, ends_us } => ("released", resource, ends_us),
            };
            call.arg(event).arg(resource.as_str()).arg(ends_us).arg(began_us);
        }
    }

    fn decode(raw: u64) -> Result<u64, BadReply> {
        Ok(raw)
    }
}

pub(in super::super) struct SweepIndex<'a> {
    pub index: &'a Key,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: &'a str,
    /// How long ago a lease must have ended.
    pub grace: Duration,
    pub limit: u64,
}

impl OldScriptCall for SweepIndex<'_> {
    type Raw = u64;
    /// How many leases were removed.
    type Reply = u64;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;
    const SCRIPT: &'static LuaScript = lua!("locks/sweep_index.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.index).arg(self.now).arg(millis(self.grace)).arg(self.limit);
    }

    fn decode(raw: u64) -> Result<u64, BadReply> {
        Ok(raw)
    }
}
