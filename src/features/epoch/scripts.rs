//! The script of epochs as a typed call. Its contract is in `migrations-lua/epoch/`.

use super::keys::{EpochKeys, LIFE, LIMIT};
use crate::clock::{Clock, UnixMillis};
use crate::lua_scripts;
use crate::redis::{Binding, Fence, ScriptCall, flag};

lua_scripts! {
    EXCHANGE = "epoch/exchange.lua";
}

/// What the script found, after the replacement if there was one. A text is empty if there is no such record.
#[derive(Debug)]
pub(super) struct Exchanged {
    pub was_written: bool,
    /// The record of the current epoch.
    pub current: String,
    /// The record that was asked for.
    pub record: String,
    /// The highest number of the log; only set if there is no current epoch.
    pub highest: u64,
    /// On Redis's clock.
    pub now: UnixMillis,
}

/// The replacement of a record whose state the caller has read.
#[derive(Debug)]
pub(super) struct Replacement<'a> {
    pub number: u64,
    pub record: &'a str,
    pub becomes_current: bool,
    /// What the caller has read.
    pub seen: &'a Exchanged,
}

type Reply = (i64, String, String, u64, UnixMillis);

/// Reads the current epoch, and the record of `number`.
pub(super) fn read(keys: &EpochKeys, number: Option<u64>, clock: &Clock) -> ScriptCall<Reply, Exchanged> {
    without_record(EXCHANGE.read(&[&keys.current, &keys.log]), number, clock)
}

/// Reads the records before a change, and passes the fence.
pub(super) fn begin(
    keys: &EpochKeys,
    fence: Option<&Fence>,
    number: Option<u64>,
    clock: &Clock,
) -> ScriptCall<Reply, Exchanged> {
    without_record(EXCHANGE.guarded_write(fence, &[&keys.current, &keys.log]), number, clock)
}

fn without_record(call: Binding, number: Option<u64>, clock: &Clock) -> ScriptCall<Reply, Exchanged> {
    let number = number.map(|number| number.to_string()).unwrap_or_default();
    complete(call.arg(number).arg("").arg("").arg("").arg(0), clock)
}

/// Replaces a record, if it and the current epoch are as the caller has seen them.
pub(super) fn replace(
    keys: &EpochKeys,
    fence: Option<&Fence>,
    replacement: &Replacement<'_>,
    clock: &Clock,
) -> ScriptCall<Reply, Exchanged> {
    let Replacement { number, record, becomes_current, seen } = replacement;
    let call = EXCHANGE
        .guarded_write(fence, &[&keys.current, &keys.log])
        .arg(number)
        .arg(record)
        .arg(&seen.current)
        .arg(&seen.record)
        .arg(u8::from(*becomes_current));
    complete(call, clock)
}

fn complete(call: Binding, clock: &Clock) -> ScriptCall<Reply, Exchanged> {
    call.arg(LIFE).arg(LIMIT).arg(clock.redis_arg()).returns(|(written, current, record, highest, now)| {
        Ok(Exchanged { was_written: flag(written)?, current, record, highest, now })
    })
}
