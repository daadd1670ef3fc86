//! One function per script; the script's header is its contract.
//!
//! A change that depends on what is stored returns `None` if something else is stored: read the value and try again.

use redis::Value;

use super::error::CacheError;
use super::keys::{EntryKeys, TagKeys};
use super::model::Counter;
use crate::config::value::Span;
use crate::lua_scripts;
use crate::redis::{BadReply, Fence, Key, ScriptCall};

lua_scripts! {
    PUT = "cache/put.lua";
    DELETE = "cache/delete.lua";
    DROP = "cache/drop.lua";
    TAKE = "cache/take.lua";
    TOUCH = "cache/touch.lua";
    INCREMENT = "cache/increment.lua";
    LEASE = "cache/lease.lua";
    RELEASE = "cache/release.lua";
    TAG_OPEN = "cache/tag_open.lua";
    TAG_RAISE = "cache/tag_raise.lua";
}

/// What must be stored for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Anything,
    Absent,
    /// The value with this digest, see [`super::stored_value::StoredValue::digest`].
    Valid(String),
    /// A value with this digest and an invalidated tag, which clients do not see.
    Invalid(String),
}

impl Expected {
    fn arg(&self) -> &str {
        match self {
            Self::Anything => "",
            Self::Absent => "absent",
            Self::Valid(digest) | Self::Invalid(digest) => digest,
        }
    }
}

/// The result of a change: `None` if another value than the expected one is stored, or one whose tags must be checked.
pub(super) type Change<T> = Result<Option<T>, CacheError>;

/// A value after it was stored.
pub(super) struct StoredInfo {
    /// Whether there was no value before.
    pub created: bool,
    /// Milliseconds left; `None`: no expiry.
    pub ttl: Option<u64>,
}

/// Stores a value.
///
/// `ttl` is in milliseconds (`None`: no expiry). An empty `lease` means that no lease is needed; it must be younger than
/// `invalidated`, the microseconds since a tag of the value was invalidated.
pub(super) fn put(
    entry: &EntryKeys,
    bytes: &[u8],
    ttl: Option<u64>,
    keep_ttl: bool,
    expected: &Expected,
    lease: &str,
    invalidated: Option<u64>,
) -> ScriptCall<(String, i64), Change<StoredInfo>> {
    PUT.guarded_write(entry.fence.as_ref(), &[&entry.value, &entry.lease(), &entry.stale_copy()])
        .arg(bytes)
        .arg(ttl.unwrap_or(0))
        .arg(u8::from(keep_ttl))
        .arg(stale_ms(entry))
        .arg(expected.arg())
        .arg(lease)
        .arg(invalidated.map(|age| age.to_string()).unwrap_or_default())
        .returns(|(status, left): (String, i64)| {
            let ttl = u64::try_from(left).ok();
            match status.as_str() {
                "created" => Ok(Ok(Some(StoredInfo { created: true, ttl }))),
                "replaced" => Ok(Ok(Some(StoredInfo { created: false, ttl }))),
                "changed" => Ok(Ok(None)),
                "lease-lost" => Ok(Err(CacheError::LeaseLost)),
                _ => Err(BadReply::new(status)),
            }
        })
}

/// How much longer the copy is kept than the value, milliseconds; 0: no copy.
fn stale_ms(entry: &EntryKeys) -> u64 {
    entry.stale.map_or(0, Span::as_millis)
}

/// Deletes a value. Returns whether the key is free now: `false` if another value than the expected one is stored.
pub(super) fn delete(entry: &EntryKeys, expected: &Expected) -> ScriptCall<i64, bool> {
    DELETE
        .guarded_write(entry.fence.as_ref(), &[&entry.value, &entry.lease(), &entry.stale_copy()])
        .arg(expected.arg())
        .returns(|reply| match reply {
            0 | 1 => Ok(true),
            -1 => Ok(false),
            other => Err(BadReply::new(other)),
        })
}

/// Drops the value with this digest, which has an invalidated tag.
pub(super) fn drop_invalid(entry: &EntryKeys, digest: &str) -> ScriptCall<i64, ()> {
    DROP.write(&[&entry.value, &entry.stale_copy()]).arg(digest).returns(|_| Ok(()))
}

/// Deletes a value and returns its bytes.
pub(super) fn take(entry: &EntryKeys, expected: &Expected) -> ScriptCall<(String, Value), Change<Vec<u8>>> {
    TAKE.guarded_write(entry.fence.as_ref(), &[&entry.value, &entry.lease(), &entry.stale_copy()])
        .arg(expected.arg())
        .returns(|(status, value): (String, Value)| match (status.as_str(), value) {
            ("taken", Value::BulkString(bytes)) => Ok(Ok(Some(bytes))),
            ("absent", _) => Ok(Err(CacheError::Miss)),
            ("tagged" | "changed", _) => Ok(Ok(None)),
            _ => Err(BadReply::new(status)),
        })
}

/// Sets a value's TTL, milliseconds.
pub(super) fn touch(entry: &EntryKeys, ttl: u64, expected: &Expected) -> ScriptCall<String, Change<()>> {
    TOUCH
        .guarded_write(entry.fence.as_ref(), &[&entry.value, &entry.stale_copy()])
        .arg(ttl)
        .arg(stale_ms(entry))
        .arg(expected.arg())
        .returns(|status: String| match status.as_str() {
            "touched" => Ok(Ok(Some(()))),
            "absent" => Ok(Err(CacheError::Miss)),
            "tagged" | "changed" => Ok(Ok(None)),
            _ => Err(BadReply::new(status)),
        })
}

/// Adds to a counter. `ttl` is that of a counter that the call creates, milliseconds (`None`: no expiry). The result is
/// kept under `answer` for `answer_ttl` milliseconds (0: not at all).
pub(super) fn increment(
    entry: &EntryKeys,
    by: i64,
    ttl: Option<u64>,
    answer: &Key,
    answer_ttl: u64,
) -> ScriptCall<(String, String), Change<Counter>> {
    INCREMENT
        .guarded_write(entry.fence.as_ref(), &[&entry.value, &entry.lease(), &entry.stale_copy(), answer])
        .arg(by)
        .arg(ttl.unwrap_or(0))
        .arg(answer_ttl)
        .returns(|(status, answer): (String, String)| match status.as_str() {
            "done" => counter(&answer).map(|counter| Ok(Some(counter))).ok_or_else(|| BadReply::new(answer)),
            "tagged" => Ok(Ok(None)),
            "not-a-number" => Ok(Err(CacheError::NotANumber)),
            _ => Err(BadReply::new(status)),
        })
}

/// Parses `value ttl created`.
pub(super) fn counter(answer: &str) -> Option<Counter> {
    let mut words = answer.split(' ');
    let value = words.next()?.parse().ok()?;
    let ttl: i64 = words.next()?.parse().ok()?;
    Some(Counter { value, ttl_ms: u64::try_from(ttl).ok(), created: words.next()? == "1" })
}

pub(super) enum LeaseReply {
    Granted {
        token: String,
    },
    /// A value exists after all.
    Exists,
    /// Another client has the lease for this many more milliseconds.
    Held {
        remaining: u64,
        stale: Option<Vec<u8>>,
    },
}

/// Acquires the lease to rebuild a value, for `ttl` milliseconds. `random` becomes a part of its token.
pub(super) fn lease(entry: &EntryKeys, random: &str, ttl: u64) -> ScriptCall<(String, u64, Value), LeaseReply> {
    LEASE.write(&[&entry.value, &entry.lease(), &entry.stale_copy()]).arg(random).arg(ttl).returns(
        |(status, remaining, stale): (String, u64, Value)| match (status.as_str(), stale) {
            ("granted", Value::BulkString(token)) => match String::from_utf8(token) {
                Ok(token) => Ok(LeaseReply::Granted { token }),
                Err(token) => Err(BadReply::new(token)),
            },
            ("exists", _) => Ok(LeaseReply::Exists),
            ("held", Value::BulkString(bytes)) => {
                Ok(LeaseReply::Held { remaining, stale: Some(bytes).filter(|bytes| !bytes.is_empty()) })
            }
            _ => Err(BadReply::new(status)),
        },
    )
}

/// Gives up the lease with this token.
pub(super) fn release(entry: &EntryKeys, token: &str) -> ScriptCall<i64, ()> {
    RELEASE.write(&[&entry.lease()]).arg(token).returns(|_| Ok(()))
}

/// Returns a tag's generation and keeps it for at least `ttl` milliseconds, which must not be 0. The generation is `None` if
/// the tag was invalidated after `since`, the time of a lease in microseconds by the clock of the same node. Also returns the
/// microseconds since the tag was invalidated, if that is known.
pub(super) fn open_tag(
    tag: &TagKeys,
    ttl: u64,
    since: Option<u64>,
) -> ScriptCall<(String, i64), (Option<u64>, Option<u64>)> {
    let call = TAG_OPEN.write(&[&tag.generation, &tag.raised]).arg(ttl).arg(since.unwrap_or(0));
    call.returns(|(raw, age): (String, i64)| match raw.parse() {
        Ok(generation) => Ok((Some(generation).filter(|number| *number > 0), u64::try_from(age).ok())),
        Err(_) => Err(BadReply::new(raw)),
    })
}

/// Raises a tag's generation, which invalidates its values, and keeps the time of that for `retention` milliseconds.
pub(super) fn raise_tag(tag: &TagKeys, retention: u64, fence: Option<&Fence>) -> ScriptCall<i64, ()> {
    TAG_RAISE.guarded_write(fence, &[&tag.generation, &tag.raised]).arg(retention).returns(|_| Ok(()))
}
