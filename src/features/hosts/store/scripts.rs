//! The scripts in `migrations-lua/hosts/`.

use super::super::sample::SampleId;
use super::super::tenancy::Organisation;
use super::chunk::{HOUR, day_of, hour_of};
use super::keys::HistoryKeys;
use crate::clock::UnixMillis;
use crate::lua_scripts;
use crate::redis::{Key, ScriptCall, flag};

lua_scripts! {
    APPEND = "hosts/append.lua";
    CLAIM = "hosts/claim.lua";
    PACK = "hosts/pack.lua";
    PUBLISH = "hosts/publish.lua";
    ROLL = "hosts/roll.lua";
}

/// Makes an organisation the owner of a host that has none. Returns the owner.
pub(in super::super) fn claim(owner: &Key, organisation: &Organisation) -> ScriptCall<String, Organisation> {
    CLAIM.write(&[owner]).arg(organisation.as_str()).returns(|owner: String| Ok(Organisation::new(&owner)))
}

/// Adds chunks to a history, each with its first timestamp; at least one. Trims the chunks that start before `oldest`.
pub(in super::super) fn append(
    keys: &HistoryKeys,
    oldest: UnixMillis,
    ttl_ms: u64,
    chunks: &[(UnixMillis, Vec<u8>)],
) -> ScriptCall<i64, ()> {
    let mut call = APPEND.write(&[&keys.chunks, &keys.hours]).arg(oldest).arg(ttl_ms);
    for (start, bytes) in chunks {
        call = call.arg(hour_of(*start)).arg(*start).arg(bytes.as_slice());
    }
    call.returns(|_| Ok(()))
}

/// Publishes the newest sample of a host as a JSON document, unless a newer one is published.
pub(in super::super) fn publish(current: &Key, id: SampleId, document: &[u8], ttl_ms: u64) -> ScriptCall<i64, ()> {
    PUBLISH.write(&[current]).arg(id.timestamp).arg(id.seq).arg(document).arg(ttl_ms).returns(|_| Ok(()))
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
