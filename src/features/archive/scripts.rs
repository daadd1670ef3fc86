//! The scripts of the archive as typed calls. Their contracts are in `migrations-lua/archive/`.

use crate::clock::UnixMillis;
use crate::lua_scripts;
use crate::redis::ScriptCall;
use crate::tape::WindowKeys;

lua_scripts! {
    TRIM = "archive/trim.lua";
}

/// Removes at most `count` minutes before a time from a window. Returns how many there were.
pub(super) fn trim(keys: &WindowKeys, before: UnixMillis, count: usize) -> ScriptCall<usize, usize> {
    let call = TRIM.write(&[&keys.index, &keys.dirty, &keys.minutes]).arg(before).arg(count);
    call.returns(Ok)
}
