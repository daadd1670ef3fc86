//! Errors of exports and erasures, and the problems that each operation can return.

use crate::http::problem::{INVALID_BODY, INVALID_PATH, INVALID_QUERY, Problem, ProblemKind};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    ERASURE_NOT_FOUND = "erasure-not-found", NOT_FOUND, "There is no such erasure",
        "POST /admin/subjects/{id}/erase returns the id of an erasure.";
    SUBJECTS_NEED_KEY = "subjects-need-key", CONFLICT, "Erasures need the key of the audit log",
        "Receipts are signed, and persons remembered, with the key in audit.key_file. Set it first.";
}

/// The problems of an export, in addition to those of every read.
pub(super) static EXPORT: &[&ProblemKind] = &[&INVALID_BODY, &INVALID_PATH, &INVALID_QUERY];
/// The problems of an erasure, in addition to those of every write.
pub(super) static ERASE: &[&ProblemKind] = &[&INVALID_BODY, &INVALID_PATH, &INVALID_QUERY, &SUBJECTS_NEED_KEY];
/// The problems of reading an erasure, in addition to those of every read.
pub(super) static READ: &[&ProblemKind] = &[&ERASURE_NOT_FOUND, &INVALID_QUERY];

#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    #[error("{rule}")]
    Invalid { pointer: String, rule: String },
    #[error("the id {0}")]
    InvalidId(String),
    #[error("no erasure has this id")]
    NotFound,
    #[error("audit.key_file is not set")]
    NoKey,
    #[error("no random number is available")]
    NoRandomness(#[from] getrandom::Error),
    #[error("Redis could not be reached")]
    Redis(#[from] RedisFault),
}

impl From<SubjectError> for Problem {
    fn from(error: SubjectError) -> Self {
        let known = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match &error {
            SubjectError::Invalid { pointer, rule } => Self::body_field(pointer, rule),
            SubjectError::InvalidId(rule) => Self::path_segment("id", rule),
            SubjectError::NotFound => known(&ERASURE_NOT_FOUND),
            SubjectError::NoKey => known(&SUBJECTS_NEED_KEY),
            SubjectError::NoRandomness(_) => known(&crate::http::problem::INTERNAL),
            SubjectError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
