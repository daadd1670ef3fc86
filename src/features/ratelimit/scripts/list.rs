//! The lists of keys in use.

use std::time::Duration;

use super::super::model::LimitKey;
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

/// Enters keys into a limiter's list.
#[derive(Debug)]
pub(in super::super) struct Enter<'a> {
    pub list: &'a Key,
    pub most: usize,
    /// How long the list lives on.
    pub life: Duration,
    pub keys: &'a [&'a LimitKey],
}

impl ScriptCall for Enter<'_> {
    type Raw = u64;
    /// How many are listed.
    type Reply = u64;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("ratelimit/list.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.list).arg(self.most).arg(u64::try_from(self.life.as_millis()).unwrap_or(u64::MAX));
        for key in self.keys {
            call.arg(key.as_str());
        }
    }

    fn decode(raw: u64) -> Result<u64, BadReply> {
        Ok(raw)
    }
}
