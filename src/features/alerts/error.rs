//! Errors of alerts, and the problems that each operation can return.

use crate::http::problem::{INVALID_PATH, INVALID_QUERY, Problem, ProblemKind};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    ALERT_NOT_FOUND = "alert-not-found", NOT_FOUND, "No alert with this id fires",
        "GET /alerts lists the alerts that fire. Nothing was changed.";
}

/// The problems of acknowledging an alert, in addition to those of every write with a JSON body.
pub(super) static ACK: &[&ProblemKind] = &[&ALERT_NOT_FOUND, &INVALID_PATH, &INVALID_QUERY];
/// The problems of reading alerts.
pub(super) static QUERY: &[&ProblemKind] = &[&INVALID_QUERY];

#[derive(Debug, thiserror::Error)]
pub(super) enum AlertError {
    #[error("no alert with the id `{0}` fires")]
    NotFound(String),
    #[error("until must be in the future")]
    Past,
    #[error("could not reach the Redis that keeps the alerts")]
    Redis(#[from] RedisFault),
}

impl From<AlertError> for Problem {
    fn from(error: AlertError) -> Self {
        match &error {
            AlertError::NotFound(_) => Self::new(&ALERT_NOT_FOUND).detail(&error).outcome(Outcome::NotApplied),
            AlertError::Past => Self::body_field("/until", "must be in the future").outcome(Outcome::NotApplied),
            AlertError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
