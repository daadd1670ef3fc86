//! The changes of documents as pure functions, from a document to the changed document and a reply.
//!
//! A change is applied completely or not at all: a function consumes its document and returns none after an error.

mod activity_log;
mod delete;
mod json_patch;
mod set;
mod values;

use std::ops::{Add, Mul};

use compact_str::CompactString;

use super::document::{MAX_DEPTH, Node, Number, depth, text_length};
use super::error::JsonError;
use super::path::Path;
use super::work::WorkBudget;
use values::combine;

pub(super) use activity_log::{empty as empty_log, page as log_page};
pub(super) use json_patch::{Patch, PatchOperation};

/// A change of the values at a path. A JSON Patch has a path in each operation and applies to the whole document.
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

/// The largest document as compact text, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct SizeLimit(pub usize);

/// What a change may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits<'a> {
    pub size: SizeLimit,
    pub work: &'a WorkBudget,
}

impl SizeLimit {
    /// Rejects a change that adds more than the size of a whole document, before it allocates the memory.
    fn check_added(self, copies: usize, length: usize) -> Result<(), JsonError> {
        match copies.checked_mul(length) {
            Some(added) if added <= self.0 => Ok(()),
            _ => Err(JsonError::TooLarge { limit: self.0 }),
        }
    }
}

impl Action {
    /// Applies the change to a document; `None` is a document that does not exist.
    ///
    /// # Errors
    /// Why the stored document must not be changed.
    pub(super) fn apply(&self, document: Option<Node>, path: &Path, limits: Limits<'_>) -> Result<Changed, JsonError> {
        let changed = match (self, document) {
            (Self::Set(value, condition), document) => {
                set::set(document, path, value, *condition, limits, set::replace)?
            }
            (Self::Merge(value), document) => {
                set::set(document, path, value, SetCondition::Always, limits, set::merge)?
            }
            (Self::Delete, document) => delete::delete(document, path, limits)?,
            (_, None) => return Err(JsonError::NoDocument),
            (Self::Patch(operations), Some(document)) => operations.apply(document, limits)?,
            (Self::Append(values), Some(document)) => values::insert(document, path, None, values, limits)?,
            (Self::Insert { index, values }, Some(document)) => {
                values::insert(document, path, Some(*index), values, limits)?
            }
            (Self::Pop { index }, Some(document)) => values::pop(document, path, *index, limits)?,
            (Self::Trim { start, stop }, Some(document)) => values::trim(document, path, *start, *stop, limits)?,
            (Self::Increment(by), Some(document)) => {
                values::calculate(document, path, limits, |number| combine(number, by, i64::checked_add, f64::add))?
            }
            (Self::Multiply(by), Some(document)) => {
                values::calculate(document, path, limits, |number| combine(number, by, i64::checked_mul, f64::mul))?
            }
            (Self::AppendText(text), Some(document)) => values::append_text(document, path, text, limits)?,
            (Self::Toggle, Some(document)) => values::toggle(document, path, limits)?,
            (Self::Clear, Some(document)) => delete::clear(document, path, limits)?,
            (Self::Record { entry, limit: entries }, Some(document)) => {
                activity_log::record(document, entry, *entries, limits.size)?
            }
        };
        if changed.document.as_ref().is_some_and(|document| depth(document) > MAX_DEPTH) {
            return Err(JsonError::TooDeep);
        }
        Ok(changed)
    }

    /// The bytes that the change reads or writes in a document of `length` bytes, roughly.
    pub(super) fn weight(&self, length: usize) -> usize {
        match self {
            Self::Set(value, _) | Self::Merge(value) => length + text_length(value),
            // Each operation can move or compare the whole document.
            Self::Patch(operations) => length.saturating_mul(operations.len()),
            Self::Append(values) | Self::Insert { values, .. } => {
                length + values.iter().map(text_length).sum::<usize>()
            }
            Self::AppendText(text) => length + text.len(),
            Self::Record { entry, .. } => length + text_length(entry),
            _ => length,
        }
    }

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
