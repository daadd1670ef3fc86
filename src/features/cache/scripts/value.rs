//! Calls that change single values.

use redis::Value;

use super::super::keys::EntryKeys;
use crate::lua;
use crate::redis::{BadReply, Effect, Fence, LuaScript, OldBinding, OldScriptCall};

/// What must be stored for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Expected {
    Anything,
    Absent,
    /// The value with this digest, see [`super::super::stored_value::StoredValue::digest`].
    Digest(String),
}

impl Expected {
    fn arg(&self) -> &str {
        match self {
            Self::Anything => "",
            Self::Absent => "absent",
            Self::Digest(digest) => digest,
        }
    }
}

pub(in super::super) struct Put<'a> {
    pub entry: &'a EntryKeys,
    pub bytes: &'a [u8],
    /// Milliseconds; `None`: no expiry.
    pub ttl: Option<u64>,
    pub keep_ttl: bool,
    pub expected: &'a Expected,
    /// Empty: no lease is needed.
    pub lease: &'a str,
    pub fence: Option<&'a Fence>,
}

pub(in super::super) enum PutReply {
    /// The remaining TTL is in milliseconds; `None`: no expiry.
    Stored {
        created: bool,
        ttl: Option<u64>,
    },
    Changed,
    LeaseLost,
}

impl OldScriptCall for Put<'_> {
    type Raw = (String, i64);
    type Reply = PutReply;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("cache/put.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.entry.value).key(&self.entry.lease()).key(&self.entry.stale_copy());
        call.arg(self.bytes).arg(self.ttl.unwrap_or(0)).arg(u8::from(self.keep_ttl));
        call.arg(stale_ms(self.entry)).arg(self.expected.arg()).arg(self.lease);
    }

    fn decode(raw: Self::Raw) -> Result<PutReply, BadReply> {
        match (raw.0.as_str(), raw.1) {
            ("created", left) => Ok(PutReply::Stored { created: true, ttl: u64::try_from(left).ok() }),
            ("replaced", left) => Ok(PutReply::Stored { created: false, ttl: u64::try_from(left).ok() }),
            ("changed", _) => Ok(PutReply::Changed),
            ("lease-lost", _) => Ok(PutReply::LeaseLost),
            other => Err(BadReply::new(other)),
        }
    }
}

/// How much longer the copy is kept than the value, milliseconds; 0: no copy.
fn stale_ms(entry: &EntryKeys) -> u64 {
    entry.stale.map_or(0, crate::config::value::Span::as_millis)
}

pub(in super::super) struct Delete<'a> {
    pub entry: &'a EntryKeys,
    /// `Absent` has nothing to delete and needs no call.
    pub expected: &'a Expected,
    pub fence: Option<&'a Fence>,
}

pub(in super::super) enum DeleteReply {
    Deleted,
    Absent,
    Changed,
}

impl OldScriptCall for Delete<'_> {
    type Raw = i64;
    type Reply = DeleteReply;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("cache/delete.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.entry.value).key(&self.entry.lease()).key(&self.entry.stale_copy()).arg(self.expected.arg());
    }

    fn decode(raw: i64) -> Result<DeleteReply, BadReply> {
        match raw {
            1 => Ok(DeleteReply::Deleted),
            0 => Ok(DeleteReply::Absent),
            -1 => Ok(DeleteReply::Changed),
            other => Err(BadReply::new(other)),
        }
    }
}

/// Drops a value with an invalidated tag.
pub(in super::super) struct Drop<'a> {
    pub entry: &'a EntryKeys,
    pub digest: &'a str,
}

impl OldScriptCall for Drop<'_> {
    type Raw = i64;
    type Reply = ();
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("cache/drop.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.entry.value).key(&self.entry.stale_copy()).arg(self.digest);
    }

    fn decode(_: i64) -> Result<(), BadReply> {
        Ok(())
    }
}

pub(in super::super) struct Take<'a> {
    pub entry: &'a EntryKeys,
    pub expected: &'a Expected,
    pub fence: Option<&'a Fence>,
}

pub(in super::super) enum TakeReply {
    Taken(Vec<u8>),
    Absent,
    /// The value has tags that must be checked, or it is not the expected one: read it and try again.
    CheckTags,
}

impl OldScriptCall for Take<'_> {
    type Raw = (String, Value);
    type Reply = TakeReply;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("cache/take.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.entry.value).key(&self.entry.lease()).key(&self.entry.stale_copy()).arg(self.expected.arg());
    }

    fn decode(raw: Self::Raw) -> Result<TakeReply, BadReply> {
        match (raw.0.as_str(), raw.1) {
            ("taken", Value::BulkString(bytes)) => Ok(TakeReply::Taken(bytes)),
            ("absent", _) => Ok(TakeReply::Absent),
            ("tagged" | "changed", _) => Ok(TakeReply::CheckTags),
            (other, _) => Err(BadReply::new(other)),
        }
    }
}

pub(in super::super) struct Touch<'a> {
    pub entry: &'a EntryKeys,
    /// Milliseconds.
    pub ttl: u64,
    pub expected: &'a Expected,
    pub fence: Option<&'a Fence>,
}

pub(in super::super) enum TouchReply {
    Touched,
    Absent,
    /// The value has tags that must be checked, or it is not the expected one: read it and try again.
    CheckTags,
}

impl OldScriptCall for Touch<'_> {
    type Raw = String;
    type Reply = TouchReply;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("cache/touch.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.entry.value).key(&self.entry.stale_copy());
        call.arg(self.ttl).arg(stale_ms(self.entry)).arg(self.expected.arg());
    }

    fn decode(raw: String) -> Result<TouchReply, BadReply> {
        match raw.as_str() {
            "touched" => Ok(TouchReply::Touched),
            "absent" => Ok(TouchReply::Absent),
            "tagged" | "changed" => Ok(TouchReply::CheckTags),
            other => Err(BadReply::new(other)),
        }
    }
}
