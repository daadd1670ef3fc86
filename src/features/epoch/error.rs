//! Errors of epochs, and the problems that each operation can return.

use crate::http::problem::{
    INVALID_BODY, INVALID_HEADER, INVALID_QUERY, PRECONDITION_FAILED, Problem, ProblemKind, WRONG_TYPE,
};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    EPOCH_NOT_FOUND = "epoch-not-found", NOT_FOUND, "There is no such epoch",
        "The service keeps the newest 3,000 epochs. POST /market/epoch/advance begins the first one.";
    EPOCH_CONFLICT = "epoch-conflict", CONFLICT, "The epoch does not permit this change",
        "The detail names the epoch and the rule. Nothing was changed. Read the epoch again and decide.";
}

/// The problems of reading one epoch, in addition to those of every read.
pub(super) static READ: &[&ProblemKind] = &[&EPOCH_NOT_FOUND, &INVALID_QUERY, &WRONG_TYPE];
/// The problems of a change, in addition to those of every write with a JSON body.
pub(super) static CHANGE: &[&ProblemKind] =
    &[&EPOCH_CONFLICT, &PRECONDITION_FAILED, &INVALID_BODY, &INVALID_HEADER, &INVALID_QUERY, &WRONG_TYPE];
/// The problems of resetting the fence, in addition to those of every write.
pub(super) static FENCE: &[&ProblemKind] = &[&EPOCH_CONFLICT, &WRONG_TYPE];
/// The problems of the list, in addition to those of every read.
pub(super) static LIST: &[&ProblemKind] = &[&INVALID_QUERY, &WRONG_TYPE];

#[derive(Debug, thiserror::Error)]
pub(super) enum EpochError {
    #[error("there is no current epoch")]
    NoCurrent,
    #[error("epoch {0} is not in the log")]
    NotFound(u64),
    #[error("{0}")]
    Conflict(String),
    #[error("If-Match or If-None-Match does not allow the current state")]
    PreconditionFailed,
    /// A field of the body breaks a rule.
    #[error("{field}: {rule}")]
    Invalid { field: &'static str, rule: String },
    /// Another program wrote the key.
    #[error("market:current_epoch or its log holds a text that is not the record of an epoch")]
    NotARecord,
    #[error("other callers kept changing the epoch")]
    Contended,
    #[error("could not reach the Redis that keeps the epochs")]
    Redis(#[from] RedisFault),
}

impl From<EpochError> for Problem {
    fn from(error: EpochError) -> Self {
        let known = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match &error {
            EpochError::NoCurrent | EpochError::NotFound(_) => known(&EPOCH_NOT_FOUND),
            EpochError::Conflict(_) | EpochError::Contended => known(&EPOCH_CONFLICT),
            EpochError::PreconditionFailed => known(&PRECONDITION_FAILED),
            EpochError::Invalid { field, rule } => Self::body_field(field, rule).outcome(Outcome::NotApplied),
            EpochError::NotARecord => known(&WRONG_TYPE),
            EpochError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
