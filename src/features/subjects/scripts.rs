//! The script of erasures as a typed call; its header is its contract.

use crate::lua_scripts;
use crate::redis::{Key, ScriptCall};

lua_scripts! {
    KEEP = "subjects/keep.lua";
}

/// Stores fields of a hash, each a name and a value, also in a full Redis.
pub(super) fn keep(record: &Key, fields: impl IntoIterator<Item = (String, String)>) -> ScriptCall<i64, ()> {
    let call = fields.into_iter().fold(KEEP.write(&[record]), |call, (name, value)| call.arg(name).arg(value));
    call.returns(|_| Ok(()))
}
