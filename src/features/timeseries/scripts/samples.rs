//! Calls that write, read and delete samples.

use redis::Value;

use super::super::chunk::{self, ChunkError};
use super::super::keys::SeriesKeys;
use super::super::refusal::{RefusalReason, RefusedSample};
use super::super::series::{Definition, DuplicatePolicy, Sample};
use super::super::window::{Order, Window};
use super::{NO_SERIES, bind_all_keys, bind_keys, decode_flag, labels_json};
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Fence, LuaScript, ScriptCall};

/// Adds a batch to a series.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Append<'a> {
    pub keys: &'a SeriesKeys,
    /// Ascending, equal timestamps in the caller's order.
    pub samples: &'a [Sample],
    /// What holds for timestamps that are there already, instead of the series' own policy.
    pub policy: Option<DuplicatePolicy>,
    /// The series to make where there is none.
    pub create: Option<&'a Definition>,
    pub chunk_samples: usize,
    pub min_life_ms: u64,
    pub now: &'a str,
    pub fence: Option<&'a Fence>,
}

/// What became of a batch, or of as much of it as one call may do.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct Appended {
    /// How many samples, from the first on, were dealt with.
    pub consumed: usize,
    /// How many of them changed the series.
    pub stored: usize,
    /// Whether the index knows the series.
    pub listed: bool,
    /// How many sealed chunks wait to be packed.
    pub plain: u64,
    /// The packed chunk that the next sample falls into; empty: none was in the way.
    pub packed: Vec<u8>,
    pub refused: Vec<RefusedSample>,
    /// Whether rollups have something to do.
    pub stale: bool,
}

impl ScriptCall for Append<'_> {
    type Raw = (i64, i64, i64, i64, Vec<u8>, Vec<i64>, i64);
    /// `None`: there is no such series.
    type Reply = Option<Appended>;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/append.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut Binding) {
        let batch = records(self.samples);
        let distinct = self.samples.is_sorted_by(|before, after| before.timestamp < after.timestamp);
        bind_all_keys(call, self.keys)
            .arg(batch.as_slice())
            .arg(u8::from(distinct))
            .arg(self.chunk_samples)
            .arg(self.min_life_ms)
            .arg(self.now);
        match self.create {
            Some(definition) => call
                .arg(definition.retention_ms)
                .arg(definition.duplicate_policy.name())
                .arg(labels_json(&definition.labels)),
            None => call.arg("").arg("").arg(""),
        };
        call.arg(self.policy.map(DuplicatePolicy::name).unwrap_or_default());
    }

    fn decode(raw: Self::Raw) -> Result<Option<Appended>, BadReply> {
        let bad = || BadReply::new(Self::SCRIPT, &raw);
        let size = |number: i64| usize::try_from(number).map_err(|_| bad());
        let (consumed, stored, listed, plain, packed, refused, stale) = &raw;
        if *consumed == NO_SERIES {
            return Ok(None);
        }
        let (pairs, []) = refused.as_chunks::<2>() else { return Err(bad()) };
        let refused = pairs
            .iter()
            .map(|&[at, reason]| {
                let reason = match reason {
                    1 => RefusalReason::TooOld,
                    2 => RefusalReason::Duplicate,
                    3 => RefusalReason::SumOutOfRange,
                    _ => return Err(bad()),
                };
                Ok(RefusedSample { at: size(at)?, reason })
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(Appended {
            consumed: size(*consumed)?,
            stored: size(*stored)?,
            listed: *listed == 1,
            plain: plain.unsigned_abs(),
            packed: packed.clone(),
            refused,
            stale: *stale == 1,
        }))
    }
}

/// Samples as scripts take them.
pub(super) fn records(samples: &[Sample]) -> Vec<u8> {
    let mut records = Vec::with_capacity(samples.len() * chunk::RECORD);
    for sample in samples {
        chunk::encode(*sample, &mut records);
    }
    records
}

/// Reads chunks of a window.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Read<'a> {
    pub keys: &'a SeriesKeys,
    pub window: Window,
    pub order: Order,
    /// Sealed chunks at most.
    pub limit: usize,
}

/// Chunks in the asked order, with samples outside of the window still in them.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Chunks {
    /// Whether the window's other end was reached.
    pub done: bool,
    /// The oldest timestamp that retention still shows.
    pub floor: i64,
    pub pieces: Vec<Vec<u8>>,
}

impl ScriptCall for Read<'_> {
    type Raw = Vec<Value>;
    /// `None`: there is no such series.
    type Reply = Option<Chunks>;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("timeseries/read.lua");

    fn bind(&self, call: &mut Binding) {
        bind_keys(call, self.keys).arg(self.window.from).arg(self.window.to).arg(self.limit).arg(match self.order {
            Order::Asc => "asc",
            Order::Desc => "desc",
        });
    }

    fn decode(raw: Vec<Value>) -> Result<Option<Chunks>, BadReply> {
        let mut values = raw.into_iter();
        match (values.next(), values.next()) {
            (Some(Value::Int(NO_SERIES)), None) => Ok(None),
            (Some(Value::Int(done)), Some(Value::Int(floor))) => {
                let pieces = values
                    .map(|value| match value {
                        Value::BulkString(bytes) => Ok(bytes),
                        other => Err(BadReply::new(Self::SCRIPT, other)),
                    })
                    .collect::<Result<_, _>>()?;
                Ok(Some(Chunks { done: done == 1, floor, pieces }))
            }
            other => Err(BadReply::new(Self::SCRIPT, other)),
        }
    }
}

/// Reads the newest sample.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Latest<'a>(pub &'a SeriesKeys);

impl ScriptCall for Latest<'_> {
    type Raw = Vec<Value>;
    /// `None`: there is no such series; `Some(None)`: it is empty.
    type Reply = Option<Option<Result<Sample, ChunkError>>>;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("timeseries/latest.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.0.hash).key(&self.0.head);
    }

    fn decode(raw: Vec<Value>) -> Result<Self::Reply, BadReply> {
        match raw.as_slice() {
            [Value::Int(NO_SERIES)] => Ok(None),
            [Value::Int(0)] => Ok(Some(None)),
            [Value::Int(1), Value::BulkString(record)] => Ok(Some(Some(chunk::decode(record)))),
            other => Err(BadReply::new(Self::SCRIPT, other)),
        }
    }
}

/// Deletes a window's samples.
#[derive(Debug)]
pub(in crate::features::timeseries) struct DeleteRange<'a> {
    pub keys: &'a SeriesKeys,
    pub window: Window,
    /// Sealed chunks in one call.
    pub limit: usize,
    pub fence: Option<&'a Fence>,
}

/// What one call deleted.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Deletion {
    pub done: bool,
    pub deleted: u64,
    /// The packed chunk that the window cuts through; empty: none was in the way.
    pub packed: Vec<u8>,
}

impl ScriptCall for DeleteRange<'_> {
    type Raw = (i64, i64, Vec<u8>);
    /// `None`: there is no such series.
    type Reply = Option<Deletion>;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/delete_range.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut Binding) {
        bind_keys(call, self.keys).arg(self.window.from).arg(self.window.to).arg(self.limit);
    }

    fn decode((done, deleted, packed): Self::Raw) -> Result<Self::Reply, BadReply> {
        if done == NO_SERIES {
            return Ok(None);
        }
        Ok(Some(Deletion { done: decode_flag(Self::SCRIPT, done)?, deleted: deleted.unsigned_abs(), packed }))
    }
}
