//! Calls that update the index of series.

use super::super::keys::IndexKeys;
use super::super::series::{Labels, SeriesKey};
use super::{INDEX_SERIES, MARK_INDEXED, UNINDEX_SERIES, labels_json};
use crate::redis::{Key, ScriptCall, flag};

/// Adds a series to the index under its name and labels. Returns `true`.
pub fn index_series(index: &IndexKeys, series: &SeriesKey, labels: &Labels) -> ScriptCall<i64, bool> {
    INDEX_SERIES.write(&index.all()).arg(series.as_str()).arg(labels_json(labels)).returns(flag)
}

/// Removes a series from the index. Returns whether the index had it.
pub fn unindex_series(index: &IndexKeys, series: &SeriesKey) -> ScriptCall<i64, bool> {
    UNINDEX_SERIES.write(&index.all()).arg(series.as_str()).returns(flag)
}

/// Notes in the hash of a series that the index has it under these labels. Returns whether it exists and has them.
pub fn mark_indexed(hash: &Key, labels: &Labels) -> ScriptCall<i64, bool> {
    MARK_INDEXED.write(&[hash]).arg(labels_json(labels)).returns(flag)
}
