//! The scripts of `migrations-lua/timeseries/`, as typed calls. The file of a script documents what it does.
//!
//! Files: `definitions.rs` (create, change, describe and delete series), `samples.rs` (append, read and delete samples, and
//! change the form of sealed chunks), `rollups.rs`, `index.rs`.

mod definitions;
mod index;
mod rollups;
mod samples;

use super::series::{Definition, Labels};
use crate::lua_scripts;
use crate::redis::Binding;

pub(super) use definitions::{alter, create, decode_definition, delete, describe};
#[cfg(feature = "promql")]
pub(super) use index::label_parts;
pub(super) use index::{index_series, mark_indexed, unindex_series};
pub(super) use rollups::{advance_rollups, commit_rollups, define_rollups, read_rollups};
pub(super) use samples::{
    Appended, LatestSample, Reach, WindowChunks, append, delete_range, latest, plain_chunks, read, replace_chunk,
};

lua_scripts! {
    APPEND = "timeseries/append.lua";
    READ = "timeseries/read.lua";
    LATEST = "timeseries/latest.lua";
    CREATE = "timeseries/create.lua";
    ALTER = "timeseries/alter.lua";
    DESCRIBE = "timeseries/describe.lua";
    DELETE = "timeseries/delete.lua";
    DELETE_RANGE = "timeseries/delete_range.lua";
    PLAIN_CHUNKS = "timeseries/plain_chunks.lua";
    REPLACE_CHUNK = "timeseries/replace_chunk.lua";
    ROLLUP_DEFINE = "timeseries/rollup_define.lua";
    ROLLUP_STATE = "timeseries/rollup_state.lua";
    ROLLUP_ADVANCE = "timeseries/rollup_advance.lua";
    ROLLUP_COMMIT = "timeseries/rollup_commit.lua";
    INDEX_SERIES = "timeseries/index_series.lua";
    UNINDEX_SERIES = "timeseries/unindex_series.lua";
    MARK_INDEXED = "timeseries/mark_indexed.lua";
    LABEL_PARTS = "timeseries/label_parts.lua";
}

/// What every script returns for a series that does not exist.
const NO_SERIES: i64 = -1;

/// How long a series is kept after its last write at least, milliseconds: one day, so that a series with a short retention
/// keeps its definition and labels while its source is briefly silent.
const MIN_LIFE_MS: u64 = 86_400_000;

fn with_definition(call: Binding, definition: &Definition) -> Binding {
    call.arg(definition.retention_ms).arg(definition.duplicate_policy.name()).arg(labels_json(&definition.labels))
}

/// The labels as scripts compare them: JSON with sorted names.
fn labels_json(labels: &Labels) -> String {
    // Maps of strings always serialise.
    serde_json::to_string(labels).unwrap_or_default()
}
