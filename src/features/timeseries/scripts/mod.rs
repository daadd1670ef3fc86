//! The scripts of `migrations-lua/timeseries/`, as typed calls. The file of a script documents what it does.
//!
//! Files: `definitions.rs` (create, change, describe and delete series), `samples.rs` (append, read and delete samples),
//! `chunks.rs` (change the form of sealed chunks), `rollups.rs`, `index.rs`.

mod chunks;
mod definitions;
mod index;
mod rollups;
mod samples;

use super::keys::SeriesKeys;
use super::series::{Definition, Labels};
use crate::redis::{BadReply, LuaScript, OldBinding};

pub(super) use chunks::{ReadPlainChunks, ReplaceChunk};
pub(super) use definitions::{Alter, Create, CreateOutcome, Delete, Describe, decode_definition};
pub(super) use index::{IndexSeries, MarkIndexed, UnindexSeries};
pub(super) use rollups::{AdvanceRollups, CommitRollups, DefineOutcome, DefineRollups, ReadRollups};
pub(super) use samples::{Append, Appended, DeleteRange, LatestSample, Read, ReadLatest};

/// What every script returns for a series that does not exist.
const NO_SERIES: i64 = -1;

fn bind_head<'a>(call: &'a mut OldBinding, keys: &SeriesKeys) -> &'a mut OldBinding {
    call.key(&keys.hash).key(&keys.head)
}

fn bind_samples<'a>(call: &'a mut OldBinding, keys: &SeriesKeys) -> &'a mut OldBinding {
    bind_head(call, keys).key(&keys.chunks)
}

/// Binds all keys that expire together.
fn bind_series<'a>(call: &'a mut OldBinding, keys: &SeriesKeys) -> &'a mut OldBinding {
    bind_samples(call, keys).key(&keys.blocks)
}

fn bind_definition<'a>(call: &'a mut OldBinding, definition: &Definition) -> &'a mut OldBinding {
    call.arg(definition.retention_ms).arg(definition.duplicate_policy.name()).arg(labels_json(&definition.labels))
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
        other => Err(BadReply::new(other)),
    }
}
