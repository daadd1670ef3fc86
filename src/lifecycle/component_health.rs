//! What rooms report of the parts that they depend on, for readiness: nobody has to know them to show them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::UnixMillis;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Served, but not as safely as it should be.
    Degraded,
    /// Not served.
    Down,
}

/// A reason not to be content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
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

/// One of the things of a kind that a part is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PartMember)]
pub struct ComponentMember {
    /// Its address, without credentials.
    pub name: String,
    /// A word of the part's own vocabulary.
    pub state: &'static str,
    /// When it is expected to leave that state, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMillis>,
}

/// A part, as its room last saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Component {
    pub members: Vec<ComponentMember>,
    pub findings: Vec<Finding>,
}

/// Every part's last report, by its name.
#[derive(Clone, Debug, Default)]
pub struct ComponentHealth(Arc<Mutex<BTreeMap<&'static str, Component>>>);

impl ComponentHealth {
    /// Takes the place of the part's report before.
    pub fn report(&self, name: &'static str, part: Component) {
        self.board().insert(name, part);
    }

    pub fn members(&self) -> BTreeMap<&'static str, Vec<ComponentMember>> {
        self.board().iter().map(|(name, part)| (*name, part.members.clone())).collect()
    }

    pub fn findings(&self) -> Vec<Finding> {
        self.board().values().flat_map(|part| part.findings.iter().cloned()).collect()
    }

    fn board(&self) -> MutexGuard<'_, BTreeMap<&'static str, Component>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
