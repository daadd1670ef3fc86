//! The scripts of records.

use std::time::Duration;

use axum::body::Bytes;

use super::fingerprint::Hash;
use super::recorded_response::RecordedResponse;
use crate::config::value::Span;
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub record: &'a Key,
    pub owner: &'a str,
    pub lease: Span,
}

/// The result of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// The record was free and is now claimed.
    Taken,
    /// Another attempt is running; its claim ends after `remaining`.
    Running { remaining: Duration },
    /// An earlier attempt succeeded.
    Recorded(Recording),
}

/// What a successful attempt recorded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recording {
    /// The hash of query and content type.
    pub request: Hash,
    /// The hash of the body; absent if the route did not read the body to its end.
    pub body: Option<Hash>,
    pub answer: RecordedResponse,
}

impl ScriptCall for Claim<'_> {
    type Raw = (i64, u64, Vec<Vec<u8>>);
    type Reply = Claimed;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("idempotency/claim.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.record).arg(self.owner).arg(self.lease.as_millis());
    }

    fn decode(raw: Self::Raw) -> Result<Claimed, BadReply> {
        match (raw.0, raw.2.as_slice()) {
            (0, []) => Ok(Claimed::Taken),
            (1, []) => Ok(Claimed::Running { remaining: Duration::from_millis(raw.1) }),
            (2, fields) => done(fields).map(Claimed::Recorded).ok_or_else(|| BadReply::new(Self::SCRIPT, fields.len())),
            (code, fields) => Err(BadReply::new(Self::SCRIPT, (code, fields.len()))),
        }
    }
}

fn done(fields: &[Vec<u8>]) -> Option<Recording> {
    let [request, body, status, headers, answer @ ..] = fields else { return None };
    let kept = answer.first().map(|bytes| Bytes::copy_from_slice(bytes));
    Some(Recording {
        request: Hash::try_from(request.as_slice()).ok()?,
        body: if body.is_empty() { None } else { Some(Hash::try_from(body.as_slice()).ok()?) },
        answer: RecordedResponse::from_parts(status, headers, kept)?,
    })
}

#[derive(Debug)]
pub(super) struct Renew<'a> {
    pub record: &'a Key,
    pub owner: &'a str,
    pub lease: Span,
}

impl ScriptCall for Renew<'_> {
    type Raw = i64;
    type Reply = bool;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("idempotency/renew.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.record).arg(self.owner).arg(self.lease.as_millis());
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        was_ours(Self::SCRIPT, raw)
    }
}

#[derive(Debug)]
pub(super) struct Complete<'a> {
    pub record: &'a Key,
    pub owner: &'a str,
    pub retention: Span,
    pub request: &'a Hash,
    pub body: Option<&'a Hash>,
    pub answer: &'a RecordedResponse,
}

impl ScriptCall for Complete<'_> {
    type Raw = i64;
    type Reply = bool;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("idempotency/complete.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.record)
            .arg(self.owner)
            .arg(self.retention.as_millis())
            .arg(&self.request[..])
            .arg(self.body.map_or(&[][..], |hash| &hash[..]))
            .arg(self.answer.status.as_u16())
            .arg(self.answer.header_lines());
        if let Some(body) = &self.answer.body {
            call.arg(&body[..]);
        }
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        was_ours(Self::SCRIPT, raw)
    }
}

#[derive(Debug)]
pub(super) struct Release<'a> {
    pub record: &'a Key,
    pub owner: &'a str,
}

impl ScriptCall for Release<'_> {
    type Raw = i64;
    type Reply = bool;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("idempotency/release.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.record).arg(self.owner);
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        was_ours(Self::SCRIPT, raw)
    }
}

/// Whether the record still belonged to the attempt.
fn was_ours(script: &LuaScript, raw: i64) -> Result<bool, BadReply> {
    match raw {
        0 | 1 => Ok(raw == 1),
        other => Err(BadReply::new(script, other)),
    }
}
