//! Typed calls of the scripts in `migrations-lua/hosts/`.

use super::super::sample::SampleId;
use super::super::tenancy::Organisation;
use super::chunk::{HOUR, day_of};
use super::keys::HistoryKeys;
use crate::clock::UnixMillis;
use crate::lua;
use crate::redis::{BadReply, Effect, Key, LuaScript, OldBinding, OldScriptCall};

/// Makes an organisation the owner of a host that has none.
#[derive(Debug)]
pub(in super::super) struct Claim<'a> {
    pub key: &'a Key,
    pub organisation: &'a Organisation,
}

impl OldScriptCall for Claim<'_> {
    type Raw = String;
    /// The owner.
    type Reply = Organisation;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/claim.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.key).arg(self.organisation.as_str());
    }

    fn decode(raw: String) -> Result<Organisation, BadReply> {
        Ok(Organisation::new(&raw))
    }
}

/// A chunk to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct EncodedChunk {
    /// The hour's first millisecond.
    pub hour: UnixMillis,
    /// The first sample's timestamp.
    pub start: UnixMillis,
    pub bytes: Vec<u8>,
}

/// Adds chunks to a history.
#[derive(Debug)]
pub(in super::super) struct Append<'a> {
    pub keys: &'a HistoryKeys,
    /// Chunks that start before this time are trimmed.
    pub oldest: UnixMillis,
    /// Until the key expires.
    pub ttl_ms: u64,
    /// At least one.
    pub chunks: &'a [EncodedChunk],
}

impl OldScriptCall for Append<'_> {
    type Raw = i64;
    type Reply = ();
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/append.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.keys.chunks).key(&self.keys.hours).arg(self.oldest).arg(self.ttl_ms);
        for chunk in self.chunks {
            call.arg(chunk.hour).arg(chunk.start).arg(chunk.bytes.as_slice());
        }
    }

    fn decode(_: i64) -> Result<(), BadReply> {
        Ok(())
    }
}

/// Publishes the newest sample of a host.
#[derive(Debug)]
pub(in super::super) struct Publish {
    pub key: Key,
    pub id: SampleId,
    /// JSON.
    pub document: Vec<u8>,
    /// Until the key expires.
    pub ttl_ms: u64,
}

impl OldScriptCall for Publish {
    type Raw = i64;
    type Reply = ();
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/publish.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.key).arg(self.id.timestamp).arg(self.id.seq).arg(self.document.as_slice()).arg(self.ttl_ms);
    }

    fn decode(_: i64) -> Result<(), BadReply> {
        Ok(())
    }
}

/// How long rollups are kept.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct RollupRetention {
    /// Rollups that start before this time are trimmed.
    pub oldest: UnixMillis,
    /// Until the key expires.
    pub ttl_ms: u64,
}

/// Replaces the chunks of an hour by packed ones, and stores its rollup.
#[derive(Debug)]
pub(in super::super) struct Pack<'a> {
    pub keys: &'a HistoryKeys,
    /// The hour's first millisecond.
    pub hour: UnixMillis,
    /// The hour's mark when its samples were read.
    pub number: u64,
    /// Empty if the hour has no samples.
    pub rollup: &'a [u8],
    pub retention: RollupRetention,
    /// The first timestamp of each chunk, and its bytes.
    pub chunks: &'a [(UnixMillis, Vec<u8>)],
}

impl OldScriptCall for Pack<'_> {
    type Raw = i64;
    /// `false`: another batch wrote to the hour in the meantime.
    type Reply = bool;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/pack.lua");

    fn bind(&self, call: &mut OldBinding) {
        let HistoryKeys { chunks, hours, hourly, days, .. } = self.keys;
        call.key(chunks).key(hours).key(hourly).key(days);
        call.arg(self.hour).arg(self.hour + HOUR).arg(self.number).arg(day_of(self.hour)).arg(self.rollup);
        call.arg(self.retention.oldest).arg(self.retention.ttl_ms);
        for (start, bytes) in self.chunks {
            call.arg(*start).arg(bytes.as_slice());
        }
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

/// Stores the rollup of a day.
#[derive(Debug)]
pub(in super::super) struct Roll<'a> {
    pub keys: &'a HistoryKeys,
    /// The day's first millisecond.
    pub day: UnixMillis,
    /// The day's mark when its samples were read.
    pub number: u64,
    /// Empty if the day has no samples.
    pub rollup: &'a [u8],
    pub retention: RollupRetention,
}

impl OldScriptCall for Roll<'_> {
    type Raw = i64;
    /// `false`: an hour of the day was packed in the meantime.
    type Reply = bool;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/roll.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.keys.daily).key(&self.keys.days).arg(self.day).arg(self.number).arg(self.rollup);
        call.arg(self.retention.oldest).arg(self.retention.ttl_ms);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

/// Takes the turn to clean up, or reports progress of the cleanup.
#[derive(Debug)]
pub(in super::super) struct Cleanup<'a> {
    pub key: &'a Key,
    /// Milliseconds.
    pub interval: u64,
    pub now: &'a str,
}

impl OldScriptCall for Cleanup<'_> {
    type Raw = i64;
    /// `false`: another replica is cleaning up, or did so within the interval.
    type Reply = bool;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/cleanup.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.key).arg(self.interval).arg(self.now);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

fn decode_flag(script: &LuaScript, raw: i64) -> Result<bool, BadReply> {
    match raw {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(BadReply::new(other)),
    }
}
