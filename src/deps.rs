//! Everything that a feature may depend on.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::Extensions;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::Config;
use crate::events::Events;
use crate::lifecycle::offload::Offload;
use crate::lifecycle::{ComponentHealth, Phase, Tasks};
use crate::redis::RedisRoles;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// Shared services, cheap to clone.
#[derive(Clone, Debug)]
pub struct Deps {
    pub config: Config,
    /// The configuration again after each reload, for features whose rules may change while they run.
    pub configs: watch::Sender<Config>,
    pub redis: RedisRoles,
    pub events: Events,
    pub clock: Clock,
    pub tasks: Tasks,
    pub offload: Offload,
    pub component_health: ComponentHealth,
    pub metrics: Metrics,
    pub traces: Traces,
    pub phase: Phase,
    pub shared: Shared,
}

/// What a feature's routes share with its layer around all routes: one value of each type.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Extensions>>);

impl Shared {
    /// The shared `T`; the first call builds it.
    ///
    /// # Errors
    /// Those of `build`; the next call tries again.
    pub fn get_or_build<T, E>(&self, build: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
    {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = shared.get::<T>() {
            return Ok(part.clone());
        }
        let part = build()?;
        shared.insert(part.clone());
        Ok(part)
    }
}
