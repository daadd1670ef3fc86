//! The scripts of records.

use std::time::Duration;

use axum::body::Bytes;

use super::error::IdempotencyError;
use super::fingerprint::Hash;
use super::recorded_response::RecordedResponse;
use crate::config::value::Span;
use crate::lua_scripts;
use crate::redis::{BadReply, Key, ScriptCall, flag};

lua_scripts! {
    CLAIM = "idempotency/claim.lua";
    RENEW = "idempotency/renew.lua";
    COMPLETE = "idempotency/complete.lua";
    COUNT = "idempotency/count.lua";
    RELEASE = "idempotency/release.lua";
}

/// What a successful attempt recorded.
#[derive(Debug)]
pub(super) struct Recording {
    /// The hash of query, content type and other headers that have a meaning.
    pub request: Hash,
    /// The hash of the body; absent if the route did not read the body to its end.
    pub body: Option<Hash>,
    pub answer: RecordedResponse,
    /// How long the record is still kept.
    pub remaining: Span,
}

/// What became of a claim.
#[derive(Debug)]
pub(super) enum Claimed {
    Taken,
    /// It is taken, and Redis is at `maxmemory`.
    TakenInFullRedis,
    /// An earlier attempt has recorded this.
    Recorded(Box<Recording>),
}

/// What became of a claim, or that another attempt runs.
type Claim = Result<Claimed, IdempotencyError>;

/// Claims a record for the duration of `lease`, or returns what an earlier attempt recorded.
///
/// The claim of an attempt that may free memory (`frees`) is permitted in a full Redis. The claim replaces a recorded response
/// whose body is `replaceable`. The reply is [`IdempotencyError::InProgress`]
/// while another attempt runs.
pub(super) fn claim(
    record: &Key,
    owner: &str,
    lease: Span,
    frees: bool,
    replaceable: Option<&[u8]>,
) -> ScriptCall<(i64, u64, Vec<Vec<u8>>), Claim> {
    let call = CLAIM.write(&[record]).arg(owner).arg(lease.as_millis()).arg(u8::from(frees)).arg(replaceable);
    call.returns(|raw| match (raw.0, raw.2.as_slice()) {
        (0, []) => Ok(Ok(Claimed::Taken)),
        (3, []) => Ok(Ok(Claimed::TakenInFullRedis)),
        (1, []) => Ok(Err(IdempotencyError::InProgress { remaining: Duration::from_millis(raw.1) })),
        (2, fields) => match done(fields, Span::from_millis(raw.1)) {
            Some(recording) => Ok(Ok(Claimed::Recorded(Box::new(recording)))),
            None => Err(BadReply::new(fields.len())),
        },
        (code, fields) => Err(BadReply::new((code, fields.len()))),
    })
}

fn done(fields: &[Vec<u8>], remaining: Span) -> Option<Recording> {
    let [request, body, status, headers, answer @ ..] = fields else { return None };
    let kept = answer.first().map(|bytes| Bytes::copy_from_slice(bytes));
    Some(Recording {
        request: Hash::try_from(request.as_slice()).ok()?,
        body: if body.is_empty() { None } else { Some(Hash::try_from(body.as_slice()).ok()?) },
        answer: RecordedResponse::from_parts(status, headers, kept)?,
        remaining,
    })
}

/// Extends a claim. Returns whether the record still belongs to `owner`, as the following calls do.
pub(super) fn renew(record: &Key, owner: &str, lease: Span) -> ScriptCall<i64, bool> {
    RENEW.write(&[record]).arg(owner).arg(lease.as_millis()).returns(flag)
}

pub(super) fn complete(
    record: &Key,
    owner: &str,
    retention: Span,
    request: &Hash,
    body: Option<&Hash>,
    answer: &RecordedResponse,
) -> ScriptCall<i64, bool> {
    COMPLETE
        .write(&[record])
        .arg(owner)
        .arg(retention.as_millis())
        .arg(&request[..])
        .arg(body.map_or(&[][..], |hash| &hash[..]))
        .arg(answer.status.as_u16())
        .arg(answer.header_lines())
        .arg(answer.body.as_deref())
        .returns(flag)
}

/// Counts the bytes of a response that is to be recorded. Returns whether it may be.
pub(super) fn count(kept: &Key, bytes: usize, most: usize, retention: Span) -> ScriptCall<i64, bool> {
    COUNT.write(&[kept]).arg(bytes).arg(most).arg(retention.as_millis()).returns(flag)
}

pub(super) fn release(record: &Key, owner: &str) -> ScriptCall<i64, bool> {
    RELEASE.write(&[record]).arg(owner).returns(flag)
}
