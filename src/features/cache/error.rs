//! Errors of the cache and the problems that they become.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

use crate::http::problem::{self, Location, Problem, ProblemKind};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    CACHE_MISS = "cache-miss", NOT_FOUND, "No value is cached under this key",
        "Rebuild the value and PUT it. If the response has a Cache-Lease header, this client should rebuild it; if it has \
         Retry-After, another client is rebuilding it.";
    NOT_A_NUMBER = "not-a-number", CONFLICT, "The value cannot be incremented",
        "The value and the sum must be integers from -2^63 to 2^63 - 1. Nothing was changed.";
    LEASE_LOST = "lease-lost", CONFLICT, "The lease is no longer valid",
        "The lease expired, or the value was written or deleted in the meantime. Nothing was stored. Read the value again.";
    BATCH_TOO_LARGE = "cache-batch-too-large", PAYLOAD_TOO_LARGE, "The values of the batch are too large together",
        "The reads of one batch return at most 8 * cache.value_limit bytes. Read the keys that are missing with further \
         batches, or one by one.";
    CACHE_CONTENDED = "cache-contended", CONFLICT, "The value changed too often",
        "Other clients changed the value between each read and the write that depended on it. Nothing was changed. Try again.";
}

/// The problems of every operation on one value or tag.
pub(super) static VALUE: &[&ProblemKind] = &[&problem::WRONG_TYPE, &problem::INVALID_PATH, &problem::INVALID_QUERY];
/// The problems of an operation that needs a value.
pub(super) static MISS: &[&ProblemKind] = &[&CACHE_MISS];
/// The problems of an operation that retries a compare-and-swap.
pub(super) static RETRIED: &[&ProblemKind] = &[&CACHE_CONTENDED];
/// The problems of an operation that accepts `If-Match` and `If-None-Match`.
pub(super) static CONDITIONAL: &[&ProblemKind] = &[&problem::PRECONDITION_FAILED, &problem::INVALID_HEADER];

/// The request and response header that carries a lease of the stampede guard.
pub(super) static LEASE_HEADER: HeaderName = HeaderName::from_static("cache-lease");

#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    #[error("no value is cached under this key; PUT stores one")]
    Miss,
    #[error("no value is cached under this key; the lease to rebuild it is granted")]
    Leased { token: String },
    #[error("no value is cached under this key; another client is rebuilding it")]
    Rebuilding { retry_after: Duration },
    #[error("the condition in If-Match or If-None-Match is not met")]
    PreconditionFailed,
    #[error("the lease in Cache-Lease is no longer valid")]
    LeaseLost,
    #[error("the value is not an integer, or the sum does not fit into 64 bits")]
    NotANumber,
    #[error("the value changed too often between reading and writing")]
    Contended,
    #[error("the values that a batch reads must have at most {limit} bytes together")]
    BatchTooLarge { limit: usize },
    #[error("the bytes under this key are not a value of the cache")]
    UnknownFormat,
    /// A field violates a rule.
    #[error("{} {rule}", pointer.trim_start_matches('/'))]
    Invalid { location: Location, pointer: String, rule: String },
    #[error(transparent)]
    Redis(#[from] RedisFault),
}

impl From<CacheError> for Problem {
    fn from(error: CacheError) -> Self {
        let kind = match error {
            CacheError::Redis(fault) => return Self::from(fault),
            CacheError::Invalid { location: Location::Query, pointer, rule } => {
                return Self::query_parameter(&pointer, rule);
            }
            CacheError::Invalid { pointer, rule, .. } => return Self::body_field(&pointer, rule),
            CacheError::Miss | CacheError::Leased { .. } | CacheError::Rebuilding { .. } => &CACHE_MISS,
            CacheError::PreconditionFailed => &problem::PRECONDITION_FAILED,
            CacheError::LeaseLost => &LEASE_LOST,
            CacheError::NotANumber => &NOT_A_NUMBER,
            CacheError::Contended => &CACHE_CONTENDED,
            CacheError::BatchTooLarge { .. } => &BATCH_TOO_LARGE,
            CacheError::UnknownFormat => &problem::WRONG_TYPE,
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
