//! Combines the reports of all components.

use std::sync::Arc;

use super::model::{Health, Readiness, Status};
use crate::clock::{Clock, UnixMillis};
use crate::deps::Deps;
use crate::lifecycle::{ComponentHealth, Condition, Finding, Phase, Tasks};
use crate::redis::RedisRoles;

/// Cheap to clone, as axum clones it for every request.
#[derive(Clone, Debug)]
pub(super) struct HealthService(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: RedisRoles,
    component_health: ComponentHealth,
    tasks: Tasks,
    phase: Phase,
    clock: Clock,
    started: UnixMillis,
}

impl HealthService {
    pub(super) fn new(deps: &Deps) -> Self {
        Self(Arc::new(Inner {
            redis: deps.redis.clone(),
            component_health: deps.component_health.clone(),
            tasks: deps.tasks.clone(),
            phase: deps.phase.clone(),
            clock: deps.clock.clone(),
            started: deps.clock.now(),
        }))
    }

    /// A process that answers is alive; no component is asked.
    pub(super) fn liveness(&self) -> Health {
        self.with_status(Status::Ok)
    }

    pub(super) fn health(&self) -> Health {
        self.with_status(self.status(&self.reasons()))
    }

    fn with_status(&self, status: Status) -> Health {
        Health {
            status,
            service: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: self.0.clock.now() - self.0.started,
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        let reasons = self.reasons();
        Readiness {
            status: self.status(&reasons),
            reasons,
            redis: self.0.redis.distinct().map(crate::redis::Redis::report).collect(),
            parts: self.0.component_health.members(),
            tasks: self.0.tasks.states(),
        }
    }

    fn reasons(&self) -> Vec<Finding> {
        let mut reasons: Vec<Finding> = self.0.redis.distinct().flat_map(|redis| redis.report().conditions()).collect();
        reasons.extend(self.0.component_health.findings());
        for (name, state) in self.0.tasks.states() {
            if let Some(error) = state.last_error {
                reasons.push(Finding::degraded(format!("task `{name}`: {error}")));
            }
        }
        reasons
    }

    fn status(&self, reasons: &[Finding]) -> Status {
        if self.0.phase.is_draining() {
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
