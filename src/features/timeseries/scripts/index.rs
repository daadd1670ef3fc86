//! Calls on the index of series.

use super::super::keys::IndexKeys;
use super::super::series::{Labels, SeriesKey};
#[cfg(feature = "promql")]
use super::LABEL_PARTS;
use super::{INDEX_SERIES, MARK_INDEXED, UNINDEX_SERIES, labels_json};
#[cfg(feature = "promql")]
use crate::redis::BadReply;
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

/// Lists the next names of labels (`prefix` is empty) or values of a label (`prefix` is `label NUL`) after a part, each with
/// one of its series.
#[cfg(feature = "promql")]
pub fn label_parts(
    index: &IndexKeys,
    prefix: &str,
    after: &str,
    limit: usize,
) -> ScriptCall<Vec<String>, Vec<(String, String)>> {
    LABEL_PARTS.read(&[&index.postings]).arg(prefix).arg(after).arg(limit).returns(|raw: Vec<String>| {
        let (pairs, []) = raw.as_chunks::<2>() else { return Err(BadReply::new(raw)) };
        Ok(pairs.iter().map(|[part, series]| (part.clone(), series.clone())).collect())
    })
}
