//! The changes of documents as pure functions, from a document to the changed document and a reply.
//!
//! A change is applied completely or not at all: a function consumes its document and returns none after an error.

mod activity_log;
mod arithmetic;
mod array;
mod delete;
mod json_patch;
mod merge_patch;
mod selected_values;
mod set;
mod string_and_boolean;

use compact_str::CompactString;

use super::document::{MAX_DEPTH, Node, Number, depth};
use super::path::{Path, TooManyVisits};
pub(super) use activity_log::{LogPage, empty as empty_log, page as log_page};
pub(super) use json_patch::{Patch, PatchFault, PatchForm};

/// One change of a document.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The values that change. A JSON Patch has a path in each operation and applies to the whole document.
    pub path: Path,
    pub action: Action,
}

/// The operation on the selected values.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Set(Node, SetCondition),
    /// RFC 7396.
    Merge(Node),
    /// RFC 6902.
    Patch(Patch),
    Delete,
    Append(Vec<Node>),
    Insert {
        index: i64,
        values: Vec<Node>,
    },
    Pop {
        index: i64,
    },
    /// Keeps the items from `start` to `stop`, both included.
    Trim {
        start: i64,
        stop: i64,
    },
    Increment(Number),
    Multiply(Number),
    AppendText(CompactString),
    Toggle,
    Clear,
    /// Adds an entry to an activity log and keeps the newest `limit` entries.
    Record {
        entry: Node,
        limit: usize,
    },
}

/// The condition under which an [`Action::Set`] stores its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SetCondition {
    #[default]
    Always,
    IfAbsent,
    IfPresent,
}

/// The result of a change in memory.
#[derive(Debug)]
pub(super) struct Changed {
    /// `None` if the change deleted the document.
    pub document: Option<Node>,
    pub reply: ChangeReply,
    /// Whether the document differs from before; a change can find nothing to do.
    pub is_different: bool,
}

/// The reply to the caller of a change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ChangeReply {
    /// A value was created, or an existing one was replaced.
    Stored { created: bool },
    /// One result per selected value; null for values of another type.
    Results(Vec<Node>),
    /// The number of changed or deleted values.
    Count(usize),
}

impl ChangeReply {
    /// The form in which the reply is stored for a repeated request: a boolean, a list or a number.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Stored { created } => Node::Bool(*created).to_bytes(),
            Self::Results(results) => Node::Array(results.clone()).to_bytes(),
            Self::Count(count) => Node::count(*count).to_bytes(),
        }
    }

    /// The inverse of [`ChangeReply::to_bytes`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
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
    #[error("`{path}` selects nothing")]
    PathMissing { path: String },
    #[error("`{path}` must be {expected}, got {found}")]
    WrongType { path: String, expected: &'static str, found: &'static str },
    #[error("{reason}")]
    NotSettable { reason: &'static str },
    #[error("index must be within the array of {length} items, got {index}")]
    OutOfBounds { index: i64, length: usize },
    #[error("the result is {0}")]
    NoNumber(&'static str),
    #[error("the condition in If-Match or If-None-Match does not hold")]
    PreconditionFailed,
    /// `at` is the position of the operation in the patch.
    #[error("operation {at}: {reason}")]
    PatchFailed { at: usize, reason: String },
    #[error("the document must have at most {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the document must have at most {MAX_DEPTH} levels")]
    TooDeep,
    #[error(transparent)]
    TooComplex(#[from] TooManyVisits),
}

/// The largest document as compact text, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct SizeLimit(pub usize);

impl SizeLimit {
    /// Rejects a change that adds more than the size of a whole document, before it allocates the memory.
    fn check_added(self, copies: usize, length: usize) -> Result<(), ChangeError> {
        match copies.checked_mul(length) {
            Some(added) if added <= self.0 => Ok(()),
            _ => Err(ChangeError::TooLarge { limit: self.0 }),
        }
    }
}

impl Change {
    /// Applies the change to a document; `None` is a document that does not exist.
    ///
    /// # Errors
    /// [`ChangeError`], after which the stored document must not be changed.
    pub(super) fn apply(&self, document: Option<Node>, limit: SizeLimit) -> Result<Changed, ChangeError> {
        let path = &self.path;
        let changed = match (&self.action, document) {
            (Action::Set(value, condition), document) => set::set(document, path, value, *condition, limit)?,
            (Action::Merge(value), document) => merge_patch::merge_at(document, path, value, limit)?,
            (Action::Delete, document) => delete::delete(document, path)?,
            (_, None) => return Err(ChangeError::NoDocument),
            (Action::Patch(operations), Some(document)) => operations.apply(document, limit)?,
            (Action::Append(values), Some(document)) => array::append(document, path, values, limit)?,
            (Action::Insert { index, values }, Some(document)) => array::insert(document, path, *index, values, limit)?,
            (Action::Pop { index }, Some(document)) => array::pop(document, path, *index)?,
            (Action::Trim { start, stop }, Some(document)) => array::trim(document, path, *start, *stop)?,
            (Action::Increment(by), Some(document)) => arithmetic::increment(document, path, by)?,
            (Action::Multiply(by), Some(document)) => arithmetic::multiply(document, path, by)?,
            (Action::AppendText(text), Some(document)) => string_and_boolean::append(document, path, text, limit)?,
            (Action::Toggle, Some(document)) => string_and_boolean::toggle(document, path)?,
            (Action::Clear, Some(document)) => delete::clear(document, path)?,
            (Action::Record { entry, limit: entries }, Some(document)) => {
                activity_log::record(document, entry, *entries, limit)?
            }
        };
        if changed.document.as_ref().is_some_and(|document| depth(document) > MAX_DEPTH) {
            return Err(ChangeError::TooDeep);
        }
        Ok(changed)
    }
}

impl Action {
    /// The name in announcements.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Set(..) => "set",
            Self::Merge(_) => "merge",
            Self::Patch(_) => "patch",
            Self::Delete => "delete",
            Self::Append(_) => "append",
            Self::Insert { .. } => "insert",
            Self::Pop { .. } => "pop",
            Self::Trim { .. } => "trim",
            Self::Increment(_) => "increment",
            Self::Multiply(_) => "multiply",
            Self::AppendText(_) => "append_text",
            Self::Toggle => "toggle",
            Self::Clear => "clear",
            Self::Record { .. } => "record",
        }
    }
}
