//! All that a feature may ever be given.

use crate::clock::Clock;
use crate::config::Config;
use crate::lifecycle::{Phase, Tasks};
use crate::redis::RedisRoles;
use crate::telemetry::metrics::Metrics;

/// Shared parts, cheap to clone.
#[derive(Clone, Debug)]
pub struct Deps {
    pub config: Config,
    pub redis: RedisRoles,
    pub clock: Clock,
    pub tasks: Tasks,
    pub metrics: Metrics,
    pub phase: Phase,
}
