//! Why a repetition does not receive the recorded response.

use std::time::Duration;

use crate::http::problem::{ANSWER_TOO_LARGE, INTERNAL, Problem};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    IN_PROGRESS = "idempotency-in-progress", CONFLICT, "A request with this Idempotency-Key is in progress",
        "Repeat the request after the time in Retry-After to receive its response.";
    KEY_REUSED = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "The Idempotency-Key belongs to another request",
        "The key was used with another query, body, content type or other header that has a meaning. Use a new key for a new \
         request.";
}

/// The longest delay that a client is asked for: few attempts take as long as their claim.
const MAX_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(super) enum IdempotencyError {
    #[error("another attempt with this key is still running")]
    InProgress { remaining: Duration },
    #[error("this key was used with another query, body, content type or other header that has a meaning")]
    KeyReused,
    #[error("the first attempt succeeded, but its response was not kept")]
    AnswerTooLarge,
    #[error("no random number is available to identify the attempt")]
    NoRandomness(#[from] getrandom::Error),
    #[error("the key's record could not be read")]
    Redis(#[from] RedisFault),
}

impl From<IdempotencyError> for Problem {
    fn from(error: IdempotencyError) -> Self {
        match error {
            IdempotencyError::InProgress { remaining } => {
                Self::new(&IN_PROGRESS).detail(&error).retry_after(remaining.min(MAX_WAIT))
            }
            IdempotencyError::KeyReused => Self::new(&KEY_REUSED).detail(&error).outcome(Outcome::NotApplied),
            IdempotencyError::AnswerTooLarge => Self::new(&ANSWER_TOO_LARGE).detail(&error).outcome(Outcome::Applied),
            IdempotencyError::NoRandomness(_) => Self::new(&INTERNAL).outcome(Outcome::NotApplied).caused_by(error),
            // The handler has not run, whatever became of the claim.
            IdempotencyError::Redis(fault) => Self::from(fault).outcome(Outcome::NotApplied),
        }
    }
}
