//! Everything that a feature may depend on.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::http::Extensions;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::cached::Cached;
use crate::clock::{Clock, UnixMillis};
use crate::computed::Computed;
use crate::config::Config;
use crate::events::Events;
use crate::http::problem::Problem;
use crate::lifecycle::offload::Offload;
use crate::lifecycle::{ComponentHealth, Condition, Finding, Phase, Status, Tasks};
use crate::redis::{RedisFault, RedisRoles};
use crate::tape::{Listing, Symbol};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// Shared services, cheap to clone.
#[derive(Clone, Debug)]
pub struct Deps {
    pub config: Config,
    /// The name of this replica of the service for people: the name of the machine, and the port.
    pub replica: Arc<str>,
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
    pub series: SeriesFeed,
    pub fold: Fold,
    pub tapes: Listing,
    pub cached: Cached,
    pub computed: Computed,
}

impl Deps {
    /// Why the service is not fully healthy, as the background checks of all parts last found it.
    pub fn reasons(&self) -> Vec<Finding> {
        let mut reasons: Vec<Finding> = self.redis.distinct().flat_map(|redis| redis.report().conditions()).collect();
        reasons.extend(self.component_health.findings());
        for (name, state) in self.tasks.states() {
            if let Some(error) = state.last_error {
                reasons.push(Finding::degraded(format!("task `{name}`: {error}")));
            }
        }
        reasons
    }

    /// The state of the service with these reasons.
    pub fn status(&self, reasons: &[Finding]) -> Status {
        if self.phase.is_draining() {
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

/// A value of the platform's series `series` at a time in Unix milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSample {
    pub series: String,
    pub timestamp: UnixMillis,
    pub value: f64,
}

/// Stores samples in the platform's series, for capabilities that feed them. The time-series capability provides it.
#[derive(Clone, Default)]
pub struct SeriesFeed(Arc<OnceLock<StoreSamples>>);

type StoreSamples = Box<dyn Fn(Vec<SeriesSample>) -> BoxFuture<'static, Result<(), RedisFault>> + Send + Sync>;

impl SeriesFeed {
    /// Provides the feed; the first provider counts.
    pub fn provide(&self, store: StoreSamples) {
        let _ = self.0.set(store);
    }

    /// Stores samples. The same samples can be stored again. Does nothing until there is a provider.
    ///
    /// # Errors
    /// [`RedisFault`]; some of the samples may be stored.
    pub async fn store(&self, samples: Vec<SeriesSample>) -> Result<(), RedisFault> {
        match self.0.get() {
            Some(store) => store(samples).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for SeriesFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeriesFeed")
    }
}

/// Folds all trades of a symbol that are on its tape, for capabilities that read what follows from them. The trades
/// capability provides it.
#[derive(Clone, Default)]
pub struct Fold(Arc<OnceLock<FoldTape>>);

type FoldTape = Box<dyn Fn(Symbol) -> BoxFuture<'static, Result<(), Problem>> + Send + Sync>;

impl Fold {
    /// Provides the fold; the first provider counts.
    pub fn provide(&self, fold: FoldTape) {
        let _ = self.0.set(fold);
    }

    /// Folds a tape. Does nothing until there is a provider.
    ///
    /// # Errors
    /// `fold-behind` if new trades come faster than the fold, or the problem of an unavailable Redis.
    pub async fn fold(&self, symbol: &Symbol) -> Result<(), Problem> {
        match self.0.get() {
            Some(fold) => fold(symbol.clone()).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fold")
    }
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
