//! The scripts of `migrations-lua/hosts/`, as typed calls.

use crate::clock::UnixMillis;
use crate::features::hosts::organisation::Organisation;
use crate::features::hosts::sample::SampleId;
use crate::features::hosts::store::chunk::{HOUR, day_of};
use crate::features::hosts::store::keys::HistoryKeys;
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

/// Makes a host its first reporter's.
#[derive(Debug)]
pub(in crate::features::hosts) struct Claim<'a> {
    pub key: &'a Key,
    pub organisation: &'a Organisation,
}

impl ScriptCall for Claim<'_> {
    type Raw = String;
    /// Whom it belongs to.
    type Reply = Organisation;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/claim.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.key).arg(self.organisation.as_str());
    }

    fn decode(raw: String) -> Result<Organisation, BadReply> {
        Ok(Organisation::new(&raw))
    }
}

/// A chunk on its way to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::hosts) struct Piece {
    /// The hour's first millisecond.
    pub hour: UnixMillis,
    /// The first sample's timestamp.
    pub start: UnixMillis,
    pub bytes: Vec<u8>,
}

/// Adds chunks to a history.
#[derive(Debug)]
pub(in crate::features::hosts) struct Append<'a> {
    pub keys: &'a HistoryKeys,
    /// Chunks that begin before are trimmed.
    pub oldest: UnixMillis,
    /// Milliseconds.
    pub life: u64,
    /// At least one.
    pub pieces: &'a [Piece],
}

impl ScriptCall for Append<'_> {
    type Raw = i64;
    type Reply = ();
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/append.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.keys.chunks).key(&self.keys.hours).arg(self.oldest).arg(self.life);
        for piece in self.pieces {
            call.arg(piece.hour).arg(piece.start).arg(piece.bytes.as_slice());
        }
    }

    fn decode(_: i64) -> Result<(), BadReply> {
        Ok(())
    }
}

/// Shows a newest sample to every replica.
#[derive(Debug)]
pub(in crate::features::hosts) struct Publish {
    pub key: Key,
    pub id: SampleId,
    /// JSON.
    pub document: Vec<u8>,
    /// Milliseconds.
    pub life: u64,
}

impl ScriptCall for Publish {
    type Raw = i64;
    type Reply = ();
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/publish.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.key).arg(self.id.timestamp).arg(self.id.seq).arg(self.document.as_slice()).arg(self.life);
    }

    fn decode(_: i64) -> Result<(), BadReply> {
        Ok(())
    }
}

/// What is kept of rollups, and for how long.
#[derive(Clone, Copy, Debug)]
pub(in crate::features::hosts) struct Keeping {
    /// Rollups before are trimmed.
    pub oldest: UnixMillis,
    /// Milliseconds.
    pub life: u64,
}

/// Puts packed chunks in the place of an hour's, and rolls the hour up.
#[derive(Debug)]
pub(in crate::features::hosts) struct Pack<'a> {
    pub keys: &'a HistoryKeys,
    /// The hour's first millisecond.
    pub hour: UnixMillis,
    /// What the hash said of the hour when it was read.
    pub number: u64,
    /// Empty when no sample is left of the hour.
    pub rollup: &'a [u8],
    pub keeping: Keeping,
    /// First timestamps and bytes.
    pub chunks: &'a [(UnixMillis, Vec<u8>)],
}

impl ScriptCall for Pack<'_> {
    type Raw = i64;
    /// `false`: somebody wrote to the hour meanwhile.
    type Reply = bool;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/pack.lua");

    fn bind(&self, call: &mut Binding) {
        let HistoryKeys { chunks, hours, hourly, days, .. } = self.keys;
        call.key(chunks).key(hours).key(hourly).key(days);
        call.arg(self.hour).arg(self.hour + HOUR).arg(self.number).arg(day_of(self.hour)).arg(self.rollup);
        call.arg(self.keeping.oldest).arg(self.keeping.life);
        for (start, bytes) in self.chunks {
            call.arg(*start).arg(bytes.as_slice());
        }
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

/// Rolls a day up.
#[derive(Debug)]
pub(in crate::features::hosts) struct Roll<'a> {
    pub keys: &'a HistoryKeys,
    /// The day's first millisecond.
    pub day: UnixMillis,
    /// What the hash said of the day when it was read.
    pub number: u64,
    /// Empty when no sample is left of the day.
    pub rollup: &'a [u8],
    pub keeping: Keeping,
}

impl ScriptCall for Roll<'_> {
    type Raw = i64;
    /// `false`: an hour of the day was packed meanwhile.
    type Reply = bool;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/roll.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.keys.daily).key(&self.keys.days).arg(self.day).arg(self.number).arg(self.rollup);
        call.arg(self.keeping.oldest).arg(self.keeping.life);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}

/// Takes the turn to clean up.
#[derive(Debug)]
pub(in crate::features::hosts) struct Cleanup<'a> {
    pub key: &'a Key,
    /// Milliseconds.
    pub interval: u64,
    pub now: &'a str,
}

impl ScriptCall for Cleanup<'_> {
    type Raw = i64;
    /// `false`: another replica is at it, or was lately.
    type Reply = bool;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("hosts/cleanup.lua");

    fn bind(&self, call: &mut Binding) {
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
        other => Err(BadReply::new(script, other)),
    }
}
