//! The scripts in `migrations-lua/hosts/`.

use super::super::sample::SampleId;
use super::super::tenancy::Organisation;
use super::chunk::{HOUR, day_of, hour_of};
use super::keys::{HistoryKeys, deleted};
use crate::clock::{Clock, UnixMillis};
use crate::lua_scripts;
use crate::redis::{BadReply, Key, ScriptCall, flag};

lua_scripts! {
    APPEND = "hosts/append.lua" after "hosts/deleted.lua";
    CLAIM = "hosts/claim.lua";
    DELETED = "hosts/deleted.lua";
    MARK_DELETED = "hosts/mark_deleted.lua";
    PACK = "hosts/pack.lua";
    PUBLISH = "hosts/publish.lua" after "hosts/deleted.lua";
    ROLL = "hosts/roll.lua";
}

/// Makes an organisation the owner of a host that has none. Returns the owner.
pub(in super::super) fn claim(owner: &Key, organisation: &Organisation) -> ScriptCall<String, Organisation> {
    CLAIM.write(&[owner]).arg(organisation.as_str()).returns(|owner: String| Ok(Organisation::new(&owner)))
}

/// Marks the host with this history, or this newest sample, as deleted, for `ttl_ms`.
pub(in super::super) fn mark_deleted(of: &Key, clock: &Clock, ttl_ms: u64) -> ScriptCall<i64, ()> {
    MARK_DELETED.write(&[&deleted(of)]).arg(clock.redis_arg()).arg(ttl_ms).returns(|_| Ok(()))
}

/// Adds chunks to a history, each with its first timestamp; at least one. Trims the chunks that start before `oldest`.
///
/// `age_ms` is how long ago the first of the samples was accepted. If the host has been deleted since, nothing is added, and
/// the milliseconds since then are returned.
pub(in super::super) fn append(
    keys: &HistoryKeys,
    (clock, age_ms): (&Clock, i64),
    oldest: UnixMillis,
    ttl_ms: u64,
    chunks: &[(UnixMillis, Vec<u8>)],
) -> ScriptCall<i64, Option<i64>> {
    let call = APPEND.write(&[&keys.chunks, &keys.hours, &deleted(&keys.chunks)]);
    let mut call = call.arg(clock.redis_arg()).arg(age_ms).arg(oldest).arg(ttl_ms);
    for (start, bytes) in chunks {
        call = call.arg(hour_of(*start)).arg(*start).arg(bytes.as_slice());
    }
    call.returns(since_deletion)
}

/// Publishes the newest sample of a host as a JSON document, unless a newer one is published. Treats a host that was deleted
/// as [`append`] does.
pub(in super::super) fn publish(
    current: &Key,
    (clock, age_ms): (&Clock, i64),
    id: SampleId,
    document: &[u8],
    ttl_ms: u64,
) -> ScriptCall<i64, Option<i64>> {
    let call = PUBLISH.write(&[current, &deleted(current)]).arg(clock.redis_arg()).arg(age_ms);
    call.arg(id.timestamp).arg(id.seq).arg(document).arg(ttl_ms).returns(since_deletion)
}

/// The milliseconds since the host with this history was deleted, if that was after the first of its samples was accepted.
pub(in super::super) fn deletion(of: &Key, (clock, age_ms): (&Clock, i64)) -> ScriptCall<Option<i64>, Option<i64>> {
    let call = DELETED.read(&[&deleted(of)]).arg(clock.redis_arg()).arg(age_ms);
    call.returns(|reply: Option<i64>| since_deletion(reply.unwrap_or_default()))
}

fn since_deletion(reply: i64) -> Result<Option<i64>, BadReply> {
    match reply {
        0.. => Ok(None),
        ago => ago.checked_neg().map(Some).ok_or_else(|| BadReply::new(ago)),
    }
}

/// Replaces the chunks of an hour by packed ones, each with its first timestamp, and stores the hour's rollup, which is
/// empty if the hour has no samples. `number` is the hour's mark when its samples were read. Trims the rollups that start
/// before `oldest`. Returns `false` if another batch wrote to the hour in the meantime.
pub(in super::super) fn pack(
    keys: &HistoryKeys,
    hour: UnixMillis,
    number: u64,
    rollup: &[u8],
    oldest: UnixMillis,
    ttl_ms: u64,
    chunks: &[(UnixMillis, Vec<u8>)],
) -> ScriptCall<i64, bool> {
    let mut call = PACK.write(&[&keys.chunks, &keys.hours, &keys.hourly, &keys.days]);
    call = call.arg(hour).arg(hour + HOUR).arg(number).arg(day_of(hour)).arg(rollup).arg(oldest).arg(ttl_ms);
    for (start, bytes) in chunks {
        call = call.arg(*start).arg(bytes.as_slice());
    }
    call.returns(flag)
}

/// Stores the rollup of a day, as [`pack`] does of an hour. Returns `false` if an hour of the day was packed in the meantime.
pub(in super::super) fn roll(
    keys: &HistoryKeys,
    day: UnixMillis,
    number: u64,
    rollup: &[u8],
    oldest: UnixMillis,
    ttl_ms: u64,
) -> ScriptCall<i64, bool> {
    let call = ROLL.write(&[&keys.daily, &keys.days]).arg(day).arg(number).arg(rollup);
    call.arg(oldest).arg(ttl_ms).returns(flag)
}
