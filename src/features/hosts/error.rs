//! Errors of host metrics, and the problems that clients receive for them.

use std::time::Duration;

use super::model::HostId;
use super::sample::Violation;
use super::store::chunk::ChunkError;
use crate::http::problem::{
    INTERNAL, INVALID_BODY, INVALID_PATH, INVALID_QUERY, Location, OVERLOADED, Problem, ProblemKind,
    REDIS_OUT_OF_MEMORY, WRONG_TYPE,
};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    HOST_NOT_FOUND = "host-not-found", NOT_FOUND, "The host does not exist",
        "The organisation has no data of a host of this name.";
    WRONG_ORGANISATION = "wrong-organisation", FORBIDDEN, "The credential belongs to another organisation",
        "The credential determines the organisation: omit orgId, or send the credential's organisation.";
    TOO_MANY_HOSTS = "too-many-hosts", SERVICE_UNAVAILABLE, "No more hosts fit in memory at the moment",
        "Every host in memory has samples that are not in Redis yet; hosts.max_hosts is the limit. Retry after Retry-After.";
}

/// The problem of an operation that takes no query parameters.
pub(super) static QUERY: &[&ProblemKind] = &[&INVALID_QUERY];
/// The problems of an operation on the hosts of an organisation.
pub(super) static LIST: &[&ProblemKind] = &[&WRONG_ORGANISATION, &WRONG_TYPE, &INVALID_QUERY];
/// The problems of an operation on one host.
pub(super) static HOST: &[&ProblemKind] =
    &[&HOST_NOT_FOUND, &WRONG_ORGANISATION, &WRONG_TYPE, &INVALID_PATH, &INVALID_QUERY];
/// The problems of an operation that adds samples.
pub(super) static INGEST: &[&ProblemKind] = &[&TOO_MANY_HOSTS, &OVERLOADED, &REDIS_OUT_OF_MEMORY];

#[derive(Debug, thiserror::Error)]
pub(super) enum HostsError {
    #[error("host `{id}` does not exist; its first sample creates it")]
    NotFound { id: HostId },
    #[error("the credential does not belong to organisation `{organisation}`")]
    WrongOrganisation { organisation: String },
    #[error(
        "as many hosts are in memory as hosts.max_hosts allows, or half of them are this organisation's, and all have samples that are not in Redis yet"
    )]
    TooManyHosts,
    #[error("samples arrive faster than Redis stores them")]
    TooManySamples,
    /// No sample of the body is valid.
    #[error("no sample was accepted")]
    InvalidSamples(Vec<Violation>),
    #[error("{name}: {rule}")]
    Query { name: &'static str, rule: String },
    #[error("the stored data of host `{id}` cannot be read")]
    Unreadable { id: HostId, cause: ChunkError },
    #[cfg(feature = "forecast")]
    #[error("the forecast cannot be computed: {0}")]
    Forecast(String),
    #[error("Redis failed")]
    Redis(#[from] RedisFault),
}

impl HostsError {
    pub(super) fn unreadable(id: &HostId) -> impl Fn(ChunkError) -> Self {
        move |cause| Self::Unreadable { id: id.clone(), cause }
    }
}

impl From<HostsError> for Problem {
    fn from(error: HostsError) -> Self {
        let not_applied = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match error {
            HostsError::NotFound { .. } => not_applied(&HOST_NOT_FOUND),
            HostsError::WrongOrganisation { .. } => not_applied(&WRONG_ORGANISATION),
            HostsError::TooManyHosts => not_applied(&TOO_MANY_HOSTS).retry_after(Duration::from_secs(1)),
            HostsError::TooManySamples => not_applied(&OVERLOADED).retry_after(Duration::from_secs(1)),
            HostsError::InvalidSamples(violations) => {
                let summary = |Violation { pointer, detail }: &Violation| match pointer.trim_start_matches('/') {
                    "" => detail.clone(),
                    field => format!("{field}: {detail}"),
                };
                let problem = Self::new(&INVALID_BODY).detail(violations.first().map(summary).unwrap_or_default());
                let add = |problem: Self, violation: Violation| {
                    problem.violation(Location::Body, violation.pointer, violation.detail)
                };
                violations.into_iter().fold(problem.outcome(Outcome::NotApplied), add)
            }
            HostsError::Query { name, rule } => Self::query_parameter(name, rule),
            HostsError::Unreadable { cause, .. } => Self::new(&INTERNAL).caused_by(cause),
            #[cfg(feature = "forecast")]
            error @ HostsError::Forecast(_) => Self::new(&INTERNAL).caused_by(error),
            HostsError::Redis(fault) => Self::from(fault),
        }
    }
}
