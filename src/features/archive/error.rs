//! Errors of the window and the archive, and the problems that each operation can return.

use crate::http::problem::{
    FOLD_BEHIND, INVALID_HEADER, INVALID_PATH, INVALID_QUERY, Problem, ProblemKind, WRONG_TYPE,
};
use crate::redis::RedisFault;

/// The problems of a read with a query, in addition to those of every read.
pub(super) static READ: &[&ProblemKind] = &[&FOLD_BEHIND, &INVALID_QUERY, &INVALID_HEADER, &WRONG_TYPE];
/// The problems of reading one minute, in addition to those of every read.
pub(super) static MINUTE: &[&ProblemKind] =
    &[&FOLD_BEHIND, &INVALID_PATH, &INVALID_QUERY, &INVALID_HEADER, &WRONG_TYPE];

#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    #[error("could not reach the Redis that keeps the window")]
    Redis(#[from] RedisFault),
    /// Trades could not be folded first.
    #[error("the window does not have all trades")]
    NotFolded(Problem),
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Redis(fault) => Self::from(fault),
            ArchiveError::NotFolded(problem) => problem,
        }
    }
}
