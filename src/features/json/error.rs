//! What can go wrong with a document.

use super::change::ChangeError;
use super::document::{Fault, ParseError};
use super::path::TooManyVisits;
use super::schema::BrokenRule;
use super::vault::SealError;
use crate::http::problem::{self, Location, Problem};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    JSON_MISSING = "json-missing", NOT_FOUND, "There is no document under this key",
        "PUT one at its root first.";
    JSON_PATH_MISSING = "json-path-missing", NOT_FOUND, "Nothing is at this path",
        "The document has no value there, or no object that a new member could be added to.";
    JSON_WRONG_TYPE = "json-wrong-type", CONFLICT, "The value is of another type than the change needs",
        "The detail names the type that was found. Nothing was changed.";
    JSON_NOT_SETTABLE = "json-not-settable", UNPROCESSABLE_ENTITY, "Nothing can be stored at this path",
        "A new member needs a path that names it and nothing else, such as $.a.b; a new document needs the root; an \
         array has an item at an index only if it is long enough.";
    JSON_OUT_OF_BOUNDS = "json-out-of-bounds", UNPROCESSABLE_ENTITY, "The array has no such index",
        "Nothing was inserted, in any of the arrays.";
    JSON_NO_NUMBER = "json-no-number", CONFLICT, "The result is no number that JSON can hold",
        "Integers stay within 64 bits, floats within their range. Nothing was changed.";
    JSON_PATCH_FAILED = "json-patch-failed", CONFLICT, "An operation of the patch does not fit the document",
        "The detail says which one. A patch is made whole or not at all: nothing was changed.";
    JSON_SCHEMA = "json-schema-violation", UNPROCESSABLE_ENTITY, "The document would break the rules of its collection",
        "The errors list names the places in the document as JSON pointers. Nothing was changed.";
    JSON_TOO_LARGE = "json-too-large", PAYLOAD_TOO_LARGE, "The document would be too large",
        "The limit is json.document_limit. Nothing was changed.";
    JSON_PATH_TOO_COMPLEX = "json-path-too-complex", UNPROCESSABLE_ENTITY, "The path visits too many values",
        "The limit is json.path_visits. Name more of the way instead of searching for it.";
    JSON_SEALED = "json-sealed", CONFLICT, "An encrypted value cannot be changed like this",
        "Without the scope json:secrets it can be replaced, deleted, or left as it is, not changed in its place or taken \
         from another document. Nothing was changed.";
    JSON_UNREADABLE = "json-unreadable", INTERNAL_SERVER_ERROR, "An encrypted value cannot be read",
        "The key that it was encrypted with is not configured: the service's operators must add it to json.encryption.keys.";
    JSON_CONTENDED = "json-contended", CONFLICT, "The document kept changing",
        "Others changed it between every look at it and the write; nothing was done. Try again.";
}

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum JsonError {
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("the condition in If-Match or If-None-Match does not hold")]
    PreconditionFailed,
    #[error("the document would break {} of its collection", if .0.len() == 1 { "a rule" } else { "rules" })]
    Schema(Vec<BrokenRule>),
    #[error("the document changed again and again while it was looked at")]
    Contended,
    #[error("what is stored under this key is no JSON document")]
    NotJson,
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error("{} is {ms}; at most {max} ms are allowed", pointer.trim_start_matches('/'))]
    TooLong { location: Location, pointer: String, ms: u64, max: u64 },
    #[error(transparent)]
    Redis(#[from] RedisFault),
}

impl From<TooManyVisits> for JsonError {
    fn from(error: TooManyVisits) -> Self {
        Self::Change(error.into())
    }
}

impl JsonError {
    pub(super) const NO_DOCUMENT: Self = Self::Change(ChangeError::NoDocument);

    /// Whether another look at the document could not change it.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Redis(_) | Self::Contended | Self::TooLong { .. })
    }
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        let kind = match &error {
            JsonError::Redis(fault) => return Self::from(fault.clone()),
            JsonError::TooLong { location, pointer, .. } => {
                let kind = if *location == Location::Query { &problem::INVALID_QUERY } else { &problem::INVALID_BODY };
                return Self::new(kind).detail(&error).violation(*location, pointer, &error);
            }
            JsonError::Schema(broken) => {
                let problem = Self::new(&JSON_SCHEMA).detail(&error).outcome(Outcome::NotApplied);
                return broken
                    .iter()
                    .fold(problem, |problem, rule| problem.violation(Location::Body, &rule.pointer, &rule.rule));
            }
            JsonError::PreconditionFailed | JsonError::Change(ChangeError::Refused) => &problem::PRECONDITION_FAILED,
            JsonError::Contended => &JSON_CONTENDED,
            JsonError::NotJson => &problem::WRONG_TYPE,
            JsonError::Sealed(SealError::Forged { .. }) => &JSON_SEALED,
            JsonError::Sealed(SealError::UnknownKey { .. }) => &JSON_UNREADABLE,
            JsonError::Sealed(SealError::TooComplex(_)) => &JSON_PATH_TOO_COMPLEX,
            JsonError::Sealed(SealError::NoEntropy) => &problem::INTERNAL,
            JsonError::Change(change) => match change {
                ChangeError::NoDocument => return Self::new(&JSON_MISSING).detail(&error),
                ChangeError::PathMissing { .. } => return Self::new(&JSON_PATH_MISSING).detail(&error),
                ChangeError::WrongType { .. } => &JSON_WRONG_TYPE,
                ChangeError::NotSettable { .. } => &JSON_NOT_SETTABLE,
                ChangeError::OutOfBounds { .. } => &JSON_OUT_OF_BOUNDS,
                ChangeError::NoNumber(_) => &JSON_NO_NUMBER,
                ChangeError::Refused => &problem::PRECONDITION_FAILED,
                ChangeError::PatchFailed { at, reason } => {
                    let problem = Self::new(&JSON_PATCH_FAILED).detail(&error).outcome(Outcome::NotApplied);
                    return problem.violation(Location::Body, format!("/{at}"), reason);
                }
                ChangeError::TooLarge { .. } => &JSON_TOO_LARGE,
                ChangeError::TooDeep => &problem::TOO_DEEP,
                ChangeError::TooComplex(_) => &JSON_PATH_TOO_COMPLEX,
            },
        };
        Self::new(kind).detail(&error).outcome(Outcome::NotApplied)
    }
}

/// A body that was not read.
impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Self {
        let kind = match error.fault {
            Fault::TooDeep => &problem::TOO_DEEP,
            Fault::Syntax(_) | Fault::Duplicate(_) => &problem::INVALID_JSON,
        };
        Self::new(kind).detail(error)
    }
}
