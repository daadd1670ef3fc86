//! Calls that define, fill and read rollups.

use redis::Value;

use super::super::keys::SeriesKeys;
use super::super::rollup_state::RollupState;
use super::{NO_SERIES, bind_all_keys, decode_flag};
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Fence, LuaScript, ScriptCall};

/// Puts another list of rollups in the place of the one that was read.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Define<'a> {
    pub keys: &'a SeriesKeys,
    /// JSON; empty: there was none.
    pub current: &'a str,
    /// JSON; empty: the last rollup goes.
    pub other: &'a str,
    pub outlive_ms: u64,
    /// The name of the rollup that goes; one is added when absent.
    pub dropped: Option<&'a str>,
    pub fence: Option<&'a Fence>,
}

/// What became of a new list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum Defined {
    Done,
    /// Another list is there by now.
    Overtaken,
    NoSeries,
}

impl ScriptCall for Define<'_> {
    type Raw = i64;
    type Reply = Defined;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/rollup_define.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut Binding) {
        let dropped = self.dropped.unwrap_or_default();
        bind_all_keys(call, self.keys).arg(self.current).arg(self.other).arg(self.outlive_ms).arg(dropped);
    }

    fn decode(raw: i64) -> Result<Defined, BadReply> {
        match raw {
            1 => Ok(Defined::Done),
            0 => Ok(Defined::Overtaken),
            NO_SERIES => Ok(Defined::NoSeries),
            other => Err(BadReply::new(Self::SCRIPT, other)),
        }
    }
}

/// Reads what the rollups hold.
#[derive(Debug)]
pub(in crate::features::timeseries) struct ReadState<'a>(pub &'a SeriesKeys);

impl ScriptCall for ReadState<'_> {
    type Raw = Vec<Value>;
    /// `None`: there is no such series; `Some(None)`: it has no rollups.
    type Reply = Option<Option<RollupState>>;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("timeseries/rollup_state.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.0.hash).key(&self.0.head);
    }

    fn decode(raw: Vec<Value>) -> Result<Self::Reply, BadReply> {
        use Value::{BulkString, Int};

        let [
            BulkString(rules),
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
                [Int(0)] => Ok(Some(None)),
                other => Err(BadReply::new(Self::SCRIPT, other)),
            };
        };
        let list = String::from_utf8_lossy(rules).into_owned();
        let unrolled = String::from_utf8_lossy(unrolled).into_owned();
        let times = (*rolled, *from, *trimmed, *retention_ms, *newest);
        let state =
            RollupState::new(list, *revision, &unrolled, times).map_err(|error| BadReply::new(Self::SCRIPT, error))?;
        Ok(Some(Some(state)))
    }
}

/// Has rollups hold all that is sealed.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Advance<'a>(pub &'a SeriesKeys);

impl ScriptCall for Advance<'_> {
    type Raw = i64;
    /// Whether there is more to fill in.
    type Reply = bool;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/rollup_advance.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.0.hash).key(&self.0.head);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

/// Stores what was filled in.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Commit<'a> {
    pub keys: &'a SeriesKeys,
    pub revision: i64,
    /// The beginning of the list of changes that is dealt with.
    pub done: &'a str,
    /// What is left of it.
    pub rest: &'a str,
    /// From when on rollups are filled; absent: as before.
    pub from: Option<i64>,
    /// Fields and what they hold; empty: the field goes.
    pub fields: &'a [(String, Vec<u8>)],
}

impl ScriptCall for Commit<'_> {
    type Raw = i64;
    /// `false`: somebody else was faster.
    type Reply = bool;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/rollup_commit.lua");

    fn bind(&self, call: &mut Binding) {
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
