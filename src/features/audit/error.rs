//! Errors of the audit log, and the problems that each operation can return.

use std::time::Duration;

use crate::http::problem::{AUDIT_UNAVAILABLE, INVALID_QUERY, Problem, ProblemKind};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    AUDIT_OFF = "audit-off", CONFLICT, "There is no audit log",
        "The setting audit.key_file names the file with the key of the log. Without it, nothing is recorded.";
}

/// The problems of reads of the log, in addition to those of every read.
pub(super) static READ: &[&ProblemKind] = &[&AUDIT_OFF, &INVALID_QUERY];

/// When a caller may try again.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("audit.key_file is not set")]
    Off,
    /// An action that must be recorded was not, so it must not happen.
    #[error("the action could not be recorded, so it was not done")]
    NotRecorded(#[source] Option<RedisFault>),
    #[error("other replicas kept appending to the log")]
    Contended,
    #[error("the audit log cannot be read")]
    Redis(#[from] RedisFault),
    #[error("entries could not be exported")]
    Export(#[from] std::io::Error),
    /// What is exported must be whole, or acknowledged.
    #[error("the audit log is not whole: {kind} at entry {seq}; it is not trimmed")]
    Broken { seq: u64, kind: &'static str },
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Off => Self::new(&AUDIT_OFF).detail(&error),
            AuditError::Redis(fault) => Self::from(fault),
            AuditError::NotRecorded(_) | AuditError::Contended | AuditError::Export(_) | AuditError::Broken { .. } => {
                let problem = Self::new(&AUDIT_UNAVAILABLE).detail(&error).outcome(Outcome::NotApplied);
                problem.retry_after(RETRY).caused_by(error)
            }
        }
    }
}
