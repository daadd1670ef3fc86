//! What can go wrong with a host's samples.

use std::time::Duration;

use super::model::HostId;
use super::sample::Violation;
use crate::features::hosts::store::chunk::ChunkError;
use crate::http::problem::{INVALID_BODY, Location, OVERLOADED, Problem};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    HOST_NOT_FOUND = "host-not-found", NOT_FOUND, "There is no such host",
        "Nothing is kept of a host of this name, or it belongs to another organisation.";
    WRONG_ORGANISATION = "wrong-organisation", FORBIDDEN, "The credential belongs to another organisation",
        "The organisation comes from the credential; leave orgId out, or let it agree.";
    TOO_MANY_HOSTS = "too-many-hosts", SERVICE_UNAVAILABLE, "No further host can be kept in memory at the moment",
        "Every host in memory has samples that are not in Redis yet; hosts.max_hosts bounds them. Retry after Retry-After.";
}

/// No forecast can be calculated from these values.
#[derive(Debug, thiserror::Error)]
#[error("the forecast failed: {0}")]
pub struct ForecastError(pub(super) String);

#[derive(Debug, thiserror::Error)]
pub(super) enum HostsError {
    #[error("there is no host `{id}`")]
    NotFound { id: HostId },
    #[error("the credential does not belong to `{organisation}`")]
    WrongOrganisation { organisation: String },
    #[error("as many hosts as may be kept in memory wait for Redis")]
    TooManyHosts,
    #[error("samples come faster than Redis takes them")]
    TooManySamples,
    /// None of a body's samples is good.
    #[error("no sample was accepted")]
    Refused(Vec<Violation>),
    #[error("{name}: {rule}")]
    Query { name: &'static str, rule: String },
    #[error("what is stored of `{id}` cannot be read")]
    Unreadable { id: HostId, cause: ChunkError },
    #[error(transparent)]
    Forecast(#[from] ForecastError),
    #[error("Redis failed")]
    Redis(#[from] RedisFault),
}

impl From<HostsError> for Problem {
    fn from(error: HostsError) -> Self {
        let known = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match error {
            HostsError::NotFound { .. } => known(&HOST_NOT_FOUND),
            HostsError::WrongOrganisation { .. } => known(&WRONG_ORGANISATION),
            HostsError::TooManyHosts => known(&TOO_MANY_HOSTS).retry_after(Duration::from_secs(1)),
            HostsError::TooManySamples => known(&OVERLOADED).retry_after(Duration::from_secs(1)),
            HostsError::Refused(violations) => {
                let summary = |Violation { pointer, detail }: &Violation| match pointer.trim_start_matches('/') {
                    "" => detail.clone(),
                    field => format!("{field}: {detail}"),
                };
                let problem = Self::new(&INVALID_BODY).detail(violations.first().map(summary).unwrap_or_default());
                let named = |problem: Self, violation: Violation| {
                    problem.violation(Location::Body, violation.pointer, violation.detail)
                };
                violations.into_iter().fold(problem.outcome(Outcome::NotApplied), named)
            }
            HostsError::Query { name, rule } => Self::query_parameter(name, rule),
            HostsError::Unreadable { cause, .. } => Self::new(&crate::http::problem::INTERNAL).caused_by(cause),
            HostsError::Forecast(cause) => Self::new(&crate::http::problem::INTERNAL).caused_by(cause),
            HostsError::Redis(fault) => Self::from(fault),
        }
    }
}
