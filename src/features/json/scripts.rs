//! The typed calls of the documents' scripts; each Lua file states its contract.

use bytes::Bytes;

use super::keys::KeySet;
use super::stored::{ReadReply, StoredDocument, Version};
use crate::lua;
use crate::redis::{Backend, BadReply, Effect, Fence, Key, LuaScript, OldBinding, OldScriptCall};

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
    Version(Version),
}

/// The effect of a write on the document's TTL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TtlChange {
    #[default]
    Keep,
    /// Milliseconds from now.
    Set(u64),
}

/// The message about a change, without the versions and the closing brace, which the script adds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcement<'a> {
    pub channel: &'a Key,
    pub event: &'a [u8],
}

/// Reads a document from the module.
pub(super) struct Read<'a> {
    pub keys: &'a KeySet,
    pub answer_key: &'a Key,
}

impl OldScriptCall for Read<'_> {
    type Raw = (Vec<u8>, String, i64, Vec<u8>);
    type Reply = ReadReply;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("json/read.lua");

    fn bind(&self, call: &mut OldBinding) {
        let KeySet { document, version, text } = self.keys;
        call.key(document).key(version).key(text).key(self.answer_key);
    }

    fn decode((text, version, ttl, answer): Self::Raw) -> Result<ReadReply, BadReply> {
        let version = version.parse().map_err(|_| BadReply::new(&version))?;
        let stored = StoredDocument { text: Bytes::from(text), version, ttl: u64::try_from(ttl).ok() };
        let document = (!stored.text.is_empty()).then_some(stored);
        Ok(ReadReply { document, answer: (!answer.is_empty()).then_some(answer) })
    }
}

/// Stores or deletes a document.
pub(super) struct Write<'a> {
    pub backend: Backend,
    pub keys: &'a KeySet,
    pub expected: Expected,
    /// `None` deletes the document.
    pub text: Option<&'a [u8]>,
    pub ttl: TtlChange,
    pub answer_key: &'a Key,
    /// The answer to store for a repeated request.
    pub answer: Option<&'a [u8]>,
    /// `None` if the change is not announced.
    pub announcement: Option<Announcement<'a>>,
    pub fence: Option<&'a Fence>,
}

pub(super) enum Written {
    Stored {
        created: bool,
        version: Version,
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

impl OldScriptCall for Write<'_> {
    type Raw = (String, Vec<u8>, i64);
    type Reply = Written;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("json/write.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        let KeySet { document, version, text } = self.keys;
        call.key(document).key(version).key(self.answer_key).key(text);
        match self.expected {
            Expected::Anything => call.arg("any"),
            Expected::Absent => call.arg("absent"),
            Expected::Present => call.arg("present"),
            Expected::Version(version) => call.arg(version),
        };
        call.arg(self.text.unwrap_or_default());
        match self.ttl {
            TtlChange::Keep => call.arg("keep"),
            TtlChange::Set(ttl) => call.arg(ttl),
        };
        let answer_ttl = if self.answer.is_some() { ANSWER_TTL } else { 0 };
        call.arg(VERSION_RETENTION).arg(self.answer.unwrap_or_default()).arg(answer_ttl);
        match &self.announcement {
            Some(Announcement { channel, event }) => call.arg(channel.as_str()).arg(*event),
            None => call.arg("").arg(""),
        };
        call.arg(self.backend.name());
    }

    fn decode((status, bytes, ttl): Self::Raw) -> Result<Written, BadReply> {
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
    }
}

/// Moves a document to another storage backend.
pub(super) struct Convert<'a> {
    pub keys: &'a KeySet,
    pub to: Backend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Converted {
    Moved,
    /// The document is in that backend already, or no longer exists.
    Unchanged,
    NotADocument,
}

impl OldScriptCall for Convert<'_> {
    type Raw = String;
    type Reply = Converted;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("json/convert.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.keys.document).key(&self.keys.text).arg(self.to.name());
    }

    fn decode(raw: String) -> Result<Converted, BadReply> {
        match raw.as_str() {
            "moved" => Ok(Converted::Moved),
            "there" | "absent" => Ok(Converted::Unchanged),
            "other" => Ok(Converted::NotADocument),
            _ => Err(BadReply::new(raw)),
        }
    }
}

/// Changes a document's TTL.
pub(super) struct Touch<'a> {
    pub backend: Backend,
    pub keys: &'a KeySet,
    /// Milliseconds from now; `None` removes the TTL.
    pub ttl: Option<u64>,
    pub fence: Option<&'a Fence>,
}

impl OldScriptCall for Touch<'_> {
    type Raw = i64;
    /// Whether the document exists.
    type Reply = bool;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("json/touch.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut OldBinding) {
        let KeySet { document, version, text } = self.keys;
        call.key(document).key(version).key(text);
        call.arg(self.ttl.unwrap_or(0)).arg(VERSION_RETENTION).arg(self.backend.name());
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        match raw {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(BadReply::new(other)),
        }
    }
}
