//! The script of restores as a typed call. Its contract is in `migrations-lua/backup/`.

use crate::lua_scripts;
use crate::redis::{Key, ScriptCall, flag};

lua_scripts! {
    RAISE = "backup/raise.lua";
}

/// Writes an integer unless the key has the same or a higher one. `expires` is in Unix milliseconds. Returns whether it was
/// written.
pub(super) fn raise(key: &Key, value: &str, expires: Option<i64>) -> ScriptCall<i64, bool> {
    let expires = expires.map(|expires| expires.to_string()).unwrap_or_default();
    RAISE.write(&[key]).arg(value).arg(expires).returns(flag)
}
