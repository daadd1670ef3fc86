//! Calls that write, read and delete samples, and that change the form of sealed chunks.

use redis::Value;

use super::super::chunk::{self, CHUNK_SAMPLES};
use super::super::families::TimeLimits;
use super::super::keys::SeriesKeys;
use super::super::model::RefusalCode;
use super::super::series::{Definition, DuplicatePolicy, Sample};
use super::super::window::{Order, Window};
use super::{APPEND, DELETE_RANGE, LATEST, MIN_LIFE_MS, NO_SERIES, PLAIN_CHUNKS, READ, REPLACE_CHUNK, with_definition};
use crate::redis::{BadReply, Fence, ScriptCall, flag};

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
    /// The positions of refused samples, from 0, and why they were refused.
    pub refused: Vec<(usize, RefusalCode)>,
    /// Whether rollups have something to fill.
    pub stale: bool,
}

/// What `append.lua` returns: the fields of [`Appended`], with positions and reasons of refused samples in one list.
type AppendReply = (i64, i64, i64, i64, Vec<u8>, Vec<i64>, i64);

/// Adds a batch to a series; `None` if the series does not exist and `create` does not define it.
///
/// The samples are ascending, those with equal timestamps in the caller's order. `policy` is for timestamps that already
/// exist; `None` uses the policy of the series. Samples outside of `limits` are refused.
pub fn append(
    keys: &SeriesKeys,
    samples: &[Sample],
    policy: Option<DuplicatePolicy>,
    create: Option<&Definition>,
    limits: TimeLimits,
    now: &str,
    fence: Option<&Fence>,
) -> ScriptCall<AppendReply, Option<Appended>> {
    let mut batch = Vec::with_capacity(samples.len() * chunk::RECORD);
    for sample in samples {
        chunk::encode(*sample, &mut batch);
    }
    let distinct = samples.is_sorted_by(|before, after| before.timestamp < after.timestamp);
    let call = APPEND
        .guarded_write(fence, &keys.all())
        .arg(batch.as_slice())
        .arg(u8::from(distinct))
        .arg(CHUNK_SAMPLES)
        .arg(MIN_LIFE_MS)
        .arg(now);
    let call = match create {
        Some(definition) => with_definition(call, definition),
        None => call.arg("").arg("").arg(""),
    };
    call.arg(policy.map(DuplicatePolicy::name).unwrap_or_default())
        .arg(keys.layout.name())
        .arg(limits.earliest)
        .arg(limits.max_ahead_ms)
        .arg(limits.earliest_of_new)
        .returns(decode_appended)
}

fn decode_appended(raw: AppendReply) -> Result<Option<Appended>, BadReply> {
    let (consumed, stored, listed, plain, packed, refused, stale) = raw;
    if consumed == NO_SERIES {
        return Ok(None);
    }
    let size = |number: i64| usize::try_from(number).map_err(BadReply::new);
    let (pairs, []) = refused.as_chunks::<2>() else { return Err(BadReply::new(refused)) };
    let refused = pairs
        .iter()
        .map(|&[at, reason]| {
            let code = match reason {
                1 => RefusalCode::SampleTooOld,
                2 => RefusalCode::DuplicateSample,
                3 => RefusalCode::SumOutOfRange,
                4 => RefusalCode::SampleTooNew,
                5 => RefusalCode::WrongTimeUnit,
                other => return Err(BadReply::new(other)),
            };
            Ok((size(at)?, code))
        })
        .collect::<Result<_, _>>()?;
    Ok(Some(Appended {
        consumed: size(consumed)?,
        stored: size(stored)?,
        listed: listed == 1,
        plain: plain.unsigned_abs(),
        packed,
        refused,
        stale: stale == 1,
    }))
}

/// Chunks in the requested order; they may hold samples outside the window.
#[derive(Debug)]
pub struct WindowChunks {
    /// Whether the other end of the window was reached.
    pub done: bool,
    /// The oldest timestamp that may be read.
    pub floor: i64,
    pub chunks: Vec<Vec<u8>>,
}

/// Which samples a read returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those within retention.
    Visible,
    /// Also those that retention hides but that rollups still need.
    Kept,
}

/// Reads the chunks that hold a window; `None` if the series does not exist. `limit` is the most sealed chunks; in the module
/// the most samples.
pub fn read(
    keys: &SeriesKeys,
    window: Window,
    order: Order,
    limit: usize,
    reach: Reach,
    now: &str,
) -> ScriptCall<Vec<Value>, Option<WindowChunks>> {
    let order = match order {
        Order::Asc => "asc",
        Order::Desc => "desc",
    };
    READ.read(&[&keys.hash, &keys.head, &keys.chunks])
        .arg(window.from)
        .arg(window.to)
        .arg(limit)
        .arg(order)
        .arg(keys.layout.name())
        .arg(now)
        .arg(u8::from(reach == Reach::Kept))
        .returns(decode_chunks)
}

fn decode_chunks(raw: Vec<Value>) -> Result<Option<WindowChunks>, BadReply> {
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

/// The newest sample of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LatestSample {
    NoSeries,
    /// The series exists and has no samples.
    Empty,
    Found(Sample),
}

/// Reads the newest sample.
pub fn latest(keys: &SeriesKeys) -> ScriptCall<Vec<Value>, LatestSample> {
    LATEST.read(&[&keys.hash, &keys.head]).arg(keys.layout.name()).returns(|raw: Vec<Value>| match raw.as_slice() {
        [Value::Int(NO_SERIES)] => Ok(LatestSample::NoSeries),
        [Value::Int(0)] => Ok(LatestSample::Empty),
        [Value::Int(1), Value::BulkString(record)] => {
            chunk::decode(record).map(LatestSample::Found).map_err(BadReply::new)
        }
        other => Err(BadReply::new(other)),
    })
}

/// What one call of [`delete_range`] deleted.
#[derive(Debug)]
pub struct Deletion {
    pub done: bool,
    pub deleted: u64,
    /// The packed chunk that the window covers in part; empty if there is none.
    pub packed: Vec<u8>,
}

/// Deletes the samples of a window; `None` if the series does not exist. `limit` is the most sealed chunks that the call
/// examines; the module deletes the window in one call.
pub fn delete_range(
    keys: &SeriesKeys,
    window: Window,
    limit: usize,
    now: &str,
    fence: Option<&Fence>,
) -> ScriptCall<(i64, i64, Vec<u8>), Option<Deletion>> {
    DELETE_RANGE
        .guarded_write(fence, &[&keys.hash, &keys.head, &keys.chunks])
        .arg(window.from)
        .arg(window.to)
        .arg(limit)
        .arg(keys.layout.name())
        .arg(now)
        .returns(|(done, deleted, packed)| match done {
            NO_SERIES => Ok(None),
            _ => Ok(Some(Deletion { done: flag(done)?, deleted: i64::unsigned_abs(deleted), packed })),
        })
}

/// Reads up to `limit` sealed chunks that are not packed yet.
pub fn plain_chunks(keys: &SeriesKeys, limit: usize) -> ScriptCall<Vec<Vec<u8>>, Vec<Vec<u8>>> {
    PLAIN_CHUNKS.read(&[&keys.hash, &keys.chunks]).arg(limit).returns(Ok)
}

/// Replaces the sealed chunk `current`, whose first timestamp is `start`, by its other form. Returns `false` if the chunk has
/// changed. `other` is empty if the chunk stays plain and is not to be packed again.
pub fn replace_chunk(keys: &SeriesKeys, start: i64, current: &[u8], other: &[u8]) -> ScriptCall<i64, bool> {
    let digest = sha1_smol::Sha1::from(current).digest().to_string();
    REPLACE_CHUNK.write(&[&keys.hash, &keys.chunks]).arg(start).arg(digest).arg(other).returns(flag)
}
