//! What can go wrong with a lock.

use std::time::Duration;

use super::model::{Resource, Votes};
use crate::http::problem::Problem;
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    LOCK_HELD = "lock-held", CONFLICT, "The lock is held, or others wait for it",
        "retry_after_ms says when its lease ends at the latest; wait_ms waits in line.";
    LOCK_LOST = "lock-lost", CONFLICT, "The lease is over",
        "It ended, was released or was freed by force: stop the work that it protected, and acquire anew.";
    LOCK_NOT_OWNED = "lock-not-owned", CONFLICT, "The token does not own the lock",
        "Another token holds it, so nothing was released. If it was yours, its lease has ended meanwhile.";
    LOCK_UNAVAILABLE = "lock-unavailable", SERVICE_UNAVAILABLE, "The lock cannot be granted safely at the moment",
        "Too few lock nodes answered, or the answer came too late for the lease. Retry after Retry-After.";
    LOCK_UPGRADE_REQUIRED = "upgrade-required", UPGRADE_REQUIRED, "The route speaks WebSocket only",
        "Connect with a WebSocket client over HTTP/1.1.";
    TOO_MANY_WAITERS = "too-many-waiters", TOO_MANY_REQUESTS, "Too many callers wait already",
        "The limits are locks.queue_limit per lock and locks.waiters per replica. Retry after Retry-After.";
    WAIT_INTERRUPTED = "wait-interrupted", SERVICE_UNAVAILABLE, "The replica is stopping and gave up the wait",
        "Nothing was acquired. Retry: another replica takes the call.";
}

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum LockError {
    /// `remaining` is `None` when the lease has no end: others than this service took it.
    #[error("`{resource}` is held")]
    Held { resource: Resource, remaining: Option<Duration> },
    #[error("the lease of `{resource}` is over")]
    Lost { resource: Resource },
    #[error("the token does not own `{resource}`")]
    NotOwned { resource: Resource },
    #[error("`{resource}`: only {} of {} lock nodes agreed", votes.granted, votes.total)]
    Unavailable { resource: Resource, votes: Votes },
    #[error("the answer for `{resource}` came when its lease was almost over")]
    TooLate { resource: Resource },
    #[error("too many callers wait already")]
    TooManyWaiters,
    #[error("the replica is stopping")]
    Interrupted,
    #[error("{field}: {rule}")]
    Invalid { field: &'static str, rule: String },
    #[error("the lock store failed")]
    Redis(#[from] RedisFault),
}

impl LockError {
    /// The problem of a route whose fields are query parameters.
    pub(super) fn into_query_problem(self) -> Problem {
        match self {
            Self::Invalid { field, rule } => Problem::query_parameter(field, rule).outcome(Outcome::NotApplied),
            other => other.into(),
        }
    }
}

impl From<LockError> for Problem {
    fn from(error: LockError) -> Self {
        let known = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match &error {
            LockError::Held { remaining: Some(remaining), .. } => known(&LOCK_HELD).retry_after(*remaining),
            LockError::Held { remaining: None, .. } => known(&LOCK_HELD),
            LockError::Lost { .. } => known(&LOCK_LOST),
            LockError::NotOwned { .. } => known(&LOCK_NOT_OWNED),
            // Nodes that did not answer may have done what was asked.
            LockError::Unavailable { .. } => {
                known(&LOCK_UNAVAILABLE).outcome(Outcome::Unknown).retry_after(Duration::from_secs(1))
            }
            LockError::TooLate { .. } => known(&LOCK_UNAVAILABLE).retry_after(Duration::from_secs(1)),
            LockError::TooManyWaiters => known(&TOO_MANY_WAITERS).retry_after(Duration::from_secs(1)),
            LockError::Interrupted => known(&WAIT_INTERRUPTED).retry_after(Duration::from_secs(1)),
            LockError::Invalid { field, rule } => Self::body_field(field, rule).outcome(Outcome::NotApplied),
            LockError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
