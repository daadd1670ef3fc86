//! The documents' scripts and their typed calls; what each does stands in its file.

use bytes::Bytes;

use super::backend::Found;
use super::keys::Place;
use super::stored::Stored;
use crate::lua;
use crate::redis::{Backend, BadReply, Binding, Effect, Fence, Key, LuaScript, ScriptCall};

/// A document's version: rises with every write, and never comes again.
pub(super) type Version = u64;

/// What must stand under the key for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing, or a document of ours.
    Anything,
    Absent,
    /// A document of ours.
    Present,
    /// A document of this version; 0 for one that somebody else wrote, without a version.
    Version(Version),
}

/// What becomes of a document's life when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It has what it has left.
    Keep,
    /// It ends after so many milliseconds.
    Ends(u64),
}

/// An answer that is kept for the operation's repetition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    pub answer: &'a [u8],
    /// Milliseconds; 0: it is not kept.
    pub ttl: u64,
}

/// Where a change is announced, and the announcement without its versions and its closing brace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcement<'a> {
    pub channel: &'a Key,
    pub event: &'a [u8],
}

/// Reads a document of the module.
pub(super) struct Read<'a> {
    pub place: &'a Place,
    pub answer_key: &'a Key,
}

impl ScriptCall for Read<'_> {
    type Raw = (Vec<u8>, String, i64, Vec<u8>);
    type Reply = Found;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("json/read.lua");

    fn bind(&self, call: &mut Binding) {
        let Place { document, version, text } = self.place;
        call.key(document).key(version).key(text).key(self.answer_key);
    }

    fn decode((text, version, ttl, answer): Self::Raw) -> Result<Found, BadReply> {
        let version = version.parse().map_err(|_| BadReply::new(Self::SCRIPT, &version))?;
        let stored = Stored { text: Bytes::from(text), version, ttl: u64::try_from(ttl).ok() };
        Ok(((!stored.text.is_empty()).then_some(stored), (!answer.is_empty()).then_some(answer)))
    }
}

pub(super) struct Write<'a> {
    pub backend: Backend,
    pub place: &'a Place,
    pub expected: Expected,
    /// `None` deletes the document.
    pub text: Option<&'a [u8]>,
    pub life: Life,
    /// Milliseconds by which the version outlives the document.
    pub version_life: u64,
    pub answer_key: &'a Key,
    pub kept: Kept<'a>,
    /// `None`: nobody is told.
    pub announcement: Option<Announcement<'a>>,
    pub fence: Option<&'a Fence>,
}

pub(super) enum Written {
    /// The life is in milliseconds; `None`: no expiry.
    Stored {
        created: bool,
        version: Version,
        ttl: Option<u64>,
    },
    Deleted,
    /// There was nothing to delete.
    Absent,
    /// Not what was expected stands there.
    Changed,
    /// A string without a version stands there: somebody else wrote it, and it has to be looked at.
    Foreign,
    /// The operation was done before; its answer.
    Repeated(Vec<u8>),
}

impl ScriptCall for Write<'_> {
    type Raw = (String, Vec<u8>, i64);
    type Reply = Written;
    const KEYS: usize = 4;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("json/write.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut Binding) {
        let Place { document, version, text } = self.place;
        call.key(document).key(version).key(self.answer_key).key(text);
        match self.expected {
            Expected::Anything => call.arg("any"),
            Expected::Absent => call.arg("absent"),
            Expected::Present => call.arg("present"),
            Expected::Version(version) => call.arg(version),
        };
        call.arg(self.text.unwrap_or_default());
        match self.life {
            Life::Keep => call.arg("keep"),
            Life::Ends(ttl) => call.arg(ttl),
        };
        call.arg(self.version_life).arg(self.kept.answer).arg(self.kept.ttl);
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
        written.ok_or_else(|| BadReply::new(Self::SCRIPT, (status, bytes, ttl)))
    }
}

/// Brings a document into another form.
pub(super) struct Convert<'a> {
    pub place: &'a Place,
    pub to: Backend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Converted {
    Moved,
    /// It has the form, or is gone.
    Unchanged,
    /// What is no document.
    Other,
}

impl ScriptCall for Convert<'_> {
    type Raw = String;
    type Reply = Converted;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("json/convert.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(&self.place.document).key(&self.place.text).arg(self.to.name());
    }

    fn decode(raw: String) -> Result<Converted, BadReply> {
        match raw.as_str() {
            "moved" => Ok(Converted::Moved),
            "there" | "absent" => Ok(Converted::Unchanged),
            "other" => Ok(Converted::Other),
            _ => Err(BadReply::new(Self::SCRIPT, raw)),
        }
    }
}

pub(super) struct Touch<'a> {
    pub backend: Backend,
    pub place: &'a Place,
    /// Milliseconds; `None`: no expiry.
    pub ttl: Option<u64>,
    pub version_life: u64,
    pub fence: Option<&'a Fence>,
}

impl ScriptCall for Touch<'_> {
    type Raw = i64;
    /// Whether there is a document.
    type Reply = bool;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("json/touch.lua");

    fn fence(&self) -> Option<&Fence> {
        self.fence
    }

    fn bind(&self, call: &mut Binding) {
        let Place { document, version, text } = self.place;
        call.key(document).key(version).key(text);
        call.arg(self.ttl.unwrap_or(0)).arg(self.version_life).arg(self.backend.name());
    }

    fn decode(raw: i64) -> Result<bool, BadReply> {
        match raw {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(BadReply::new(Self::SCRIPT, other)),
        }
    }
}
