//! The scripts of the archive as typed calls. Their contracts are in `migrations-lua/archive/`.

use super::files::Mark;
use crate::clock::UnixMillis;
use crate::lua_scripts;
use crate::redis::{BadReply, ScriptCall, Turn};
use crate::tape::{Base, WindowKeys, WindowMinute};

lua_scripts! {
    TRIM = "archive/trim.lua";
    REBASE = "archive/rebase.lua";
    MARK = "archive/mark.lua";
    DROP = "archive/drop.lua";
}

/// The outcome of a change of a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Done,
    /// The minute has changed since it was read.
    Moved,
    /// Another replica has the turn.
    Stale,
}

fn changed(reply: i64) -> Result<Changed, BadReply> {
    match reply {
        1 => Ok(Changed::Done),
        0 => Ok(Changed::Moved),
        -1 => Ok(Changed::Stale),
        other => Err(BadReply::new(other)),
    }
}

/// Removes at most `count` minutes before a time from a window without a directory of files. Returns how many there were.
pub(super) fn trim(keys: &WindowKeys, before: UnixMillis, count: usize) -> ScriptCall<usize, usize> {
    let call = TRIM.write(&[&keys.index, &keys.dirty, &keys.minutes, &keys.state]).arg(before).arg(count);
    call.returns(Ok)
}

/// States to which version of its file the trades of a minute are added.
pub(super) fn rebase(
    keys: &WindowKeys,
    turn: Turn,
    minute: UnixMillis,
    window: &WindowMinute,
    to: Base,
) -> ScriptCall<i64, Changed> {
    let call = REBASE.write(&[&keys.archiver, &keys.minutes]).arg(turn.fence()).arg(minute);
    call.arg(window.rev).arg(window.base.text()).arg(to.text()).returns(changed)
}

/// States which file has each of these minutes, except those that have changed. Returns the number of the others; `None` if another
/// replica has the turn.
pub(super) fn mark(keys: &WindowKeys, turn: Turn, marks: &[(UnixMillis, Mark)]) -> ScriptCall<i64, Option<usize>> {
    let call = MARK.write(&[&keys.archiver, &keys.minutes, &keys.dirty, &keys.archived]).arg(turn.fence());
    let call = marks.iter().fold(call, |call, (minute, mark)| call.arg(minute).arg(mark.rev).arg(mark.to_string()));
    call.returns(|reply| Ok(usize::try_from(reply).ok()))
}

/// Removes a minute whose file has just been read.
pub(super) fn drop(
    keys: &WindowKeys,
    turn: Turn,
    minute: UnixMillis,
    rev: u64,
    mark: &str,
    store: &str,
) -> ScriptCall<i64, Changed> {
    let WindowKeys { index, dirty, minutes, state, archived, archiver } = keys;
    let call = DROP.write(&[archiver, minutes, dirty, archived, index, state]).arg(turn.fence()).arg(minute);
    call.arg(rev).arg(mark).arg(store).returns(changed)
}
