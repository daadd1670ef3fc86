//! Calls that read and raise the generations of tags.

use super::super::stored_value::Generation;
use crate::lua;
use crate::redis::{BadReply, Effect, Fence, Key, LuaScript, OldBinding, OldScriptCall};

pub(in super::super) struct TagOpen<'a> {
    pub tag: &'a Key,
    /// Milliseconds, above 0.
    pub ttl: u64,
}

impl OldScriptCall for TagOpen<'_> {
    type Raw = String;
    type Reply = Generation;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("cache/tag_open.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.tag).arg(self.ttl);
    }

    fn decode(raw: String) -> Result<Generation, BadReply> {
        raw.parse().map_err(|_| BadReply::new(raw))
    }
}

pub(in super::super) struct TagRaise<'a> {
    pub tag: &'a Key,
    pub fence: Option<&'a Fence>,
}

impl OldScriptCall for TagRaise<'_> {
    type Raw = i64;
    type Reply = ();
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("cache/tag_raise.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.tag);
    }

    fn decode(_: i64) -> Result<(), BadReply> {
        Ok(())
    }
}
