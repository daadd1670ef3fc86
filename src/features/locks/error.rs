//! Errors of locks, and the problems that each operation can return.

use std::time::Duration;

use super::model::{Resource, Votes};
use crate::http::problem::{
    FORBIDDEN, INVALID_HEADER, INVALID_PATH, INVALID_QUERY, OVERLOADED, Problem, ProblemKind, REPLICATION_UNMET,
    UNAUTHENTICATED, UPGRADE_REQUIRED, WRONG_TYPE,
};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    LOCK_HELD = "lock-held", CONFLICT, "The lock is held, or other clients wait for it",
        "retry_after_ms is an upper bound for when its lease ends. Set wait_ms to wait in the queue.";
    LOCK_LOST = "lock-lost", CONFLICT, "The lease has ended",
        "The lease expired, was released or freed by force. Stop the work that it protected and acquire the lock again.";
    LOCK_NOT_OWNED = "lock-not-owned", CONFLICT, "The token does not own the lock",
        "Another token holds the lock, so nothing was released. If the lock was yours, its lease has ended.";
    LOCK_UNAVAILABLE = "lock-unavailable", SERVICE_UNAVAILABLE, "The lock cannot be granted safely at the moment",
        "Too few lock nodes responded, or the response came too late for the lease. Retry after Retry-After.";
    TOO_MANY_WAITERS = "too-many-waiters", TOO_MANY_REQUESTS, "Too many clients are waiting already",
        "The limits are locks.queue_limit per lock and locks.waiters per replica; one credential has at most half of both at a \
         replica. Retry after Retry-After.";
    WAIT_INTERRUPTED = "wait-interrupted", SERVICE_UNAVAILABLE, "The replica is stopping and ended the wait",
        "Nothing was acquired. Retry; another replica will handle the request.";
}

/// The problems of acquiring one lock, in addition to those of every write with a JSON body.
pub(super) static ACQUIRE: &[&ProblemKind] =
    &[&INVALID_PATH, &INVALID_QUERY, &LOCK_HELD, &WRONG_TYPE, &TOO_MANY_WAITERS, &LOCK_UNAVAILABLE, &WAIT_INTERRUPTED];
/// The problems of acquiring several locks, in addition to those of every write with a JSON body.
pub(super) static ACQUIRE_ALL: &[&ProblemKind] = &[&INVALID_QUERY, &LOCK_HELD, &WRONG_TYPE, &LOCK_UNAVAILABLE];
/// The problems of an extension, in addition to those of every write with a JSON body.
pub(super) static EXTEND: &[&ProblemKind] =
    &[&INVALID_PATH, &INVALID_QUERY, &LOCK_LOST, &WRONG_TYPE, &LOCK_UNAVAILABLE];
/// The problems of a release, in addition to those of every write.
pub(super) static RELEASE: &[&ProblemKind] =
    &[&INVALID_PATH, &INVALID_QUERY, &INVALID_HEADER, &LOCK_LOST, &LOCK_NOT_OWNED, &WRONG_TYPE, &LOCK_UNAVAILABLE];
/// The problems of inspecting one lock, in addition to those of every read.
pub(super) static INSPECT: &[&ProblemKind] = &[&INVALID_PATH, &INVALID_QUERY, &WRONG_TYPE];
/// The problems of lists and statistics, in addition to those of every read.
pub(super) static LIST: &[&ProblemKind] = &[&INVALID_QUERY, &WRONG_TYPE];
/// All problems of the WebSocket handshake; later ones are events on the socket.
pub(super) static HOLD: &[&ProblemKind] =
    &[&UNAUTHENTICATED, &FORBIDDEN, &INVALID_PATH, &INVALID_QUERY, &UPGRADE_REQUIRED, &OVERLOADED];

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum LockError {
    /// `remaining` is `None` if the lease never expires, which means that another program acquired it.
    #[error("`{resource}` is held")]
    Held { resource: Resource, remaining: Option<Duration> },
    #[error("the lease of `{resource}` has ended")]
    Lost { resource: Resource },
    #[error("the token does not own `{resource}`")]
    NotOwned { resource: Resource },
    #[error("`{resource}`: only {} of {} lock nodes agreed", votes.granted, votes.total)]
    Unavailable { resource: Resource, votes: Votes },
    #[error("Redis granted `{resource}`, but its response came when the lease was almost over")]
    TooLate { resource: Resource },
    #[error("`{resource}` was granted and released again, because too few replicas had the lease in time")]
    NotReplicated { resource: Resource },
    #[error("too many clients are waiting already")]
    TooManyWaiters,
    #[error("the replica is stopping")]
    Interrupted,
    /// A request field breaks a rule; `field` is a JSON pointer.
    #[error("{field}: {rule}")]
    Invalid { field: &'static str, rule: String },
    #[error("could not reach the Redis that keeps the locks")]
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
            // Nodes that did not respond may have applied the request.
            LockError::Unavailable { .. } => {
                known(&LOCK_UNAVAILABLE).outcome(Outcome::Unknown).retry_after(Duration::from_secs(1))
            }
            LockError::TooLate { .. } => known(&LOCK_UNAVAILABLE).retry_after(Duration::from_secs(1)),
            LockError::NotReplicated { .. } => known(&REPLICATION_UNMET).retry_after(Duration::from_secs(1)),
            LockError::TooManyWaiters => known(&TOO_MANY_WAITERS).retry_after(Duration::from_secs(1)),
            LockError::Interrupted => known(&WAIT_INTERRUPTED).retry_after(Duration::from_secs(1)),
            LockError::Invalid { field, rule } => Self::body_field(field, rule).outcome(Outcome::NotApplied),
            LockError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
