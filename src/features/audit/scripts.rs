//! The scripts of the audit log as typed calls. Their contracts are in `migrations-lua/audit/`.

use super::keys::AuditKeys;
use crate::clock::{Clock, UnixMillis};
use crate::lua_scripts;
use crate::redis::{ScriptCall, flag};

lua_scripts! {
    APPEND = "audit/append.lua";
    TRIM = "audit/trim.lua";
}

/// How the log ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The number of the newest entry; 0: there is none.
    pub seq: u64,
    /// Its hash; empty if there is none.
    pub hash: String,
}

/// What the script found or did.
#[derive(Debug)]
pub(super) struct Appended {
    pub is_done: bool,
    pub head: Head,
    /// On Redis's clock.
    pub now: UnixMillis,
    /// The newest entry in the stream before the call, which is that of the head unless entries are missing.
    pub last: u64,
}

type Reply = (i64, u64, String, UnixMillis, u64);

/// Appends entries, each a text and its hash, after `expected`; none: reads how the log ends.
pub(super) fn append<'a>(
    keys: &AuditKeys,
    expected: &Head,
    key: &str,
    entries: impl IntoIterator<Item = &'a (String, String)>,
    clock: &Clock,
) -> ScriptCall<Reply, Appended> {
    let call = APPEND.write(&[&keys.log, &keys.head]).arg(expected.seq).arg(&expected.hash).arg(key);
    let call = call.arg(clock.redis_arg());
    let call = entries.into_iter().fold(call, |call, (text, hash)| call.arg(text).arg(hash));
    call.returns(|(done, seq, hash, now, last)| {
        Ok(Appended { is_done: flag(done)?, head: Head { seq, hash }, now, last })
    })
}

/// Removes the entries up to `seq`, if the log still begins after `from`.
pub(super) fn trim(keys: &AuditKeys, from: u64, seq: u64, mark: &str) -> ScriptCall<i64, bool> {
    TRIM.write(&[&keys.log, &keys.base]).arg(from).arg(seq).arg(mark).returns(flag)
}
