//! Calls that keep the lists of series.

use super::super::keys::IndexKeys;
use super::super::series::{Labels, SeriesKey};
use super::{decode_flag, labels_json};
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

/// Puts a series on the lists.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Enlist<'a> {
    pub index: &'a IndexKeys,
    pub series: &'a SeriesKey,
    pub labels: &'a Labels,
}

impl ScriptCall for Enlist<'_> {
    type Raw = i64;
    type Reply = ();
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/enlist.lua");

    fn bind(&self, call: &mut Binding) {
        bind_index(call, self.index).arg(self.series.as_str()).arg(labels_json(self.labels));
    }

    fn decode(raw: i64) -> Result<(), BadReply> {
        if raw == 1 { Ok(()) } else { Err(BadReply::new(Self::SCRIPT, raw)) }
    }
}

/// Takes a series off the lists.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Delist<'a> {
    pub index: &'a IndexKeys,
    pub series: &'a SeriesKey,
}

impl ScriptCall for Delist<'_> {
    type Raw = i64;
    /// Whether it was on them.
    type Reply = bool;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/delist.lua");

    fn bind(&self, call: &mut Binding) {
        bind_index(call, self.index).arg(self.series.as_str());
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

fn bind_index<'a>(call: &'a mut Binding, index: &IndexKeys) -> &'a mut Binding {
    call.key(&index.names).key(&index.labels).key(&index.postings)
}

/// Notes with a series that the lists know it under these labels.
#[derive(Debug)]
pub(in crate::features::timeseries) struct MarkListed<'a> {
    /// The series' hash.
    pub series: &'a Key,
    pub labels: &'a Labels,
}

impl ScriptCall for MarkListed<'_> {
    type Raw = i64;
    /// Whether there is such a series, and it has these labels.
    type Reply = bool;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/mark_listed.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.series).arg(labels_json(self.labels));
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}
