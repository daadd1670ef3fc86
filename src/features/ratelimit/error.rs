//! What can go wrong with a limit.

use super::strategy::BadStrategy;
use crate::http::problem::{INTERNAL, INVALID_BODY, INVALID_HEADER, INVALID_PATH, INVALID_QUERY, Location, Problem};
use crate::problems;
use crate::redis::{FaultKind, Outcome, RedisFault};

problems! { PROBLEMS:
    RATE_LIMITED = "rate-limited", TOO_MANY_REQUESTS, "The limit does not allow this call now",
        "Nothing was taken. Wait for retry_after_ms; the RateLimit fields say how the limit stands.";
    UNKNOWN_LIMITER = "unknown-limiter", NOT_FOUND, "There is no limiter of this name",
        "GET /ratelimit/limiters lists them.";
    TOO_MANY_EXCEPTIONS = "too-many-exceptions", CONFLICT, "There are too many exceptions",
        "ratelimit.exceptions is how many keys may have one: take others back, or give them an end.";
    TOO_MANY_RESERVATIONS = "too-many-reservations", CONFLICT, "The key has too many open reservations",
        "Settle some, or wait until they return; nothing was reserved.";
    UNKNOWN_RESERVATION = "unknown-reservation", NOT_FOUND, "There is no such reservation",
        "It was settled already, or returned by itself at its end, or never was.";
    CHECKS_APART = "checks-apart", UNPROCESSABLE_ENTITY, "The checks' keys live apart",
        "A Redis Cluster decides together only what lives together: begin each key with the same group in braces, such \
         as {user-7}, here and in every other call for it. Nothing was taken.";
}

/// A request's field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub(super) struct BadAsk {
    /// Such as `cost`, or `strategy/window_ms`.
    pub field: String,
    pub rule: String,
}

impl BadAsk {
    pub(super) fn new(field: &str, rule: impl Into<String>) -> Self {
        Self { field: field.to_owned(), rule: rule.into() }
    }

    /// The same in a list.
    pub(super) fn within(mut self, list: &str, at: usize) -> Self {
        self.field = format!("{list}/{at}/{}", self.field);
        self
    }

    /// The problem of a field that stood there.
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

impl From<BadStrategy> for BadAsk {
    fn from(BadStrategy { field, rule }: BadStrategy) -> Self {
        let unit = if matches!(field, "window" | "period" | "maximum" | "decay") { "_ms" } else { "" };
        Self { field: format!("strategy/{field}{unit}"), rule }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum LimitError {
    #[error("no limiter is called `{name}`")]
    UnknownLimiter { name: String },
    #[error("{most} keys have exceptions already")]
    TooManyExceptions { most: usize },
    #[error("the key has {most} open reservations already")]
    TooManyReservations { most: usize },
    #[error("there is no such reservation")]
    UnknownReservation,
    #[error("{used} were used; at most {most} can have been, ten times the limit")]
    Used { used: u64, most: u64 },
    #[error("the system has no randomness")]
    NoRandomness(#[from] getrandom::Error),
    #[error("the keys have no common group")]
    Apart,
    /// Redis does not decide now, and nothing else may.
    #[error("the limit cannot be checked now")]
    Unavailable(#[source] RedisFault),
    #[error("could not reach the limits")]
    Redis(#[from] RedisFault),
}

impl LimitError {
    /// The same error behind a change that was made.
    pub(super) fn applied(mut self) -> Self {
        if let Self::Unavailable(fault) | Self::Redis(fault) = &mut self {
            fault.outcome = Outcome::Applied;
        }
        self
    }
}

impl From<LimitError> for Problem {
    fn from(error: LimitError) -> Self {
        let known = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match &error {
            LimitError::UnknownLimiter { .. } => known(&UNKNOWN_LIMITER),
            LimitError::TooManyExceptions { .. } => known(&TOO_MANY_EXCEPTIONS),
            LimitError::TooManyReservations { .. } => known(&TOO_MANY_RESERVATIONS),
            LimitError::UnknownReservation => known(&UNKNOWN_RESERVATION),
            LimitError::Used { .. } => Self::body_field("/cost", &error).outcome(Outcome::NotApplied),
            LimitError::NoRandomness(_) => Self::new(&INTERNAL).outcome(Outcome::NotApplied).caused_by(error),
            LimitError::Apart => known(&CHECKS_APART),
            // A wait in vain is 503 here as well: to whoever guards something, it is the same as no Redis.
            LimitError::Unavailable(fault) if fault.kind == FaultKind::Timeout => {
                let unavailable = RedisFault::new(FaultKind::Unavailable, fault.outcome);
                Self::from(unavailable.caused_by(fault.clone()))
            }
            LimitError::Unavailable(fault) | LimitError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
