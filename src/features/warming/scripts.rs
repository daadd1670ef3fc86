//! One function per script; the script's header is its contract.

use super::keys::{HISTORY, STATE_LIFE, TaskKeys, WarmingKeys};
use crate::clock::Clock;
use crate::lua_scripts;
use crate::redis::{BadReply, ScriptCall, Turn, flag};

lua_scripts! {
    RECORD = "warming/record.lua";
    DEFINE = "warming/define.lua";
    SET = "warming/set.lua";
}

/// What became of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    Held(Turn),
    GivenBack,
    /// Another runner has it, and nothing was recorded.
    Lost,
}

/// Stores the definition of a task; an empty one removes it.
pub(super) fn define(keys: &WarmingKeys, name: &str, definition: &str) -> ScriptCall<i64, ()> {
    DEFINE.write(&[&keys.tasks(), &keys.version()]).arg(name).arg(definition).returns(|_| Ok(()))
}

/// Sets a field of a task's state; an empty value deletes it. `is_new`: a field that exists does not change, and the reply is
/// `false`.
pub(super) fn set(keys: &TaskKeys, field: &str, value: &str, is_new: bool) -> ScriptCall<i64, bool> {
    SET.write(&[&keys.state]).arg(STATE_LIFE).arg(field).arg(value).arg(u8::from(is_new)).returns(flag)
}

/// The text of a run that gives its turn back without a record.
pub(super) const UNUSED: &str = "-";

/// Records the progress of a run, or its end with the text of the `ended` run, or [`UNUSED`]. An empty value deletes a field.
pub(super) fn record(
    keys: &TaskKeys,
    held: Turn,
    clock: &Clock,
    ended: &str,
    fields: &[(&str, String)],
) -> ScriptCall<i64, Recorded> {
    let mut call = RECORD
        .write(&[&keys.turn, &keys.state, &keys.runs])
        .arg(held.fence())
        .arg(clock.redis_arg())
        .arg(ended)
        .arg(HISTORY)
        .arg(STATE_LIFE);
    for (field, value) in fields {
        call = call.arg(*field).arg(value);
    }
    call.returns(|turn| match turn {
        -1 => Ok(Recorded::Lost),
        0 => Ok(Recorded::GivenBack),
        at if at > 0 => Ok(Recorded::Held(Turn::at_time(at))),
        other => Err(BadReply::new(other)),
    })
}
