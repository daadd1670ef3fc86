//! What can go wrong with a check, and the problems that the routes return.

use std::time::Duration;

use super::check::Decision;
use super::headers::fields;
use super::strategy::InvalidField;
use crate::close_matches::advice;
use crate::http::problem::{
    FORBIDDEN, INTERNAL, INVALID_BODY, INVALID_HEADER, INVALID_PATH, INVALID_QUERY, Location, OVERLOADED, Problem,
    ProblemKind, UNAUTHENTICATED, WRONG_TYPE,
};
use crate::problems;
use crate::redis::{FaultKind, Outcome, RedisFault};

problems! { PROBLEMS:
    RATE_LIMITED = "rate-limited", TOO_MANY_REQUESTS, "The rate limit is exceeded",
        "Nothing was taken. Retry after retry_after_ms; the RateLimit headers describe the limit.";
    UNKNOWN_LIMITER = "unknown-limiter", NOT_FOUND, "No limiter has this name",
        "GET /ratelimit/limiters lists the limiters.";
    TOO_MANY_EXCEPTIONS = "too-many-exceptions", CONFLICT, "There are too many exceptions",
        "Delete exceptions that are no longer needed, or give them a ttl_ms.";
    TOO_MANY_RESERVATIONS = "too-many-reservations", CONFLICT, "The key has too many open reservations",
        "Settle some of them, or wait until they expire. Nothing was reserved. A key may have 1,000.";
    UNKNOWN_RESERVATION = "unknown-reservation", NOT_FOUND, "There is no such reservation",
        "The reservation was already settled, has expired, or never existed.";
    CHECKS_APART = "checks-apart", UNPROCESSABLE_ENTITY, "The keys of the checks are in different cluster slots",
        "A Redis Cluster decides several checks together only if their keys are in one slot. Begin each key with the same \
         group in braces, such as {user-7}, here and in every other call for that key. Nothing was taken.";
}

/// The problems of a route that takes a check and rejects query parameters that it does not know.
pub(super) static BODY_ROUTE: &[&ProblemKind] = &[&WRONG_TYPE, &INVALID_QUERY];
/// The problems of a route whose path names a limiter.
pub(super) static LIMITER_ROUTE: &[&ProblemKind] = &[&UNKNOWN_LIMITER, &INVALID_PATH, &INVALID_QUERY];
/// The problems of a route whose path names a limiter, and that reads or changes the limiter's keys in Redis.
pub(super) static KEY_ROUTE: &[&ProblemKind] = &[&UNKNOWN_LIMITER, &WRONG_TYPE, &INVALID_PATH, &INVALID_QUERY];
/// The problems of a route that answers from memory.
pub(super) static FROM_MEMORY: &[&ProblemKind] =
    &[&UNAUTHENTICATED, &FORBIDDEN, &INVALID_QUERY, &INTERNAL, &OVERLOADED];

impl InvalidField {
    /// The problem of a field at this location of the request.
    pub(super) fn at(self, location: Location) -> Problem {
        let kind = match location {
            Location::Body => &INVALID_BODY,
            Location::Query => &INVALID_QUERY,
            Location::Path => &INVALID_PATH,
            Location::Header => &INVALID_HEADER,
        };
        Problem::new(kind).detail(&self).violation(location, self.field, self.rule).outcome(Outcome::NotApplied)
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum LimitError {
    /// The limit refuses the call; only routes whose status is the decision return it.
    #[error("the limit `{}` is {}, which is used up", .0.limiter.name, .0.limit)]
    Refused(Box<Decision>),
    #[error(
        "no limiter is named `{name}`{}",
        advice(close, "[[ratelimit.limiters]] of the configuration defines them")
    )]
    UnknownLimiter { name: String, close: Vec<String> },
    #[error("at most {max} keys may have exceptions")]
    TooManyOverrides { max: usize },
    #[error("a key may have at most {max} open reservations")]
    TooManyReservations { max: usize },
    #[error("there is no such reservation")]
    UnknownReservation,
    #[error("cost must be at most {max}, ten times the limit or what was reserved, got {used}")]
    UsedTooMuch { used: u64, max: u64 },
    #[error("the operating system has no randomness")]
    NoRandomness(#[from] getrandom::Error),
    #[error("the keys do not begin with the same group")]
    KeysApart,
    /// The limiter's own cost does not fit its limit, which validation of the configuration excludes.
    #[error("the limiter of this service's callers is invalid")]
    InvalidGuard(#[source] InvalidField),
    /// Redis cannot decide now, and the limiter must not be decided without it.
    #[error("the limit cannot be checked now")]
    Unavailable(#[source] RedisFault),
    #[error("could not reach the limits")]
    Redis(#[from] RedisFault),
}

impl LimitError {
    /// Keeps those close matches of an unknown limiter that the caller may see.
    pub(super) fn suggesting(mut self, may_see: impl Fn(&str) -> bool) -> Self {
        if let Self::UnknownLimiter { close, .. } = &mut self {
            close.retain(|name| may_see(name));
        }
        self
    }

    /// Marks the error as one that follows a change that was applied.
    pub(super) fn applied(self) -> Self {
        self.with_outcome(Outcome::Applied)
    }

    /// Marks the error as one that follows a part of the change: the rest was not applied.
    pub(super) fn partly_applied(self) -> Self {
        self.with_outcome(Outcome::Unknown)
    }

    fn with_outcome(mut self, outcome: Outcome) -> Self {
        if let Self::Unavailable(fault) | Self::Redis(fault) = &mut self {
            fault.outcome = outcome;
        }
        self
    }
}

/// Whether a fault means that Redis cannot decide now, rather than that the command is wrong.
pub(super) const fn is_unavailable(kind: FaultKind) -> bool {
    !matches!(kind, FaultKind::WrongType | FaultKind::Internal | FaultKind::Denied)
}

impl From<LimitError> for Problem {
    fn from(error: LimitError) -> Self {
        let known = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match &error {
            LimitError::Refused(decision) => {
                let mut problem = known(&RATE_LIMITED);
                if let Some(wait) = decision.retry_after_ms {
                    problem = problem.retry_after(Duration::from_millis(wait));
                }
                for (name, value) in fields(std::slice::from_ref(decision)) {
                    problem = problem.header(name, value);
                }
                problem
            }
            LimitError::UnknownLimiter { .. } => known(&UNKNOWN_LIMITER),
            LimitError::TooManyOverrides { .. } => known(&TOO_MANY_EXCEPTIONS),
            LimitError::TooManyReservations { .. } => known(&TOO_MANY_RESERVATIONS),
            LimitError::UnknownReservation => known(&UNKNOWN_RESERVATION),
            LimitError::UsedTooMuch { .. } => Self::body_field("/cost", &error).outcome(Outcome::NotApplied),
            LimitError::NoRandomness(_) | LimitError::InvalidGuard(_) => {
                Self::new(&INTERNAL).outcome(Outcome::NotApplied).caused_by(error)
            }
            LimitError::KeysApart => known(&CHECKS_APART),
            // A timeout is 503 here as well: for a caller that guards something, it equals an unavailable Redis.
            LimitError::Unavailable(fault) if fault.kind == FaultKind::Timeout => {
                let unavailable = RedisFault::new(FaultKind::Unavailable, fault.outcome);
                Self::from(unavailable.caused_by(fault.clone()))
            }
            LimitError::Unavailable(fault) | LimitError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
