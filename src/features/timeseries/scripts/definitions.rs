//! Calls that create, change, describe and delete series.

use redis::Value;

use super::super::description::Description;
use super::super::keys::SeriesKeys;
use super::super::model::Alteration;
use super::super::series::{Definition, DuplicatePolicy};
use super::{NO_SERIES, bind_definition, bind_samples, bind_series, decode_flag, labels_json};
use crate::lua;
use crate::redis::{BadReply, Effect, Fence, LuaScript, OldBinding, OldScriptCall};

/// Creates a series.
#[derive(Debug)]
pub struct Create<'a> {
    pub keys: &'a SeriesKeys,
    pub definition: &'a Definition,
    pub min_life_ms: u64,
    pub now: &'a str,
    pub fence: Option<&'a Fence>,
}

/// The result of creating a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    New,
    /// It exists with the same definition.
    Same,
    /// It exists with another definition.
    Different,
}

impl OldScriptCall for Create<'_> {
    type Raw = i64;
    type Reply = CreateOutcome;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/create.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        bind_definition(bind_series(call, self.keys), self.definition)
            .arg(self.min_life_ms)
            .arg(self.now)
            .arg(self.keys.layout.name());
    }

    fn decode(raw: i64) -> Result<CreateOutcome, BadReply> {
        match raw {
            0 => Ok(CreateOutcome::Different),
            1 => Ok(CreateOutcome::New),
            2 => Ok(CreateOutcome::Same),
            other => Err(BadReply::new(other)),
        }
    }
}

/// Changes parts of the definition of a series.
#[derive(Debug)]
pub struct Alter<'a> {
    pub keys: &'a SeriesKeys,
    pub change: &'a Alteration,
    pub min_life_ms: u64,
    pub fence: Option<&'a Fence>,
}

impl OldScriptCall for Alter<'_> {
    type Raw = i64;
    /// Whether the series exists.
    type Reply = bool;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/alter.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        let Alteration { retention_ms, duplicate_policy, labels } = self.change;
        bind_series(call, self.keys)
            .arg(retention_ms.map(|retention| retention.0.to_string()).unwrap_or_default())
            .arg(duplicate_policy.map(DuplicatePolicy::name).unwrap_or_default())
            .arg(labels.as_ref().map(labels_json).unwrap_or_default())
            .arg(self.min_life_ms)
            .arg(self.keys.layout.name());
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

/// Describes a series.
#[derive(Debug)]
pub struct Describe<'a>(pub &'a SeriesKeys);

impl OldScriptCall for Describe<'_> {
    type Raw = Vec<Value>;
    /// `None` if the series does not exist. The bytes are the packed chunk of which a part has expired: all of its samples
    /// are counted, and `ends` begins with the oldest timestamp within retention. They are empty if there is no such chunk.
    type Reply = Option<(Description, Vec<u8>)>;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("timeseries/describe.lua");

    fn bind(&self, call: &mut OldBinding) {
        bind_samples(call, self.0).arg(self.0.layout.name());
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
                other => Err(BadReply::new(other)),
            };
        };
        let (ends, partly_expired) = match ends {
            [] => (None, Vec::new()),
            [Int(first), Int(last), BulkString(chunk)] => (Some((*first, *last)), chunk.clone()),
            other => return Err(BadReply::new(other)),
        };
        let definition = decode_definition(Self::SCRIPT, *retention_ms, policy, labels)?;
        let (count, chunks, bytes) = (count.unsigned_abs(), chunks.unsigned_abs(), bytes.unsigned_abs());
        Ok(Some((Description { definition, created: *created, count, chunks, bytes, ends }, partly_expired)))
    }
}

/// Decodes the fields of a series' hash that are its definition.
pub fn decode_definition(
    script: &LuaScript,
    retention_ms: i64,
    policy: &[u8],
    labels: &[u8],
) -> Result<Definition, BadReply> {
    let policy = String::from_utf8_lossy(policy);
    let duplicate_policy = DuplicatePolicy::from_name(&policy).ok_or_else(|| BadReply::new(policy))?;
    let labels = serde_json::from_slice(labels).map_err(|error| BadReply::new(error))?;
    Ok(Definition { retention_ms: retention_ms.unsigned_abs(), duplicate_policy, labels })
}

/// Deletes a series.
#[derive(Debug)]
pub struct Delete<'a> {
    pub keys: &'a SeriesKeys,
    pub fence: Option<&'a Fence>,
}

impl OldScriptCall for Delete<'_> {
    type Raw = i64;
    /// Whether the series existed.
    type Reply = bool;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/delete.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        bind_series(call, self.keys).arg(self.keys.layout.name());
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}
