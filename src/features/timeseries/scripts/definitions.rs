//! Calls that make, change and describe series.

use redis::Value;

use super::super::description::Description;
use super::super::keys::SeriesKeys;
use super::super::series::{Definition, DuplicatePolicy, Labels};
use super::{NO_SERIES, bind_all_keys, bind_keys, decode_flag, labels_json};
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Fence, LuaScript, ScriptCall};

/// Creates a series.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Create<'a> {
    pub keys: &'a SeriesKeys,
    pub definition: &'a Definition,
    pub min_life_ms: u64,
    pub now: &'a str,
    pub fence: Option<&'a Fence>,
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
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/create.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut Binding) {
        bind_all_keys(call, self.keys)
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
            other => Err(BadReply::new(Self::SCRIPT, other)),
        }
    }
}

/// Changes parts of a definition.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Alter<'a> {
    pub keys: &'a SeriesKeys,
    pub retention_ms: Option<u64>,
    pub duplicate_policy: Option<DuplicatePolicy>,
    pub labels: Option<&'a Labels>,
    pub min_life_ms: u64,
    pub fence: Option<&'a Fence>,
}

impl ScriptCall for Alter<'_> {
    type Raw = i64;
    /// Whether there is such a series.
    type Reply = bool;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/alter.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut Binding) {
        bind_all_keys(call, self.keys)
            .arg(self.retention_ms.map(|ms| ms.to_string()).unwrap_or_default())
            .arg(self.duplicate_policy.map(DuplicatePolicy::name).unwrap_or_default())
            .arg(self.labels.map(labels_json).unwrap_or_default())
            .arg(self.min_life_ms);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

/// Describes a series.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Describe<'a>(pub &'a SeriesKeys);

impl ScriptCall for Describe<'_> {
    type Raw = Vec<Value>;
    /// `None`: there is no such series. The bytes are those of the packed chunk that retention cuts through, all of whose
    /// samples are counted, and whose first one is not known; empty: there is none.
    type Reply = Option<(Description, Vec<u8>)>;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("timeseries/describe.lua");

    fn bind(&self, call: &mut Binding) {
        bind_keys(call, self.0);
    }

    fn decode(raw: Vec<Value>) -> Result<Self::Reply, BadReply> {
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
                other => Err(BadReply::new(Self::SCRIPT, other)),
            };
        };
        let (ends, cut) = match ends {
            [] => (None, Vec::new()),
            [Int(first), Int(last), BulkString(cut)] => (Some((*first, *last)), cut.clone()),
            other => return Err(BadReply::new(Self::SCRIPT, other)),
        };
        let definition = decode_definition(Self::SCRIPT, *retention_ms, policy, labels)?;
        let (count, chunks, bytes) = (count.unsigned_abs(), chunks.unsigned_abs(), bytes.unsigned_abs());
        Ok(Some((Description { definition, created: *created, count, chunks, bytes, ends }, cut)))
    }
}

/// The definition as the series' hash holds it.
pub(in crate::features::timeseries) fn decode_definition(
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
pub(in crate::features::timeseries) struct Delete<'a> {
    pub keys: &'a SeriesKeys,
    pub fence: Option<&'a Fence>,
}

impl ScriptCall for Delete<'_> {
    type Raw = i64;
    /// Whether there was such a series.
    type Reply = bool;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/delete.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut Binding) {
        bind_all_keys(call, self.keys);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}
