//! Calls that change the form of sealed chunks.

use super::super::keys::SeriesKeys;
use super::decode_flag;
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, LuaScript, ScriptCall};

/// Reads chunks that wait to be packed.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Plain<'a> {
    pub keys: &'a SeriesKeys,
    /// Chunks at most.
    pub limit: usize,
}

impl ScriptCall for Plain<'_> {
    type Raw = Vec<Vec<u8>>;
    type Reply = Vec<Vec<u8>>;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("timeseries/plain.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.keys.hash).key(&self.keys.chunks).arg(self.limit);
    }

    fn decode(raw: Vec<Vec<u8>>) -> Result<Self::Reply, BadReply> {
        Ok(raw)
    }
}

/// Puts another form of a chunk in its place.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Swap<'a> {
    pub keys: &'a SeriesKeys,
    /// The chunk's first timestamp.
    pub start: i64,
    /// What must stand there.
    pub current: &'a [u8],
    /// The other form; empty: it stays plain and no longer waits.
    pub other: &'a [u8],
}

impl ScriptCall for Swap<'_> {
    type Raw = i64;
    /// `false`: the chunk was changed meanwhile.
    type Reply = bool;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/swap.lua");

    fn bind(&self, call: &mut Binding) {
        let digest = sha1_smol::Sha1::from(self.current).digest().to_string();
        call.key(&self.keys.hash).key(&self.keys.chunks).arg(self.start).arg(digest).arg(self.other);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}
