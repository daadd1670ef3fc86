//! Calls that change the form of sealed chunks.

use super::super::keys::SeriesKeys;
use super::decode_flag;
use crate::lua;
use crate::redis::{BadReply, Effect, LuaScript, OldBinding, OldScriptCall};

/// Reads sealed chunks that are not packed yet.
#[derive(Debug)]
pub struct ReadPlainChunks<'a> {
    pub keys: &'a SeriesKeys,
    /// The most chunks to read.
    pub limit: usize,
}

impl OldScriptCall for ReadPlainChunks<'_> {
    type Raw = Vec<Vec<u8>>;
    type Reply = Vec<Vec<u8>>;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("timeseries/plain_chunks.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.keys.hash).key(&self.keys.chunks).arg(self.limit);
    }

    fn decode(raw: Vec<Vec<u8>>) -> Result<Self::Reply, BadReply> {
        Ok(raw)
    }
}

/// Replaces a sealed chunk by its other form.
#[derive(Debug)]
pub struct ReplaceChunk<'a> {
    pub keys: &'a SeriesKeys,
    /// The first timestamp of the chunk.
    pub start: i64,
    /// The chunk to replace.
    pub current: &'a [u8],
    /// Its other form; empty if it stays plain and is not to be packed again.
    pub other: &'a [u8],
}

impl OldScriptCall for ReplaceChunk<'_> {
    type Raw = i64;
    /// `false` if the chunk has changed.
    type Reply = bool;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("timeseries/replace_chunk.lua");

    fn bind(&self, call: &mut OldBinding) {
        let digest = sha1_smol::Sha1::from(self.current).digest().to_string();
        call.key(&self.keys.hash).key(&self.keys.chunks).arg(self.start).arg(digest).arg(self.other);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        decode_flag(Self::SCRIPT, raw)
    }
}
