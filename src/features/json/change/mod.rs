//! What may be done to a document, as pure functions: a document goes in, another one and an answer come out.
//!
//! A change is made whole or not at all: the document that goes in is given away, and after an error nobody has it.

mod activity;
mod array;
mod delete;
mod each;
mod merge;
mod number;
mod patch;
mod pointer;
mod set;
mod text;

use compact_str::CompactString;

use super::document::{MAX_DEPTH, Node, Number, depth};
use super::path::{Path, TooManyVisits};
pub(super) use activity::{LogPage, empty as empty_log, page as log_page};
pub(super) use patch::{Patch, PatchForm};

/// One change of a document.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Set {
        path: Path,
        value: Node,
        only: Only,
    },
    /// RFC 7396 at each place that the path selects.
    Merge {
        path: Path,
        change: Node,
    },
    /// RFC 6902.
    Patch(Patch),
    Delete {
        path: Path,
    },
    Append {
        path: Path,
        values: Vec<Node>,
    },
    Insert {
        path: Path,
        index: i64,
        values: Vec<Node>,
    },
    Pop {
        path: Path,
        index: i64,
    },
    /// Keeps the items from `start` to `stop`, both included.
    Trim {
        path: Path,
        start: i64,
        stop: i64,
    },
    Increment {
        path: Path,
        by: Number,
    },
    Multiply {
        path: Path,
        by: Number,
    },
    AppendText {
        path: Path,
        text: CompactString,
    },
    Toggle {
        path: Path,
    },
    Clear {
        path: Path,
    },
    /// Adds an entry to an activity log and keeps the newest `limit`.
    Record {
        entry: Node,
        limit: usize,
    },
}

/// Which values a [`Change::Set`] may touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Only {
    #[default]
    Either,
    /// What is not there yet.
    Absent,
    /// What is there already.
    Present,
}

/// A change that was made to a document in memory.
#[derive(Debug)]
pub(super) struct Changed {
    /// `None`: there is no document any more.
    pub document: Option<Node>,
    pub answer: Answer,
    /// Whether anything is different; a change may well find nothing to do.
    pub is_different: bool,
}

/// What a change tells its caller.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// Something was created, or else replaced.
    Stored { created: bool },
    /// One result for each value that the path selected; null where the value was not of the right type.
    Results(Vec<Node>),
    /// How many values were changed or deleted.
    Count(usize),
}

impl Answer {
    /// As it is kept for the operation's repetition: a boolean, a list or a number.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Stored { created } => Node::Bool(*created).to_bytes(),
            Self::Results(results) => Node::Array(results.clone()).to_bytes(),
            Self::Count(count) => Node::count(*count).to_bytes(),
        }
    }

    /// Reads what [`Answer::to_bytes`] wrote.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        match Node::parse(bytes).ok()? {
            Node::Bool(created) => Some(Self::Stored { created }),
            Node::Array(results) => Some(Self::Results(results)),
            Node::Number(number) => usize::try_from(number.as_integer()?).ok().map(Self::Count),
            _ => None,
        }
    }
}

/// Why a change was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error("there is no document under this key")]
    NoDocument,
    #[error("nothing is at `{path}`")]
    PathMissing { path: String },
    #[error("`{path}` is {found}, not {expected}")]
    WrongType { path: String, expected: &'static str, found: &'static str },
    #[error("{reason}")]
    NotSettable { reason: &'static str },
    #[error("index {index} is outside an array of {length} items")]
    OutOfBounds { index: i64, length: usize },
    #[error("the result is {0}")]
    NoNumber(&'static str),
    #[error("If-None-Match or If-Match does not allow it")]
    Refused,
    /// `at` is the position of the operation in the patch.
    #[error("operation {at}: {reason}")]
    PatchFailed { at: usize, reason: String },
    #[error("the document would be larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the document would have more than {MAX_DEPTH} levels")]
    TooDeep,
    #[error(transparent)]
    TooComplex(#[from] TooManyVisits),
}

/// How far a change may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The largest document as compact text, bytes.
    pub document: usize,
    /// Visits of values by one path, see [`Path::select`].
    pub visits: usize,
}

impl Bounds {
    /// Refuses what would add more than a whole document's worth, before memory is taken for it.
    fn allow(self, copies: usize, length: usize) -> Result<(), ChangeError> {
        match copies.checked_mul(length) {
            Some(added) if added <= self.document => Ok(()),
            _ => Err(ChangeError::TooLarge { limit: self.document }),
        }
    }
}

impl Change {
    /// Makes the change; `None` is a document that does not exist.
    ///
    /// # Errors
    /// [`ChangeError`]: the document stays as it is stored.
    pub(super) fn apply(&self, document: Option<Node>, bounds: Bounds) -> Result<Changed, ChangeError> {
        let changed = match (self, document) {
            (Self::Set { path, value, only }, document) => set::set(document, path, value, *only, bounds)?,
            (Self::Merge { path, change }, document) => merge::merge_at(document, path, change, bounds)?,
            (Self::Delete { path }, document) => delete::delete(document, path, bounds)?,
            (_, None) => return Err(ChangeError::NoDocument),
            (Self::Patch(patch), Some(document)) => patch.apply(document, bounds)?,
            (Self::Append { path, values }, Some(document)) => array::append(document, path, values, bounds)?,
            (Self::Insert { path, index, values }, Some(document)) => {
                array::insert(document, path, *index, values, bounds)?
            }
            (Self::Pop { path, index }, Some(document)) => array::pop(document, path, *index, bounds)?,
            (Self::Trim { path, start, stop }, Some(document)) => array::trim(document, path, *start, *stop, bounds)?,
            (Self::Increment { path, by }, Some(document)) => {
                number::calculate(document, path, bounds, |number| number::sum(number, by))?
            }
            (Self::Multiply { path, by }, Some(document)) => {
                number::calculate(document, path, bounds, |number| number::product(number, by))?
            }
            (Self::AppendText { path, text }, Some(document)) => text::append(document, path, text, bounds)?,
            (Self::Toggle { path }, Some(document)) => text::toggle(document, path, bounds)?,
            (Self::Record { entry, limit }, Some(document)) => activity::record(document, entry, *limit, bounds)?,
            (Self::Clear { path }, Some(document)) => delete::clear(document, path, bounds)?,
        };
        if changed.document.as_ref().is_some_and(|document| depth(document) > MAX_DEPTH) {
            return Err(ChangeError::TooDeep);
        }
        Ok(changed)
    }

    /// Its name in the feed of changes.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Set { .. } => "set",
            Self::Merge { .. } => "merge",
            Self::Patch(_) => "patch",
            Self::Delete { .. } => "delete",
            Self::Append { .. } => "append",
            Self::Insert { .. } => "insert",
            Self::Pop { .. } => "pop",
            Self::Trim { .. } => "trim",
            Self::Increment { .. } => "increment",
            Self::Multiply { .. } => "multiply",
            Self::AppendText { .. } => "append_text",
            Self::Toggle { .. } => "toggle",
            Self::Clear { .. } => "clear",
            Self::Record { .. } => "record",
        }
    }

    /// The path that it goes to; a patch has one in each operation, and concerns the whole document.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Patch(_) | Self::Record { .. } => None,
            Self::Set { path, .. }
            | Self::Merge { path, .. }
            | Self::Delete { path }
            | Self::Append { path, .. }
            | Self::Insert { path, .. }
            | Self::Pop { path, .. }
            | Self::Trim { path, .. }
            | Self::Increment { path, .. }
            | Self::Multiply { path, .. }
            | Self::AppendText { path, .. }
            | Self::Toggle { path }
            | Self::Clear { path } => Some(path),
        }
    }
}
