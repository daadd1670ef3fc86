//! The call that adds to a counter.

use super::super::keys::EntryKeys;
use super::super::model::Counter;
use crate::lua;
use crate::redis::{BadReply, Effect, Fence, Key, LuaScript, OldBinding, OldScriptCall};

pub(in super::super) struct Increment<'a> {
    pub entry: &'a EntryKeys,
    pub by: i64,
    /// The TTL of a counter that the call creates, milliseconds; `None`: no expiry.
    pub ttl: Option<u64>,
    pub answer: &'a Key,
    /// How long the result is kept, milliseconds; 0: not at all.
    pub answer_ttl: u64,
    pub fence: Option<&'a Fence>,
}

pub(in super::super) enum IncrementReply {
    Done(Counter),
    /// The value has tags that must be checked.
    CheckTags,
    NotANumber,
}

impl OldScriptCall for Increment<'_> {
    type Raw = (String, String);
    type Reply = IncrementReply;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("cache/increment.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.entry.value).key(&self.entry.lease()).key(&self.entry.stale_copy()).key(self.answer);
        call.arg(self.by).arg(self.ttl.unwrap_or(0)).arg(self.answer_ttl);
    }

    fn decode((status, answer): Self::Raw) -> Result<IncrementReply, BadReply> {
        match status.as_str() {
            "done" => counter(&answer).map(IncrementReply::Done).ok_or_else(|| BadReply::new(answer)),
            "tagged" => Ok(IncrementReply::CheckTags),
            "not-a-number" => Ok(IncrementReply::NotANumber),
            other => Err(BadReply::new(other)),
        }
    }
}

/// Parses `value ttl created`.
pub(in super::super) fn counter(answer: &str) -> Option<Counter> {
    let mut words = answer.split(' ');
    let value = words.next()?.parse().ok()?;
    let ttl: i64 = words.next()?.parse().ok()?;
    Some(Counter { value, ttl_ms: u64::try_from(ttl).ok(), created: words.next()? == "1" })
}
