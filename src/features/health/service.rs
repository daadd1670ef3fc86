//! Combines the reports of all components.

use std::sync::Arc;

use super::model::{Health, Readiness};
use crate::clock::UnixMillis;
use crate::deps::Deps;
use crate::lifecycle::Status;
use crate::redis::{Redis, RoleReport};

/// Cheap to clone, as axum clones it for every request.
#[derive(Clone, Debug)]
pub(super) struct HealthService {
    deps: Arc<Deps>,
    started: UnixMillis,
}

impl HealthService {
    pub(super) fn new(deps: &Deps) -> Self {
        Self { deps: Arc::new(deps.clone()), started: deps.clock.now() }
    }

    /// A process that answers is alive; no component is asked.
    pub(super) fn liveness(&self) -> Health {
        self.with_status(Status::Ok)
    }

    /// Whether new requests should come to this replica. The condition of Redis does not matter.
    pub(super) fn traffic(&self) -> Health {
        self.with_status(if self.deps.phase.is_draining() { Status::Draining } else { Status::Ok })
    }

    pub(super) fn health(&self) -> Health {
        self.with_status(self.deps.status(&self.deps.reasons()))
    }

    fn with_status(&self, status: Status) -> Health {
        Health {
            status,
            service: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: self.deps.clock.now() - self.started,
        }
    }

    /// `with_addresses` includes the addresses of Redis.
    pub(super) fn readiness(&self, with_addresses: bool) -> Readiness {
        let reasons = self.deps.reasons();
        let report = |redis: &Redis| {
            let report = redis.report();
            if with_addresses { report } else { RoleReport { address: None, ..report } }
        };
        Readiness {
            status: self.deps.status(&reasons),
            reasons,
            redis: self.deps.redis.distinct().map(report).collect(),
            parts: self.deps.component_health.members(),
            tasks: self.deps.tasks.states(),
        }
    }
}
