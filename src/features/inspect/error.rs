//! Errors of looking into Redis, and the problems that each operation can return.

use std::time::Duration;

use crate::http::problem::{INVALID_QUERY, Problem, ProblemKind};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    INVENTORY_NOT_FOUND = "inventory-not-found", NOT_FOUND, "There is no inventory",
        "POST /admin/redis/inventory starts one. The last one is kept for a week.";
    INVENTORY_RUNNING = "inventory-running", CONFLICT, "An inventory is running",
        "GET /admin/redis/inventory shows how far it is.";
    REDIS_CLUSTER = "redis-cluster", CONFLICT, "The keys are spread over a cluster",
        "This operation looks at one server. Use redis-cli at each node instead.";
}

/// The problems of reads with a query.
pub(super) static QUERY: &[&ProblemKind] = &[&INVALID_QUERY];
/// The problems of reads of one server.
pub(super) static SERVER: &[&ProblemKind] = &[&INVALID_QUERY, &REDIS_CLUSTER];
/// The problems of reading an inventory.
pub(super) static INVENTORY: &[&ProblemKind] = &[&INVALID_QUERY, &INVENTORY_NOT_FOUND];
/// The problems of starting an inventory.
pub(super) static START: &[&ProblemKind] = &[&INVALID_QUERY, &INVENTORY_RUNNING];

#[derive(Debug, thiserror::Error)]
pub(super) enum InspectError {
    #[error("no inventory was made within a week")]
    NoInventory,
    #[error("an inventory is running at a replica")]
    Running,
    #[error("must be one of {0}")]
    UnknownHolding(String),
    #[error("the server is a cluster")]
    Cluster,
    #[error("could not reach Redis")]
    Redis(#[from] RedisFault),
}

impl From<InspectError> for Problem {
    fn from(error: InspectError) -> Self {
        let known = |kind| Self::new(kind).detail(&error);
        match &error {
            InspectError::NoInventory => known(&INVENTORY_NOT_FOUND),
            InspectError::Running => {
                known(&INVENTORY_RUNNING).retry_after(Duration::from_secs(30)).outcome(Outcome::NotApplied)
            }
            InspectError::UnknownHolding(_) => Self::query_parameter("holding", &error),
            InspectError::Cluster => known(&REDIS_CLUSTER).outcome(Outcome::NotApplied),
            InspectError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
