//! The errors of documents and the problems that callers receive for them.

use std::time::Duration;

use super::document::{Fault, MAX_DEPTH, ParseError};
use super::encryption::EncryptionError;
use super::path::TooManyVisits;
use super::schema::BrokenRule;
use super::work::TooManyBytes;
use crate::http::problem::{self, Location, Problem, ProblemKind};
use crate::lifecycle::offload::NoThread;
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    JSON_MISSING = "json-missing", NOT_FOUND, "No document exists under this key",
        "Store one with PUT, without a path.";
    JSON_PATH_MISSING = "json-path-missing", NOT_FOUND, "The path selects nothing",
        "The document has no value at the path, or no object to which a new member could be added.";
    JSON_WRONG_TYPE = "json-wrong-type", CONFLICT, "The value does not have the type that the operation needs",
        "The detail names the type of the value. Nothing was changed.";
    JSON_NOT_SETTABLE = "json-not-settable", UNPROCESSABLE_ENTITY, "No value can be stored at this path",
        "A new member needs a path that names exactly that member, such as $.a.b. A new document must be stored without a \
         path. An array item can be replaced only if it exists.";
    JSON_OUT_OF_BOUNDS = "json-out-of-bounds", UNPROCESSABLE_ENTITY, "The array does not have this index",
        "Nothing was inserted into any of the arrays.";
    JSON_NO_NUMBER = "json-no-number", CONFLICT, "The result is not a number that JSON can represent",
        "Integers must fit into 64 bits and floats into their range. Nothing was changed.";
    JSON_PATCH_FAILED = "json-patch-failed", CONFLICT, "An operation of the patch cannot be applied to the document",
        "The detail names the operation. A patch is applied completely or not at all: nothing was changed.";
    JSON_SCHEMA = "json-schema-violation", UNPROCESSABLE_ENTITY, "The document would break the rules of its collection",
        "The errors list names the values as JSON pointers into the document. Nothing was changed.";
    JSON_TOO_LARGE = "json-too-large", PAYLOAD_TOO_LARGE, "The document would be too large",
        "The limit is json.document_limit. Nothing was changed.";
    JSON_PATH_TOO_COMPLEX = "json-path-too-complex", UNPROCESSABLE_ENTITY, "The path visits too many values",
        "Name more of the path's members instead of searching for them.";
    JSON_RESULT_TOO_LARGE = "json-result-too-large", UNPROCESSABLE_ENTITY, "The selected values are too large together",
        "A path can select a value several times. A response may contain 8 * json.document_limit bytes of values. Select \
         less, or read the documents one by one.";
    JSON_SEALED = "json-sealed", CONFLICT, "An encrypted value cannot be changed in this way",
        "Without the scope json:secrets, an encrypted value can be replaced, deleted or left unchanged. It cannot be \
         edited or copied to another document. Nothing was changed.";
    JSON_UNREADABLE = "json-unreadable", INTERNAL_SERVER_ERROR, "An encrypted value cannot be decrypted",
        "The key that encrypted the value is not configured. The operators of the service must add it to \
         json.encryption.keys.";
    JSON_CONTENDED = "json-contended", CONFLICT, "Other writers kept changing the document",
        "The document changed between every read and write of this request; nothing was done. Try again.";
}

/// When to retry a request that found no thread: such work takes some 100 ms at most.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The problems of an operation that reads a document.
static LOOKUP: &[&ProblemKind] = &[
    &JSON_MISSING,
    &JSON_PATH_MISSING,
    &JSON_WRONG_TYPE,
    &problem::WRONG_TYPE,
    &problem::PRECONDITION_FAILED,
    &problem::INVALID_PATH,
    &problem::INVALID_QUERY,
    &problem::INVALID_HEADER,
    &JSON_PATH_TOO_COMPLEX,
    &JSON_RESULT_TOO_LARGE,
];
/// The problems of an operation that changes a document, in addition to [`LOOKUP`].
static CHANGE: &[&ProblemKind] = &[
    &JSON_NO_NUMBER,
    &JSON_PATCH_FAILED,
    &JSON_CONTENDED,
    &problem::INVALID_BODY,
    &JSON_NOT_SETTABLE,
    &JSON_OUT_OF_BOUNDS,
    &JSON_SCHEMA,
];

/// All problems of an operation that reads a document.
pub(super) static READ_PROBLEMS: &[&[&ProblemKind]] = &[problem::CALLER, problem::REDIS_READ, LOOKUP];
/// All problems of an operation that changes a document without a body.
pub(super) static WRITE_PROBLEMS: &[&[&ProblemKind]] = &[problem::CALLER, problem::REDIS_WRITE, LOOKUP, CHANGE];
/// All problems of resetting a fence.
pub(super) static RESET_PROBLEMS: &[&[&ProblemKind]] =
    &[problem::CALLER, problem::REDIS_WRITE, &[&problem::INVALID_PATH, &problem::INVALID_QUERY, &problem::WRONG_TYPE]];
/// All problems of an operation that changes a document and reads a body.
pub(super) static BODY_PROBLEMS: &[&[&ProblemKind]] =
    &[problem::CALLER, problem::REDIS_WRITE, LOOKUP, CHANGE, problem::JSON_BODY, &[&JSON_TOO_LARGE]];
/// All problems of a batch; those of its items are part of the reply unless all of its changes fail.
pub(super) static BATCH_PROBLEMS: &[&[&ProblemKind]] = &[
    problem::CALLER,
    problem::REDIS_WRITE,
    LOOKUP,
    CHANGE,
    problem::JSON_BODY,
    &[&JSON_TOO_LARGE, &problem::STALE_FENCE],
];

/// Why an operation on a document failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum JsonError {
    #[error("there is no document under this key; PUT stores one")]
    NoDocument,
    #[error("`{path}` selects nothing")]
    PathMissing { path: String },
    #[error("`{path}` must be {expected}, got {found}")]
    WrongType { path: String, expected: &'static str, found: &'static str },
    #[error("{0}")]
    NotSettable(&'static str),
    #[error("index must be within the array of {length} items, got {index}")]
    OutOfBounds { index: i64, length: usize },
    #[error("the result is {0}")]
    NoNumber(&'static str),
    #[error("the condition in If-Match or If-None-Match does not hold")]
    PreconditionFailed,
    /// `at` is the position of the operation in the patch.
    #[error("operation {at}: {reason}")]
    PatchFailed { at: usize, reason: &'static str },
    #[error("the document must have at most {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the document must have at most {MAX_DEPTH} levels")]
    TooDeep,
    #[error(transparent)]
    TooComplex(#[from] TooManyVisits),
    #[error(transparent)]
    ResultTooLarge(#[from] TooManyBytes),
    #[error(transparent)]
    Overloaded(#[from] NoThread),
    #[error("the document would break {} of its collection", if .0.len() == 1 { "a rule" } else { "rules" })]
    Schema(Vec<BrokenRule>),
    #[error("the document changed between every read and write")]
    Contended,
    #[error("the value under this key is not a JSON document")]
    NotJson,
    #[error("the first attempt succeeded, but its answer was not kept")]
    AnswerNotKept,
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    #[error(transparent)]
    Redis(#[from] RedisFault),
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        let kind = match &error {
            JsonError::Redis(fault) => return Self::from(fault.clone()),
            JsonError::AnswerNotKept => {
                return Self::new(&problem::ANSWER_TOO_LARGE).detail(&error).outcome(Outcome::Applied);
            }
            JsonError::NoDocument => return Self::new(&JSON_MISSING).detail(&error),
            JsonError::PathMissing { .. } => return Self::new(&JSON_PATH_MISSING).detail(&error),
            JsonError::WrongType { .. } => &JSON_WRONG_TYPE,
            JsonError::NotSettable(_) => &JSON_NOT_SETTABLE,
            JsonError::OutOfBounds { .. } => &JSON_OUT_OF_BOUNDS,
            JsonError::NoNumber(_) => &JSON_NO_NUMBER,
            JsonError::PreconditionFailed => &problem::PRECONDITION_FAILED,
            JsonError::PatchFailed { .. } => &JSON_PATCH_FAILED,
            JsonError::TooLarge { .. } => &JSON_TOO_LARGE,
            JsonError::TooDeep => &problem::TOO_DEEP,
            JsonError::Schema(_) => &JSON_SCHEMA,
            JsonError::ResultTooLarge(_) => &JSON_RESULT_TOO_LARGE,
            JsonError::Overloaded(_) => &problem::OVERLOADED,
            JsonError::Contended => &JSON_CONTENDED,
            JsonError::NotJson => &problem::WRONG_TYPE,
            JsonError::Encryption(EncryptionError::Forged { .. }) => &JSON_SEALED,
            JsonError::Encryption(EncryptionError::UnknownKey { .. }) => &JSON_UNREADABLE,
            JsonError::Encryption(EncryptionError::NoEntropy) => &problem::INTERNAL,
            JsonError::TooComplex(_) | JsonError::Encryption(EncryptionError::TooComplex(_)) => &JSON_PATH_TOO_COMPLEX,
        };
        let problem = Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match error {
            JsonError::Overloaded(_) => problem.retry_after(RETRY_AFTER),
            JsonError::PatchFailed { at, reason } => problem.violation(Location::Body, format!("/{at}"), reason),
            JsonError::Schema(broken) => broken
                .iter()
                .fold(problem, |problem, rule| problem.violation(Location::Body, &rule.pointer, &rule.rule)),
            _ => problem,
        }
    }
}

/// A body that is not valid JSON.
impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Self {
        let kind = match error.fault {
            Fault::TooDeep => &problem::TOO_DEEP,
            Fault::Syntax(_) | Fault::Duplicate(_) => &problem::INVALID_JSON,
        };
        Self::new(kind).detail(error)
    }
}
