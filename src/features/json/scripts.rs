//! The calls of the documents' scripts; each Lua file states its contract.

use bytes::Bytes;

use super::keys::KeySet;
use super::stored::{ReadReply, StoredDocument};
use crate::http::idempotent_operation::OperationId;
use crate::lua_scripts;
use crate::redis::{Backend, BadReply, Fence, Key, ScriptCall, flag};

lua_scripts! {
    READ = "json/read.lua";
    WRITE = "json/write.lua";
    TOUCH = "json/touch.lua";
    CONVERT = "json/convert.lua";
}

/// How long the version of a deleted or expired document is kept, milliseconds (7 days).
///
/// New versions are at least the microseconds of Redis's clock, so the version may be forgotten once that clock is far
/// beyond it. The retention limits how far the clock may be set back before a version could be used again.
const VERSION_RETENTION: u64 = 7 * 24 * 3_600_000;

/// How long the answer of a change is kept for a repeated request, milliseconds (24 hours): as long as clients retry.
const ANSWER_TTL: u64 = 24 * 3_600_000;

/// The state that the key must have for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// No document, or a document that the service wrote.
    Anything,
    Absent,
    /// A document that the service wrote.
    Present,
    /// A document of this version; 0 for a document that another program wrote.
    Version(u64),
}

/// Reads a document from the module, and the stored answer of `operation`.
pub(super) fn read(
    keys: &KeySet,
    operation: Option<&OperationId>,
) -> ScriptCall<(Vec<u8>, String, i64, Vec<u8>), ReadReply> {
    let answer_key = keys.answer(operation);
    READ.read(&[&keys.document, &keys.version, &keys.text, &answer_key]).returns(|(text, version, ttl, answer)| {
        let version = version.parse().map_err(|_| BadReply::new(&version))?;
        let stored = StoredDocument { text: Bytes::from(text), version, ttl: u64::try_from(ttl).ok() };
        let document = (!stored.text.is_empty()).then_some(stored);
        Ok(ReadReply { document, answer: (!answer.is_empty()).then_some(answer) })
    })
}

/// A write that stores or deletes a document.
pub(super) struct Write<'a> {
    pub backend: Backend,
    pub keys: &'a KeySet,
    pub expected: Expected,
    /// `None` deletes the document.
    pub text: Option<&'a [u8]>,
    /// The new TTL, milliseconds from now; `None` keeps the document's TTL.
    pub ttl: Option<u64>,
    pub operation: Option<&'a OperationId>,
    /// The answer to store for a repetition of the operation.
    pub answer: Option<&'a [u8]>,
    /// Whether the new document takes less memory than the existing one.
    pub frees: bool,
    /// The channel that announces the change, and the message without the versions and the closing brace, which the
    /// script adds. `None` if the change is not announced.
    pub announcement: Option<(&'a Key, &'a [u8])>,
    pub fence: Option<&'a Fence>,
}

pub(super) enum Written {
    Stored {
        created: bool,
        version: u64,
        /// Milliseconds until the document expires; `None` if it does not expire.
        ttl: Option<u64>,
    },
    Deleted,
    /// There was no document to delete.
    Absent,
    /// The key did not have the expected state.
    Changed,
    /// The key holds a string without a version. Another program wrote it, and it may not be a document.
    Foreign,
    /// The operation ran before; the answer that it stored.
    Repeated(Vec<u8>),
}

impl Write<'_> {
    pub(super) fn call(&self) -> ScriptCall<(String, Vec<u8>, i64), Written> {
        let KeySet { document, version, text } = self.keys;
        let expected = match self.expected {
            Expected::Anything => "any".to_owned(),
            Expected::Absent => "absent".to_owned(),
            Expected::Present => "present".to_owned(),
            Expected::Version(version) => version.to_string(),
        };
        let (channel, event) = self.announcement.map_or(("", &[][..]), |(channel, event)| (channel.as_str(), event));
        WRITE
            .guarded_write(self.fence, &[document, version, &self.keys.answer(self.operation), text])
            .arg(expected)
            .arg(self.text.unwrap_or_default())
            .arg(self.ttl.map_or_else(|| "keep".to_owned(), |ttl| ttl.to_string()))
            .arg(VERSION_RETENTION)
            .arg(self.answer.unwrap_or_default())
            .arg(if self.answer.is_some() { ANSWER_TTL } else { 0 })
            .arg(channel)
            .arg(event)
            .arg(self.backend.name())
            .arg(u8::from(self.frees))
            .returns(|(status, bytes, ttl)| {
                let stored = |created: bool| {
                    let version = std::str::from_utf8(&bytes).ok().and_then(|digits| digits.parse().ok());
                    version.map(|version| Written::Stored { created, version, ttl: u64::try_from(ttl).ok() })
                };
                let written = match status.as_str() {
                    "created" => stored(true),
                    "replaced" => stored(false),
                    "deleted" => Some(Written::Deleted),
                    "absent" => Some(Written::Absent),
                    "changed" => Some(Written::Changed),
                    "foreign" => Some(Written::Foreign),
                    "repeated" => return Ok(Written::Repeated(bytes)),
                    _ => None,
                };
                written.ok_or_else(|| BadReply::new((status, bytes, ttl)))
            })
    }
}

/// Changes a document's TTL, milliseconds from now; `None` removes it. Returns whether the document exists.
pub(super) fn touch(backend: Backend, keys: &KeySet, ttl: Option<u64>, fence: Option<&Fence>) -> ScriptCall<i64, bool> {
    TOUCH
        .guarded_write(fence, &[&keys.document, &keys.version, &keys.text])
        .arg(ttl.unwrap_or(0))
        .arg(VERSION_RETENTION)
        .arg(backend.name())
        .returns(flag)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Converted {
    Moved,
    /// The document is in that backend already, or no longer exists.
    Unchanged,
    NotADocument,
}

/// Moves a document to another storage backend.
pub(super) fn convert(keys: &KeySet, to: Backend) -> ScriptCall<String, Converted> {
    CONVERT.write(&[&keys.document, &keys.text]).arg(to.name()).returns(|reply: String| match reply.as_str() {
        "moved" => Ok(Converted::Moved),
        "there" | "absent" => Ok(Converted::Unchanged),
        "other" => Ok(Converted::NotADocument),
        _ => Err(BadReply::new(reply)),
    })
}
