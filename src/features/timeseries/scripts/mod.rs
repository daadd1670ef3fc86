//! The scripts of `migrations-lua/timeseries/`, as typed calls.

mod chunks;
mod definitions;
mod index;
mod module;
mod rollups;
mod samples;

use super::keys::SeriesKeys;
use super::series::Labels;
use crate::lua;
use crate::redis::{BadReply, Binding, LuaScript};

pub(super) use chunks::{Plain, Swap};
pub(super) use definitions::{Alter, Create, Created, Delete, Describe, decode_definition};
pub(super) use index::{Delist, Enlist, MarkListed};
pub(super) use module::OfModule;
pub(super) use rollups::{Advance, Commit, Define, Defined, ReadState};
pub(super) use samples::{Append, DeleteRange, Latest, Read};

pub(super) static APPEND: LuaScript = lua!("timeseries/append.lua");
pub(super) static READ: LuaScript = lua!("timeseries/read.lua");
pub(super) static LATEST: LuaScript = lua!("timeseries/latest.lua");
pub(super) static CREATE: LuaScript = lua!("timeseries/create.lua");
pub(super) static ALTER: LuaScript = lua!("timeseries/alter.lua");
pub(super) static DESCRIBE: LuaScript = lua!("timeseries/describe.lua");
pub(super) static DELETE: LuaScript = lua!("timeseries/delete.lua");
pub(super) static DELETE_RANGE: LuaScript = lua!("timeseries/delete_range.lua");
pub(super) static PLAIN: LuaScript = lua!("timeseries/plain.lua");
pub(super) static SWAP: LuaScript = lua!("timeseries/swap.lua");
pub(super) static ROLLUP_DEFINE: LuaScript = lua!("timeseries/rollup_define.lua");
pub(super) static ROLLUP_STATE: LuaScript = lua!("timeseries/rollup_state.lua");
pub(super) static ROLLUP_ADVANCE: LuaScript = lua!("timeseries/rollup_advance.lua");
pub(super) static ROLLUP_COMMIT: LuaScript = lua!("timeseries/rollup_commit.lua");
pub(super) static MODULE_APPEND: LuaScript = lua!("timeseries/module_append.lua");
pub(super) static MODULE_READ: LuaScript = lua!("timeseries/module_read.lua");
pub(super) static MODULE_LATEST: LuaScript = lua!("timeseries/module_latest.lua");
pub(super) static MODULE_CREATE: LuaScript = lua!("timeseries/module_create.lua");
pub(super) static MODULE_ALTER: LuaScript = lua!("timeseries/module_alter.lua");
pub(super) static MODULE_DESCRIBE: LuaScript = lua!("timeseries/module_describe.lua");
pub(super) static MODULE_DELETE: LuaScript = lua!("timeseries/module_delete.lua");
pub(super) static MODULE_DELETE_RANGE: LuaScript = lua!("timeseries/module_delete_range.lua");
pub(super) static MODULE_ROLLUPS: LuaScript = lua!("timeseries/module_rollup_state.lua");
pub(super) static MODULE_ADVANCE: LuaScript = lua!("timeseries/module_rollup_advance.lua");
pub(super) static ENLIST: LuaScript = lua!("timeseries/enlist.lua");
pub(super) static DELIST: LuaScript = lua!("timeseries/delist.lua");
pub(super) static MARK_LISTED: LuaScript = lua!("timeseries/mark_listed.lua");

/// What every script answers for a key that holds no series.
const NO_SERIES: i64 = -1;

fn bind_keys<'a>(call: &'a mut Binding, keys: &SeriesKeys) -> &'a mut Binding {
    call.key(&keys.hash).key(&keys.head).key(&keys.chunks)
}

/// Those that live and die together.
fn bind_all_keys<'a>(call: &'a mut Binding, keys: &SeriesKeys) -> &'a mut Binding {
    bind_keys(call, keys).key(&keys.blocks)
}

/// The labels as scripts compare them: JSON with sorted names.
fn labels_json(labels: &Labels) -> String {
    // Maps of strings always serialise.
    serde_json::to_string(labels).unwrap_or_default()
}

fn decode_flag(script: &LuaScript, raw: i64) -> Result<bool, BadReply> {
    match raw {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(BadReply::new(script, other)),
    }
}
