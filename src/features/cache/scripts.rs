//! The cache's scripts and their typed calls; what each does stands in its file.

use redis::Value;

use super::keys::Place;
use super::model::Counter;
use super::value::Generation;
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

pub(super) static PUT: LuaScript = lua!("cache/put.lua");
pub(super) static DELETE: LuaScript = lua!("cache/delete.lua");
pub(super) static DROP: LuaScript = lua!("cache/drop.lua");
pub(super) static TAKE: LuaScript = lua!("cache/take.lua");
pub(super) static TOUCH: LuaScript = lua!("cache/touch.lua");
pub(super) static INCREMENT: LuaScript = lua!("cache/increment.lua");
pub(super) static LEASE: LuaScript = lua!("cache/lease.lua");
pub(super) static TAG_OPEN: LuaScript = lua!("cache/tag_open.lua");
pub(super) static TAG_RAISE: LuaScript = lua!("cache/tag_raise.lua");

/// What must stand under the key for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Anything,
    Absent,
    /// The value with this digest, see [`super::value::StoredValue::digest`].
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

pub(super) struct Put<'a> {
    pub place: &'a Place,
    pub bytes: &'a [u8],
    /// Milliseconds; `None`: no expiry.
    pub ttl: Option<u64>,
    pub keep_ttl: bool,
    pub expected: &'a Expected,
    /// Empty: no lease is needed.
    pub lease: &'a str,
}

pub(super) enum PutReply {
    /// The remaining life is in milliseconds; `None`: no expiry.
    Stored {
        created: bool,
        ttl: Option<u64>,
    },
    Changed,
    LeaseLost,
}

impl ScriptCall for Put<'_> {
    type Raw = (String, i64);
    type Reply = PutReply;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &PUT
    }

    fn bind(&self, call: &mut Binding) {
        call.key(&self.place.value).key(&self.place.lease()).key(&self.place.stale_copy());
        call.arg(self.bytes).arg(self.ttl.unwrap_or(0)).arg(u8::from(self.keep_ttl));
        call.arg(stale_ms(self.place)).arg(self.expected.arg()).arg(self.lease);
    }

    fn decode(raw: Self::Raw) -> Result<PutReply, BadReply> {
        match (raw.0.as_str(), raw.1) {
            ("created", left) => Ok(PutReply::Stored { created: true, ttl: u64::try_from(left).ok() }),
            ("replaced", left) => Ok(PutReply::Stored { created: false, ttl: u64::try_from(left).ok() }),
            ("changed", _) => Ok(PutReply::Changed),
            ("lease-lost", _) => Ok(PutReply::LeaseLost),
            other => Err(BadReply::new(&PUT, other)),
        }
    }
}

/// How long the copy outlives the value, milliseconds; 0: no copy.
fn stale_ms(place: &Place) -> u64 {
    place.stale.map_or(0, crate::config::value::Span::as_millis)
}

pub(super) struct Delete<'a> {
    pub place: &'a Place,
    /// `Absent` asks for nothing and needs no call.
    pub expected: &'a Expected,
}

pub(super) enum DeleteReply {
    Deleted,
    Absent,
    Changed,
}

impl ScriptCall for Delete<'_> {
    type Raw = i64;
    type Reply = DeleteReply;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &DELETE
    }

    fn bind(&self, call: &mut Binding) {
        call.key(&self.place.value).key(&self.place.lease()).key(&self.place.stale_copy()).arg(self.expected.arg());
    }

    fn decode(raw: i64) -> Result<DeleteReply, BadReply> {
        match raw {
            1 => Ok(DeleteReply::Deleted),
            0 => Ok(DeleteReply::Absent),
            -1 => Ok(DeleteReply::Changed),
            other => Err(BadReply::new(&DELETE, other)),
        }
    }
}

/// Drops a value whose tags no longer hold.
pub(super) struct Drop<'a> {
    pub place: &'a Place,
    pub digest: &'a str,
}

impl ScriptCall for Drop<'_> {
    type Raw = i64;
    type Reply = ();
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &DROP
    }

    fn bind(&self, call: &mut Binding) {
        call.key(&self.place.value).key(&self.place.stale_copy()).arg(self.digest);
    }

    fn decode(_: i64) -> Result<(), BadReply> {
        Ok(())
    }
}

pub(super) struct Take<'a> {
    pub place: &'a Place,
    pub expected: &'a Expected,
}

pub(super) enum TakeReply {
    Taken(Vec<u8>),
    Absent,
    /// It has tags that must be checked, or is no longer what was expected: look, then try again.
    LookFirst,
}

impl ScriptCall for Take<'_> {
    type Raw = (String, Value);
    type Reply = TakeReply;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &TAKE
    }

    fn bind(&self, call: &mut Binding) {
        call.key(&self.place.value).key(&self.place.lease()).key(&self.place.stale_copy()).arg(self.expected.arg());
    }

    fn decode(raw: Self::Raw) -> Result<TakeReply, BadReply> {
        match (raw.0.as_str(), raw.1) {
            ("taken", Value::BulkString(bytes)) => Ok(TakeReply::Taken(bytes)),
            ("absent", _) => Ok(TakeReply::Absent),
            ("tagged" | "changed", _) => Ok(TakeReply::LookFirst),
            (other, _) => Err(BadReply::new(&TAKE, other)),
        }
    }
}

pub(super) struct Touch<'a> {
    pub place: &'a Place,
    /// Milliseconds.
    pub ttl: u64,
    pub expected: &'a Expected,
}

pub(super) enum TouchReply {
    Touched,
    Absent,
    /// As [`TakeReply::LookFirst`].
    LookFirst,
}

impl ScriptCall for Touch<'_> {
    type Raw = String;
    type Reply = TouchReply;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &TOUCH
    }

    fn bind(&self, call: &mut Binding) {
        call.key(&self.place.value).key(&self.place.stale_copy());
        call.arg(self.ttl).arg(stale_ms(self.place)).arg(self.expected.arg());
    }

    fn decode(raw: String) -> Result<TouchReply, BadReply> {
        match raw.as_str() {
            "touched" => Ok(TouchReply::Touched),
            "absent" => Ok(TouchReply::Absent),
            "tagged" | "changed" => Ok(TouchReply::LookFirst),
            other => Err(BadReply::new(&TOUCH, other)),
        }
    }
}

pub(super) struct Increment<'a> {
    pub place: &'a Place,
    pub by: i64,
    /// Milliseconds, of a counter that is created; `None`: no expiry.
    pub ttl: Option<u64>,
    pub answer: &'a Key,
    /// Milliseconds that the answer is kept; 0: it is not.
    pub answer_ttl: u64,
}

pub(super) enum IncrementReply {
    Done(Counter),
    /// The value has tags that must be checked.
    LookFirst,
    NotANumber,
}

impl ScriptCall for Increment<'_> {
    type Raw = (String, String);
    type Reply = IncrementReply;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &INCREMENT
    }

    fn bind(&self, call: &mut Binding) {
        call.key(&self.place.value).key(&self.place.lease()).key(&self.place.stale_copy()).key(self.answer);
        call.arg(self.by).arg(self.ttl.unwrap_or(0)).arg(self.answer_ttl);
    }

    fn decode((status, answer): Self::Raw) -> Result<IncrementReply, BadReply> {
        match status.as_str() {
            "done" => counter(&answer).map(IncrementReply::Done).ok_or_else(|| BadReply::new(&INCREMENT, answer)),
            "tagged" => Ok(IncrementReply::LookFirst),
            "not-a-number" => Ok(IncrementReply::NotANumber),
            other => Err(BadReply::new(&INCREMENT, other)),
        }
    }
}

/// Reads `value ttl created`.
fn counter(answer: &str) -> Option<Counter> {
    let mut words = answer.split(' ');
    let value = words.next()?.parse().ok()?;
    let ttl: i64 = words.next()?.parse().ok()?;
    Some(Counter { value, ttl_ms: u64::try_from(ttl).ok(), created: words.next()? == "1" })
}

pub(super) struct Lease<'a> {
    pub place: &'a Place,
    pub token: &'a str,
    /// Milliseconds.
    pub ttl: u64,
}

pub(super) enum LeaseReply {
    Granted,
    /// A value stands there after all.
    Exists,
    /// Another caller has it for so many milliseconds more.
    Held {
        remaining: u64,
        stale: Option<Vec<u8>>,
    },
}

impl ScriptCall for Lease<'_> {
    type Raw = (String, u64, Value);
    type Reply = LeaseReply;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &LEASE
    }

    fn bind(&self, call: &mut Binding) {
        call.key(&self.place.value).key(&self.place.lease()).key(&self.place.stale_copy());
        call.arg(self.token).arg(self.ttl);
    }

    fn decode(raw: Self::Raw) -> Result<LeaseReply, BadReply> {
        match (raw.0.as_str(), raw.1, raw.2) {
            ("granted", ..) => Ok(LeaseReply::Granted),
            ("exists", ..) => Ok(LeaseReply::Exists),
            ("held", remaining, Value::BulkString(bytes)) => {
                Ok(LeaseReply::Held { remaining, stale: Some(bytes).filter(|bytes| !bytes.is_empty()) })
            }
            (other, ..) => Err(BadReply::new(&LEASE, other)),
        }
    }
}

pub(super) struct TagOpen<'a> {
    pub tag: &'a Key,
    /// Milliseconds, above 0.
    pub ttl: u64,
}

impl ScriptCall for TagOpen<'_> {
    type Raw = String;
    type Reply = Generation;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &TAG_OPEN
    }

    fn bind(&self, call: &mut Binding) {
        call.key(self.tag).arg(self.ttl);
    }

    fn decode(raw: String) -> Result<Generation, BadReply> {
        raw.parse().map_err(|_| BadReply::new(&TAG_OPEN, raw))
    }
}

pub(super) struct TagRaise<'a> {
    pub tag: &'a Key,
}

impl ScriptCall for TagRaise<'_> {
    type Raw = i64;
    type Reply = ();
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &TAG_RAISE
    }

    fn bind(&self, call: &mut Binding) {
        call.key(self.tag);
    }

    fn decode(_: i64) -> Result<(), BadReply> {
        Ok(())
    }
}
