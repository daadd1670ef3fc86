//! Calls that define, fill and read rollups.

use redis::Value;

use super::super::keys::SeriesKeys;
use super::super::rollup_state::RollupState;
use super::{NO_SERIES, ROLLUP_ADVANCE, ROLLUP_COMMIT, ROLLUP_DEFINE, ROLLUP_STATE};
use crate::redis::{BadReply, Fence, ScriptCall, flag};

/// Replaces the list of rollups that was read. Returns `false` if the list has changed since, and `None` if the series does
/// not exist.
///
/// `current` and `other` are JSON, empty for no rollups. `dropped` is the name of the rollup that the new list lacks.
pub fn define_rollups(
    keys: &SeriesKeys,
    current: &str,
    other: &str,
    outlive_ms: u64,
    dropped: Option<&str>,
    fence: Option<&Fence>,
) -> ScriptCall<i64, Option<bool>> {
    ROLLUP_DEFINE
        .guarded_write(fence, &keys.all())
        .arg(current)
        .arg(other)
        .arg(outlive_ms)
        .arg(dropped.unwrap_or_default())
        .returns(|raw| if raw == NO_SERIES { Ok(None) } else { flag(raw).map(Some) })
}

/// Reads the state of the rollups of a series, which is empty if it has none; `None` if the series does not exist.
pub fn read_rollups(keys: &SeriesKeys, now: &str) -> ScriptCall<Vec<Value>, Option<RollupState>> {
    ROLLUP_STATE.read(&[&keys.hash, &keys.head]).arg(keys.layout.name()).arg(now).returns(decode_state)
}

#[expect(clippy::needless_pass_by_value, reason = "a decoder owns the reply")]
fn decode_state(raw: Vec<Value>) -> Result<Option<RollupState>, BadReply> {
    use Value::{BulkString, Int};

    let [
        BulkString(list),
        Int(revision),
        Int(rolled),
        BulkString(unrolled),
        Int(from),
        Int(trimmed),
        Int(retention_ms),
        Int(newest),
        Int(untrimmed),
        Int(lost_from),
    ] = raw.as_slice()
    else {
        return match raw.as_slice() {
            [Int(NO_SERIES)] => Ok(None),
            [Int(0)] => Ok(Some(RollupState::default())),
            other => Err(BadReply::new(other)),
        };
    };
    let (list, unrolled) = (String::from_utf8_lossy(list), String::from_utf8_lossy(unrolled));
    Ok(Some(RollupState {
        revision: *revision,
        filled_until: *rolled,
        filled_from: *from,
        trimmed_until: *trimmed,
        retention_ms: retention_ms.unsigned_abs(),
        newest: Some(*newest).filter(|newest| *newest >= 0),
        lost_from: *lost_from,
        untrimmed_from: Some(*untrimmed).filter(|untrimmed| *untrimmed >= 0),
        ..RollupState::parse(list.into_owned(), &unrolled).map_err(BadReply::new)?
    }))
}

/// Moves forward the time before which rollups are to be filled. Returns whether there is more to fill.
pub fn advance_rollups(keys: &SeriesKeys, now: &str) -> ScriptCall<i64, bool> {
    ROLLUP_ADVANCE.write(&[&keys.hash, &keys.head]).arg(keys.layout.name()).arg(now).returns(flag)
}

/// Stores buckets of rollups. Returns `false` if another replica stored buckets since `revision` was read.
///
/// `done` is the beginning of the list of changes, which these buckets cover, and `rest` the part of it that is still to be
/// filled. `from` is the time before which rollups are not filled; `None` leaves it unchanged. `needed` is the time from which
/// rollups still need the samples. `fields` are fields and their
/// values; an empty value removes the field.
pub fn commit_rollups(
    keys: &SeriesKeys,
    revision: i64,
    done: &str,
    rest: &str,
    from: Option<i64>,
    needed: i64,
    fields: &[(String, Vec<u8>)],
) -> ScriptCall<i64, bool> {
    let from = from.map(|from| from.to_string()).unwrap_or_default();
    let call = ROLLUP_COMMIT.write(&[&keys.hash, &keys.blocks]).arg(revision).arg(done).arg(rest).arg(from).arg(needed);
    fields.iter().fold(call, |call, (field, bytes)| call.arg(field).arg(bytes.as_slice())).returns(flag)
}
