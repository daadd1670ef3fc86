//! What can go wrong with a cached value.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

use crate::http::problem::{self, Location, Problem};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    CACHE_MISS = "cache-miss", NOT_FOUND, "Nothing is cached under this key",
        "Rebuild the value and PUT it. With a Cache-Lease header in the answer you are the one who should; with \
         Retry-After somebody else does.";
    NOT_A_NUMBER = "not-a-number", CONFLICT, "The value cannot be incremented",
        "Only a whole number between -2^63 and 2^63 - 1 can, and only within these bounds; nothing was changed.";
    LEASE_LOST = "lease-lost", CONFLICT, "The lease is no longer yours",
        "It expired, or the value was written or deleted meanwhile. Read the value again; nothing was stored.";
    CACHE_CONTENDED = "cache-contended", CONFLICT, "The value kept changing",
        "Others changed the value between every look at it and the write; nothing was done. Try again.";
}

/// The header that carries a lease of the stampede guard, both ways.
pub(super) static LEASE_HEADER: HeaderName = HeaderName::from_static("cache-lease");

#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    #[error("nothing is cached under this key")]
    Miss,
    #[error("nothing is cached under this key; the lease to rebuild it is yours")]
    Leased { token: String },
    #[error("nothing is cached under this key; another caller rebuilds it")]
    Rebuilding { retry_after: Duration },
    #[error("the condition in If-Match or If-None-Match does not hold")]
    PreconditionFailed,
    #[error("the lease in Cache-Lease is no longer yours")]
    LeaseLost,
    #[error("the value is no whole number, or the sum has no room in 64 bits")]
    NotANumber,
    #[error("the value changed again and again while it was looked at")]
    Contended,
    #[error("the bytes under this key are not a value of the cache")]
    NotOurs,
    #[error("{} is {ms}; at most {max} ms are allowed", pointer.trim_start_matches('/'))]
    TooLong { location: Location, pointer: String, ms: u64, max: u64 },
    #[error(transparent)]
    Redis(#[from] RedisFault),
}

impl From<CacheError> for Problem {
    fn from(error: CacheError) -> Self {
        let kind = match error {
            CacheError::Redis(fault) => return Self::from(fault),
            CacheError::TooLong { location, ref pointer, .. } => {
                let kind = if location == Location::Query { &problem::INVALID_QUERY } else { &problem::INVALID_BODY };
                return Self::new(kind).detail(&error).violation(location, pointer, &error);
            }
            CacheError::Miss | CacheError::Leased { .. } | CacheError::Rebuilding { .. } => &CACHE_MISS,
            CacheError::PreconditionFailed => &problem::PRECONDITION_FAILED,
            CacheError::LeaseLost => &LEASE_LOST,
            CacheError::NotANumber => &NOT_A_NUMBER,
            CacheError::Contended => &CACHE_CONTENDED,
            CacheError::NotOurs => &problem::WRONG_TYPE,
        };
        let mut problem = Self::new(kind).detail(&error);
        match error {
            CacheError::Miss => {}
            CacheError::Leased { token } => {
                // Hexadecimal digits are always a valid header.
                if let Ok(token) = HeaderValue::try_from(token) {
                    problem = problem.header(LEASE_HEADER.clone(), token);
                }
            }
            CacheError::Rebuilding { retry_after } => problem = problem.retry_after(retry_after),
            _ => problem = problem.outcome(Outcome::NotApplied),
        }
        problem
    }
}
