//! Calls that define, fill and read rollups.

use redis::Value;

use super::super::keys::SeriesKeys;
use super::super::rollup_state::RollupState;
use super::{NO_SERIES, bind_head, bind_series, decode_flag};
use crate::lua;
use crate::redis::{BadReply, Effect, Fence, LuaScript, OldBinding, OldScriptCall};

/// Replaces the list of rollups that was read.
#[derive(Debug)]
pub struct DefineRollups<'a> {
    pub keys: &'a SeriesKeys,
    /// JSON; empty for no rollups.
    pub current: &'a str,
    /// JSON; empty for no rollups.
    pub other: &'a str,
    pub outlive_ms: u64,
    /// The name of the rollup that the new list lacks; `None` when one is added.
    pub dropped: Option<&'a str>,
    pub fence: Option<&'a Fence>,
}

/// The result of replacing the list of rollups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefineOutcome {
    Done,
    /// The list has changed since it was read.
    Conflict,
    NoSeries,
}

impl OldScriptCall for DefineRollups<'_> {
    type Raw = i64;
    type Reply = DefineOutcome;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/rollup_define.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        let dropped = self.dropped.unwrap_or_default();
        bind_series(call, self.keys).arg(self.current).arg(self.other).arg(self.outlive_ms).arg(dropped);
    }

    fn decode(raw: i64) -> Result<DefineOutcome, BadReply> {
        match raw {
            1 => Ok(DefineOutcome::Done),
            0 => Ok(DefineOutcome::Conflict),
            NO_SERIES => Ok(DefineOutcome::NoSeries),
            other => Err(BadReply::new(other)),
        }
    }
}

/// Reads the state of the rollups of a series.
#[derive(Debug)]
pub struct ReadRollups<'a>(pub &'a SeriesKeys);

impl OldScriptCall for ReadRollups<'_> {
    type Raw = Vec<Value>;
    /// `None` if the series does not exist; an empty state if it has no rollups.
    type Reply = Option<RollupState>;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("timeseries/rollup_state.lua");

    fn bind(&self, call: &mut OldBinding) {
        bind_head(call, self.0).arg(self.0.layout.name());
    }

    fn decode(raw: Vec<Value>) -> Result<Self::Reply, BadReply> {
        use Value::{BulkString, Int};

        let [
            BulkString(list),
            Int(revision),
            Int(rolled),
            BulkString(unrolled),
            Int(from),
            Int(trimmed),
            Int(retention_ms),
            Int(newest),
        ] = raw.as_slice()
        else {
            return match raw.as_slice() {
                [Int(NO_SERIES)] => Ok(None),
                [Int(0)] => Ok(Some(RollupState::default())),
                other => Err(BadReply::new(other)),
            };
        };
        let (list, unrolled) = (String::from_utf8_lossy(list), String::from_utf8_lossy(unrolled));
        let state = RollupState::parse(list.into_owned(), &unrolled);
        Ok(Some(RollupState {
            revision: *revision,
            filled_until: *rolled,
            filled_from: *from,
            trimmed_until: *trimmed,
            retention_ms: retention_ms.unsigned_abs(),
            newest: Some(*newest).filter(|newest| *newest >= 0),
            ..state.map_err(|error| BadReply::new(error))?
        }))
    }
}

/// Moves forward the time before which rollups are to be filled.
#[derive(Debug)]
pub struct AdvanceRollups<'a>(pub &'a SeriesKeys);

impl OldScriptCall for AdvanceRollups<'_> {
    type Raw = i64;
    /// Whether there is more to fill.
    type Reply = bool;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/rollup_advance.lua");

    fn bind(&self, call: &mut OldBinding) {
        bind_head(call, self.0).arg(self.0.layout.name());
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

/// Stores buckets of rollups.
#[derive(Debug)]
pub struct CommitRollups<'a> {
    pub keys: &'a SeriesKeys,
    pub revision: i64,
    /// The beginning of the list of changes, which these buckets cover.
    pub done: &'a str,
    /// The part of `done` that is still to be filled.
    pub rest: &'a str,
    /// The time before which rollups are not filled; `None` leaves it unchanged.
    pub from: Option<i64>,
    /// Fields and their values; an empty value removes the field.
    pub fields: &'a [(String, Vec<u8>)],
}

impl OldScriptCall for CommitRollups<'_> {
    type Raw = i64;
    /// `false` if another replica stored buckets since the samples were read.
    type Reply = bool;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/rollup_commit.lua");

    fn bind(&self, call: &mut OldBinding) {
        let from = self.from.map(|from| from.to_string()).unwrap_or_default();
        call.key(&self.keys.hash).key(&self.keys.blocks);
        call.arg(self.revision).arg(self.done).arg(self.rest).arg(from);
        for (field, bytes) in self.fields {
            call.arg(field).arg(bytes.as_slice());
        }
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}
