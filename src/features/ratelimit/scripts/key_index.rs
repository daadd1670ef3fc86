//! The script that adds keys to a limiter's index.

use std::time::Duration;

use super::super::model::LimitKey;
use crate::lua;
use crate::redis::{BadReply, Effect, Key, LuaScript, OldBinding, OldScriptCall};

/// Adds keys to a limiter's index, as long as it has room.
#[derive(Debug)]
pub(in super::super) struct IndexKeys<'a> {
    pub index: &'a Key,
    /// The maximum number of keys in the index.
    pub max: usize,
    /// The index's new TTL.
    pub ttl: Duration,
    pub keys: &'a [&'a LimitKey],
}

impl OldScriptCall for IndexKeys<'_> {
    type Raw = u64;
    /// The number of keys in the index.
    type Reply = u64;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("ratelimit/index_keys.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.index).arg(self.max).arg(u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX));
        for key in self.keys {
            call.arg(key.as_str());
        }
    }

    fn decode(raw: u64) -> Result<u64, BadReply> {
        Ok(raw)
    }
}
