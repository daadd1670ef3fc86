//! The scripts of `migrations-lua/timeseries/`, as typed calls.

mod chunks;
mod definitions;
mod index;
mod module;
mod rollups;
mod samples;

use super::keys::SeriesKeys;
use super::series::Labels;
use crate::redis::{BadReply, Binding, LuaScript};

pub(super) use chunks::{Plain, Swap};
pub(super) use definitions::{Alter, Create, Created, Delete, Describe, decode_definition};
pub(super) use index::{Delist, Enlist, MarkListed};
pub(super) use module::OfModule;
pub(super) use rollups::{Advance, Commit, Define, Defined, ReadState};
pub(super) use samples::{Append, DeleteRange, Latest, Read};

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
