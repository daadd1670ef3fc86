//! Wire types of health.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::lifecycle::{ComponentMember, Finding, TaskState};
use crate::redis::RoleReport;

/// The overall state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    /// Serving, but something is not as safe as it should be.
    Degraded,
    /// Not serving.
    Unavailable,
    /// Shutting down: finish what you have, send nothing new.
    Draining,
}

/// The short answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    pub status: Status,
    pub service: &'static str,
    pub version: &'static str,
    pub uptime_ms: i64,
}

/// The long answer: every part and every reason.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    pub status: Status,
    /// Why the status is not `ok`; empty when it is.
    pub reasons: Vec<Finding>,
    /// Each Redis server in use; one entry when no role has a server of its own.
    pub redis: Vec<RoleReport>,
    /// What else a capability depends on, where it is configured: `locks.nodes` are `voting`, `quarantined` (they may have
    /// forgotten their votes) or `unreachable`.
    pub parts: BTreeMap<&'static str, Vec<ComponentMember>>,
    pub tasks: BTreeMap<&'static str, TaskState>,
}
