//! Wire types of the health routes.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::lifecycle::{ComponentMember, Finding, Status, TaskState};
use crate::redis::RoleReport;

/// The short form.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    pub status: Status,
    pub service: &'static str,
    pub version: &'static str,
    pub uptime_ms: i64,
}

/// The short form for clients of `InfluxDB`, which accept no other words.
#[derive(Debug, Serialize)]
pub(super) struct InfluxHealth {
    name: &'static str,
    message: &'static str,
    /// `pass` or `fail`.
    status: &'static str,
    version: &'static str,
}

impl From<Health> for InfluxHealth {
    fn from(health: Health) -> Self {
        let (status, message) = match health.status {
            Status::Ok => ("pass", "ready"),
            Status::Degraded => ("pass", "degraded"),
            Status::Unavailable => ("fail", "unavailable"),
            Status::Draining => ("fail", "draining"),
        };
        Self { name: health.service, message, status, version: health.version }
    }
}

/// The complete form: every component and every reason.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HealthReadiness)]
pub(super) struct Readiness {
    pub status: Status,
    /// Why the status is not `ok`; empty if it is.
    pub reasons: Vec<Finding>,
    /// Each Redis server in use; a single entry if no role has a server of its own.
    pub redis: Vec<RoleReport>,
    /// Other components that a capability depends on, if configured. A node in `locks.nodes` is `voting`, `quarantined`
    /// (it may have lost its votes) or `unreachable`.
    pub parts: BTreeMap<&'static str, Vec<ComponentMember>>,
    pub tasks: BTreeMap<&'static str, TaskState>,
}
