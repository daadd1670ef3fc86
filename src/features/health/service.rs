//! Combines the reports of all components.

use std::sync::Arc;

use super::model::{Health, Readiness, Status};
use crate::clock::UnixMillis;
use crate::deps::Deps;
use crate::lifecycle::{Condition, Finding};
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
        self.with_status(self.status(&self.reasons()))
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
        let reasons = self.reasons();
        let report = |redis: &Redis| {
            let report = redis.report();
            if with_addresses { report } else { RoleReport { address: None, ..report } }
        };
        Readiness {
            status: self.status(&reasons),
            reasons,
            redis: self.deps.redis.distinct().map(report).collect(),
            parts: self.deps.component_health.members(),
            tasks: self.deps.tasks.states(),
        }
    }

    fn reasons(&self) -> Vec<Finding> {
        let mut reasons: Vec<Finding> =
            self.deps.redis.distinct().flat_map(|redis| redis.report().conditions()).collect();
        reasons.extend(self.deps.component_health.findings());
        for (name, state) in self.deps.tasks.states() {
            if let Some(error) = state.last_error {
                reasons.push(Finding::degraded(format!("task `{name}`: {error}")));
            }
        }
        reasons
    }

    fn status(&self, reasons: &[Finding]) -> Status {
        if self.deps.phase.is_draining() {
            Status::Draining
        } else if reasons.iter().any(|reason| reason.condition == Condition::Down) {
            Status::Unavailable
        } else if reasons.is_empty() {
            Status::Ok
        } else {
            Status::Degraded
        }
    }
}
