//! The health of components beside Redis, reported by the features that depend on them and shown by readiness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::UnixMillis;

/// The overall state of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HealthStatus)]
pub enum Status {
    Ok,
    /// Serving, but with reduced safety; the reasons say why.
    Degraded,
    /// Not serving.
    Unavailable,
    /// Shutting down: requests in flight are finished, new ones should go elsewhere.
    Draining,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HealthCondition)]
pub enum Condition {
    /// Requests are served, but with reduced safety.
    Degraded,
    /// Requests are not served.
    Down,
}

/// A reason why a component is not fully healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HealthFinding)]
pub struct Finding {
    pub condition: Condition,
    pub reason: String,
}

impl Finding {
    pub fn degraded(reason: String) -> Self {
        Self { condition: Condition::Degraded, reason }
    }

    pub fn down(reason: String) -> Self {
        Self { condition: Condition::Down, reason }
    }
}

/// One member of a component, such as one of several nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HealthPartMember)]
pub struct ComponentMember {
    /// The member's address, without credentials.
    pub name: String,
    /// A state from the component's own vocabulary.
    pub state: &'static str,
    /// When the member is expected to leave that state, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMillis>,
    /// When the service last heard from it, Unix milliseconds; absent if it only listens when asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard: Option<UnixMillis>,
}

/// A component as its feature last reported it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Component {
    pub members: Vec<ComponentMember>,
    pub findings: Vec<Finding>,
}

/// The last report of every component, by name.
#[derive(Clone, Debug, Default)]
pub struct ComponentHealth(Arc<Mutex<BTreeMap<&'static str, Component>>>);

impl ComponentHealth {
    /// Replaces the component's previous report.
    pub fn report(&self, name: &'static str, part: Component) {
        self.board().insert(name, part);
    }

    pub fn members(&self) -> BTreeMap<&'static str, Vec<ComponentMember>> {
        self.board().iter().map(|(name, part)| (*name, part.members.clone())).collect()
    }

    pub fn findings(&self) -> Vec<Finding> {
        self.findings_by_component().into_values().flatten().collect()
    }

    pub fn findings_by_component(&self) -> BTreeMap<&'static str, Vec<Finding>> {
        self.board().iter().map(|(name, part)| (*name, part.findings.clone())).collect()
    }

    fn board(&self) -> MutexGuard<'_, BTreeMap<&'static str, Component>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
