//! Calls that update the index of series.

use super::super::keys::IndexKeys;
use super::super::series::{Labels, SeriesKey};
use super::{decode_flag, labels_json};
use crate::lua;
use crate::redis::{BadReply, Effect, Key, LuaScript, OldBinding, OldScriptCall};

/// Adds a series to the index under its name and labels.
#[derive(Debug)]
pub struct IndexSeries<'a> {
    pub index: &'a IndexKeys,
    pub series: &'a SeriesKey,
    pub labels: &'a Labels,
}

impl OldScriptCall for IndexSeries<'_> {
    type Raw = i64;
    type Reply = ();
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/index_series.lua");

    fn bind(&self, call: &mut OldBinding) {
        bind_index(call, self.index).arg(self.series.as_str()).arg(labels_json(self.labels));
    }

    fn decode(raw: i64) -> Result<(), BadReply> {
        if raw == 1 { Ok(()) } else { Err(BadReply::new(raw)) }
    }
}

/// Removes a series from the index.
#[derive(Debug)]
pub struct UnindexSeries<'a> {
    pub index: &'a IndexKeys,
    pub series: &'a SeriesKey,
}

impl OldScriptCall for UnindexSeries<'_> {
    type Raw = i64;
    /// Whether the index had it.
    type Reply = bool;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/unindex_series.lua");

    fn bind(&self, call: &mut OldBinding) {
        bind_index(call, self.index).arg(self.series.as_str());
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

fn bind_index<'a>(call: &'a mut OldBinding, index: &IndexKeys) -> &'a mut OldBinding {
    call.key(&index.names).key(&index.labels).key(&index.postings)
}

/// Notes in a series that the index has it under these labels.
#[derive(Debug)]
pub struct MarkIndexed<'a> {
    /// The series' hash.
    pub series: &'a Key,
    pub labels: &'a Labels,
}

impl OldScriptCall for MarkIndexed<'_> {
    type Raw = i64;
    /// Whether the series exists and has these labels.
    type Reply = bool;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/mark_indexed.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.series).arg(labels_json(self.labels));
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}
