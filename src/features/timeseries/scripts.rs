//! The scripts of `migrations-lua/timeseries/`, as typed calls.

use redis::Value;

use super::backend::chunk::{self, ChunkError};
use super::backend::{Description, Order, Reason, Refused, Window};
use super::keys::SeriesKeys;
use super::series::{Definition, DuplicatePolicy, Labels, Sample};
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

pub(super) static APPEND: LuaScript = lua!("timeseries/append.lua");
pub(super) static READ: LuaScript = lua!("timeseries/read.lua");
pub(super) static LATEST: LuaScript = lua!("timeseries/latest.lua");
pub(super) static CREATE: LuaScript = lua!("timeseries/create.lua");
pub(super) static ALTER: LuaScript = lua!("timeseries/alter.lua");
pub(super) static DESCRIBE: LuaScript = lua!("timeseries/describe.lua");
pub(super) static DELETE: LuaScript = lua!("timeseries/delete.lua");
pub(super) static DELETE_RANGE: LuaScript = lua!("timeseries/delete_range.lua");
pub(super) static MARK_LISTED: LuaScript = lua!("timeseries/mark_listed.lua");

/// What every script answers for a key that holds no series.
const NO_SERIES: i64 = -1;

fn bind_keys<'a>(call: &'a mut Binding, keys: &SeriesKeys) -> &'a mut Binding {
    call.key(&keys.series).key(&keys.head).key(&keys.chunks)
}

/// The labels as scripts compare them: JSON with sorted names.
fn labels_json(labels: &Labels) -> String {
    // Maps of strings always serialise.
    serde_json::to_string(labels).unwrap_or_default()
}

/// Adds a batch to a series.
#[derive(Debug)]
pub(super) struct Append<'a> {
    pub keys: &'a SeriesKeys,
    /// Ascending, equal timestamps in the caller's order.
    pub samples: &'a [Sample],
    /// The series to make where there is none.
    pub create: Option<&'a Definition>,
    pub chunk_samples: usize,
    pub min_life_ms: u64,
    pub now: &'a str,
}

/// What became of a batch, or of as much of it as one call may do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Appended {
    /// How many samples, from the first on, were dealt with.
    pub consumed: usize,
    /// How many of them changed the series.
    pub stored: usize,
    /// Whether the index knows the series.
    pub listed: bool,
    pub refused: Vec<Refused>,
}

impl ScriptCall for Append<'_> {
    type Raw = Vec<i64>;
    /// `None`: there is no such series.
    type Reply = Option<Appended>;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &APPEND
    }

    fn bind(&self, call: &mut Binding) {
        let mut batch = Vec::with_capacity(self.samples.len() * chunk::RECORD);
        for sample in self.samples {
            chunk::encode(*sample, &mut batch);
        }
        let distinct = self.samples.is_sorted_by(|before, after| before.timestamp < after.timestamp);
        bind_keys(call, self.keys)
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
    }

    fn decode(raw: Vec<i64>) -> Result<Option<Appended>, BadReply> {
        let bad = || BadReply::new(&APPEND, &raw);
        let size = |number: i64| usize::try_from(number).map_err(|_| bad());
        match raw.as_slice() {
            [NO_SERIES] => Ok(None),
            [consumed, stored, listed, refused @ ..] => {
                let (pairs, odd) = refused.as_chunks::<2>();
                if !odd.is_empty() {
                    return Err(bad());
                }
                let refused = pairs
                    .iter()
                    .map(|&[at, reason]| {
                        let reason = match reason {
                            1 => Reason::TooOld,
                            2 => Reason::Duplicate,
                            3 => Reason::SumOutOfRange,
                            _ => return Err(bad()),
                        };
                        Ok(Refused { at: size(at)?, reason })
                    })
                    .collect::<Result<_, _>>()?;
                let (consumed, stored) = (size(*consumed)?, size(*stored)?);
                Ok(Some(Appended { consumed, stored, listed: *listed == 1, refused }))
            }
            _ => Err(bad()),
        }
    }
}

/// Reads chunks of a window.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub keys: &'a SeriesKeys,
    pub window: Window,
    pub order: Order,
    /// Sealed chunks at most.
    pub limit: usize,
}

/// Chunks in the asked order, with samples outside of the window still in them.
#[derive(Debug)]
pub(super) struct Chunks {
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

    fn script() -> &'static LuaScript {
        &READ
    }

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
                        other => Err(BadReply::new(&READ, other)),
                    })
                    .collect::<Result<_, _>>()?;
                Ok(Some(Chunks { done: done == 1, floor, pieces }))
            }
            other => Err(BadReply::new(&READ, other)),
        }
    }
}

/// Reads the newest sample.
#[derive(Debug)]
pub(super) struct Latest<'a>(pub &'a SeriesKeys);

impl ScriptCall for Latest<'_> {
    type Raw = Vec<Value>;
    /// `None`: there is no such series; `Some(None)`: it is empty.
    type Reply = Option<Option<Result<Sample, ChunkError>>>;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Read;

    fn script() -> &'static LuaScript {
        &LATEST
    }

    fn bind(&self, call: &mut Binding) {
        call.key(&self.0.series).key(&self.0.head);
    }

    fn decode(raw: Vec<Value>) -> Result<Self::Reply, BadReply> {
        match raw.as_slice() {
            [Value::Int(NO_SERIES)] => Ok(None),
            [Value::Int(0)] => Ok(Some(None)),
            [Value::Int(1), Value::BulkString(record)] => Ok(Some(Some(chunk::decode(record)))),
            other => Err(BadReply::new(&LATEST, other)),
        }
    }
}

/// Creates a series.
#[derive(Debug)]
pub(super) struct Create<'a> {
    pub keys: &'a SeriesKeys,
    pub definition: &'a Definition,
    pub min_life_ms: u64,
    pub now: &'a str,
}

/// What creating found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum Created {
    New,
    /// It was there, with the same definition.
    Same,
    /// It was there, with another definition.
    Different,
}

impl ScriptCall for Create<'_> {
    type Raw = i64;
    type Reply = Created;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &CREATE
    }

    fn bind(&self, call: &mut Binding) {
        bind_keys(call, self.keys)
            .arg(self.definition.retention_ms)
            .arg(self.definition.duplicate_policy.name())
            .arg(labels_json(&self.definition.labels))
            .arg(self.min_life_ms)
            .arg(self.now);
    }

    fn decode(raw: i64) -> Result<Created, BadReply> {
        match raw {
            0 => Ok(Created::Different),
            1 => Ok(Created::New),
            2 => Ok(Created::Same),
            other => Err(BadReply::new(&CREATE, other)),
        }
    }
}

/// Changes parts of a definition.
#[derive(Debug)]
pub(super) struct Alter<'a> {
    pub keys: &'a SeriesKeys,
    pub retention_ms: Option<u64>,
    pub duplicate_policy: Option<DuplicatePolicy>,
    pub labels: Option<&'a Labels>,
    pub min_life_ms: u64,
}

impl ScriptCall for Alter<'_> {
    type Raw = i64;
    /// Whether there is such a series.
    type Reply = bool;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &ALTER
    }

    fn bind(&self, call: &mut Binding) {
        bind_keys(call, self.keys)
            .arg(self.retention_ms.map(|ms| ms.to_string()).unwrap_or_default())
            .arg(self.duplicate_policy.map(DuplicatePolicy::name).unwrap_or_default())
            .arg(self.labels.map(labels_json).unwrap_or_default())
            .arg(self.min_life_ms);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(&ALTER, raw)
    }
}

/// Describes a series.
#[derive(Debug)]
pub(super) struct Describe<'a>(pub &'a SeriesKeys);

impl ScriptCall for Describe<'_> {
    type Raw = Vec<Value>;
    /// `None`: there is no such series.
    type Reply = Option<Description>;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Read;

    fn script() -> &'static LuaScript {
        &DESCRIBE
    }

    fn bind(&self, call: &mut Binding) {
        bind_keys(call, self.0);
    }

    fn decode(raw: Vec<Value>) -> Result<Option<Description>, BadReply> {
        use Value::{BulkString, Int};

        let [
            Int(retention_ms),
            BulkString(policy),
            BulkString(labels),
            Int(created),
            Int(count),
            Int(chunks),
            Int(bytes),
            ends @ ..,
        ] = raw.as_slice()
        else {
            return match raw.as_slice() {
                [Int(NO_SERIES)] => Ok(None),
                other => Err(BadReply::new(&DESCRIBE, other)),
            };
        };
        let ends = match ends {
            [] => None,
            [Int(first), Int(last)] => Some((*first, *last)),
            other => return Err(BadReply::new(&DESCRIBE, other)),
        };
        let definition = decode_definition(&DESCRIBE, *retention_ms, policy, labels)?;
        let (count, chunks, bytes) = (count.unsigned_abs(), chunks.unsigned_abs(), bytes.unsigned_abs());
        Ok(Some(Description { definition, created: *created, count, chunks, bytes, ends }))
    }
}

/// The definition as the series' hash holds it.
pub(super) fn decode_definition(
    script: &LuaScript,
    retention_ms: i64,
    policy: &[u8],
    labels: &[u8],
) -> Result<Definition, BadReply> {
    let policy = String::from_utf8_lossy(policy);
    let duplicate_policy = DuplicatePolicy::from_name(&policy).ok_or_else(|| BadReply::new(script, policy))?;
    let labels = serde_json::from_slice(labels).map_err(|error| BadReply::new(script, error))?;
    Ok(Definition { retention_ms: retention_ms.unsigned_abs(), duplicate_policy, labels })
}

/// Deletes a series.
#[derive(Debug)]
pub(super) struct Delete<'a>(pub &'a SeriesKeys);

impl ScriptCall for Delete<'_> {
    type Raw = i64;
    /// Whether there was such a series.
    type Reply = bool;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &DELETE
    }

    fn bind(&self, call: &mut Binding) {
        bind_keys(call, self.0);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(&DELETE, raw)
    }
}

/// Deletes a window's samples.
#[derive(Debug)]
pub(super) struct DeleteRange<'a> {
    pub keys: &'a SeriesKeys,
    pub window: Window,
    /// Sealed chunks in one call.
    pub limit: usize,
}

impl ScriptCall for DeleteRange<'_> {
    type Raw = Vec<i64>;
    /// `None`: there is no such series; else whether all is done, and how many samples went.
    type Reply = Option<(bool, u64)>;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &DELETE_RANGE
    }

    fn bind(&self, call: &mut Binding) {
        bind_keys(call, self.keys).arg(self.window.from).arg(self.window.to).arg(self.limit);
    }

    fn decode(raw: Vec<i64>) -> Result<Self::Reply, BadReply> {
        match raw.as_slice() {
            [NO_SERIES] => Ok(None),
            [done, deleted] => Ok(Some((*done == 1, deleted.unsigned_abs()))),
            other => Err(BadReply::new(&DELETE_RANGE, other)),
        }
    }
}

/// Notes that the index knows a series.
#[derive(Debug)]
pub(super) struct MarkListed<'a>(pub &'a Key);

impl ScriptCall for MarkListed<'_> {
    type Raw = i64;
    /// Whether there is such a series.
    type Reply = bool;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &MARK_LISTED
    }

    fn bind(&self, call: &mut Binding) {
        call.key(self.0);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(&MARK_LISTED, raw)
    }
}

fn decode_flag(script: &LuaScript, raw: i64) -> Result<bool, BadReply> {
    match raw {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(BadReply::new(script, other)),
    }
}
