//! Calls that write, read and delete samples.

use redis::Value;

use super::super::chunk;
use super::super::keys::SeriesKeys;
use super::super::refusal::{RefusalReason, RefusedSample};
use super::super::series::{Definition, DuplicatePolicy, Sample};
use super::super::window::{Order, Window};
use super::{NO_SERIES, bind_definition, bind_head, bind_samples, bind_series, decode_flag};
use crate::lua;
use crate::redis::{BadReply, Effect, Fence, LuaScript, OldBinding, OldScriptCall};

/// Adds a batch to a series.
#[derive(Debug)]
pub struct Append<'a> {
    pub keys: &'a SeriesKeys,
    /// Ascending, equal timestamps in the caller's order.
    pub samples: &'a [Sample],
    /// The policy for timestamps that already exist; `None` uses the policy of the series.
    pub policy: Option<DuplicatePolicy>,
    /// The definition of the series to create if it does not exist.
    pub create: Option<&'a Definition>,
    pub chunk_samples: usize,
    pub min_life_ms: u64,
    pub now: &'a str,
    pub fence: Option<&'a Fence>,
}

/// The result of appending a batch, or the part of it that one call may append.
#[derive(Debug, PartialEq, Eq)]
pub struct Appended {
    /// How many samples, from the first, were processed.
    pub consumed: usize,
    /// How many of them changed the series.
    pub stored: usize,
    /// Whether the index has the series.
    pub listed: bool,
    /// How many sealed chunks are not packed yet.
    pub plain: u64,
    /// The packed chunk that the next sample falls into; empty if there is none.
    pub packed: Vec<u8>,
    pub refused: Vec<RefusedSample>,
    /// Whether rollups have something to fill.
    pub stale: bool,
}

impl OldScriptCall for Append<'_> {
    type Raw = (i64, i64, i64, i64, Vec<u8>, Vec<i64>, i64);
    /// `None` if the series does not exist.
    type Reply = Option<Appended>;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/append.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        let mut batch = Vec::with_capacity(self.samples.len() * chunk::RECORD);
        for sample in self.samples {
            chunk::encode(*sample, &mut batch);
        }
        let distinct = self.samples.is_sorted_by(|before, after| before.timestamp < after.timestamp);
        bind_series(call, self.keys)
            .arg(batch.as_slice())
            .arg(u8::from(distinct))
            .arg(self.chunk_samples)
            .arg(self.min_life_ms)
            .arg(self.now);
        match self.create {
            Some(definition) => bind_definition(call, definition),
            None => call.arg("").arg("").arg(""),
        };
        call.arg(self.policy.map(DuplicatePolicy::name).unwrap_or_default()).arg(self.keys.layout.name());
    }

    fn decode(raw: Self::Raw) -> Result<Option<Appended>, BadReply> {
        let bad = || BadReply::new(&raw);
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

/// Reads the chunks that hold a window.
#[derive(Debug)]
pub struct Read<'a> {
    pub keys: &'a SeriesKeys,
    pub window: Window,
    pub order: Order,
    /// The most sealed chunks; in the module the most samples.
    pub limit: usize,
}

/// Chunks in the requested order; they may hold samples outside the window.
#[derive(Debug)]
pub struct WindowChunks {
    /// Whether the other end of the window was reached.
    pub done: bool,
    /// The oldest timestamp within retention.
    pub floor: i64,
    pub chunks: Vec<Vec<u8>>,
}

impl OldScriptCall for Read<'_> {
    type Raw = Vec<Value>;
    /// `None` if the series does not exist.
    type Reply = Option<WindowChunks>;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("timeseries/read.lua");

    fn bind(&self, call: &mut OldBinding) {
        let order = match self.order {
            Order::Asc => "asc",
            Order::Desc => "desc",
        };
        bind_samples(call, self.keys)
            .arg(self.window.from)
            .arg(self.window.to)
            .arg(self.limit)
            .arg(order)
            .arg(self.keys.layout.name());
    }

    fn decode(raw: Vec<Value>) -> Result<Option<WindowChunks>, BadReply> {
        let mut values = raw.into_iter();
        match (values.next(), values.next()) {
            (Some(Value::Int(NO_SERIES)), None) => Ok(None),
            (Some(Value::Int(done)), Some(Value::Int(floor))) => {
                let chunks = values
                    .map(|value| match value {
                        Value::BulkString(bytes) => Ok(bytes),
                        other => Err(BadReply::new(other)),
                    })
                    .collect::<Result<_, _>>()?;
                Ok(Some(WindowChunks { done: done == 1, floor, chunks }))
            }
            other => Err(BadReply::new(other)),
        }
    }
}

/// Reads the newest sample.
#[derive(Debug)]
pub struct ReadLatest<'a>(pub &'a SeriesKeys);

/// The newest sample of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LatestSample {
    NoSeries,
    /// The series exists and has no samples.
    Empty,
    Found(Sample),
}

impl OldScriptCall for ReadLatest<'_> {
    type Raw = Vec<Value>;
    type Reply = LatestSample;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("timeseries/latest.lua");

    fn bind(&self, call: &mut OldBinding) {
        bind_head(call, self.0).arg(self.0.layout.name());
    }

    fn decode(raw: Vec<Value>) -> Result<LatestSample, BadReply> {
        match raw.as_slice() {
            [Value::Int(NO_SERIES)] => Ok(LatestSample::NoSeries),
            [Value::Int(0)] => Ok(LatestSample::Empty),
            [Value::Int(1), Value::BulkString(record)] => {
                chunk::decode(record).map(LatestSample::Found).map_err(|error| BadReply::new(error))
            }
            other => Err(BadReply::new(other)),
        }
    }
}

/// Deletes the samples of a window.
#[derive(Debug)]
pub struct DeleteRange<'a> {
    pub keys: &'a SeriesKeys,
    pub window: Window,
    /// The most sealed chunks that one call examines; the module deletes the window in one call.
    pub limit: usize,
    pub fence: Option<&'a Fence>,
}

/// The result of one call.
#[derive(Debug)]
pub struct Deletion {
    pub done: bool,
    pub deleted: u64,
    /// The packed chunk that the window covers in part; empty if there is none.
    pub packed: Vec<u8>,
}

impl OldScriptCall for DeleteRange<'_> {
    type Raw = (i64, i64, Vec<u8>);
    /// `None` if the series does not exist.
    type Reply = Option<Deletion>;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/delete_range.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        bind_samples(call, self.keys)
            .arg(self.window.from)
            .arg(self.window.to)
            .arg(self.limit)
            .arg(self.keys.layout.name());
    }

    fn decode((done, deleted, packed): Self::Raw) -> Result<Self::Reply, BadReply> {
        if done == NO_SERIES {
            return Ok(None);
        }
        Ok(Some(Deletion { done: decode_flag(Self::SCRIPT, done)?, deleted: deleted.unsigned_abs(), packed }))
    }
}
