//! All that a feature may ever be given.

use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::Config;
use crate::lifecycle::{Parts, Phase, Tasks};
use crate::redis::RedisRoles;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// Shared parts, cheap to clone.
#[derive(Clone, Debug)]
pub struct Deps {
    pub config: Config,
    /// The configuration again, whenever it is read anew; for features whose rules may change while they run.
    pub configs: watch::Sender<Config>,
    pub redis: RedisRoles,
    pub clock: Clock,
    pub tasks: Tasks,
    pub parts: Parts,
    pub metrics: Metrics,
    pub traces: Traces,
    pub phase: Phase,
}
