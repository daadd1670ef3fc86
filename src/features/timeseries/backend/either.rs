//! The backend of the deployment, whichever it is: the one place that knows that there are two.

use std::sync::Arc;

use super::choice::{Choice, Kind};
use super::module::ModuleBackend;
use super::native::{Batch, NativeBackend};
use super::{BatchOutcome, Description, Order, Stretch, Window};
use crate::deps::Deps;
use crate::redis::{FencingToken, Key, RedisFault};

use super::super::config::TimeseriesConfig;
use super::super::error::TimeseriesError;
use super::super::families::Families;
use super::super::metrics::TimeseriesMetrics;
use super::super::model::Alteration;
use super::super::scripts::Created;
use super::super::series::{Definition, Sample, SeriesKey};

/// Keeps series. Every method fails with the fault of Redis when it is not known which backend has them.
#[derive(Clone, Debug)]
pub(in crate::features::timeseries) struct Backend {
    native: NativeBackend,
    module: ModuleBackend,
    choice: Choice,
}

impl Backend {
    /// Prepares both, and starts what they do behind the writers' backs.
    pub(in crate::features::timeseries) fn new(
        deps: &Deps,
        families: Arc<Families>,
        metrics: TimeseriesMetrics,
        config: &TimeseriesConfig,
    ) -> Self {
        let (redis, clock) = (deps.redis.state.clone(), deps.clock.clone());
        let choice = Choice::new(redis.clone(), config);
        choice.plan(deps);
        let module = ModuleBackend::new(redis.clone(), clock.clone(), Arc::clone(&families), metrics.clone(), config);
        let native = NativeBackend::new(redis, clock, families, metrics, config);
        native.plan(&deps.tasks);
        Self { native, module, choice }
    }

    /// The native backend, for what lies beside its samples, whether or not it has any.
    pub(in crate::features::timeseries) fn beside(&self) -> &NativeBackend {
        &self.native
    }

    /// The native backend, if it keeps the samples.
    pub(in crate::features::timeseries) async fn native(&self) -> Result<Option<&NativeBackend>, RedisFault> {
        Ok(match self.choice.kind().await? {
            Kind::Native => Some(&self.native),
            Kind::Module => None,
        })
    }

    /// The hash with the definition of a series.
    pub(in crate::features::timeseries) async fn definition(&self, key: &SeriesKey) -> Result<Key, RedisFault> {
        let keys = self.native.keys(key);
        Ok(match self.choice.kind().await? {
            Kind::Native => keys.series,
            Kind::Module => keys.definition,
        })
    }

    /// Creates the series unless it is there.
    pub(in crate::features::timeseries) async fn create(
        &self,
        key: &SeriesKey,
        definition: &Definition,
        token: Option<FencingToken>,
    ) -> Result<Created, RedisFault> {
        match self.choice.kind().await? {
            Kind::Native => self.native.create(key, definition, token).await,
            Kind::Module => self.module.create(key, definition, token).await,
        }
    }

    /// Changes the given parts of the definition; `false`: there is no such series.
    pub(in crate::features::timeseries) async fn alter(
        &self,
        key: &SeriesKey,
        change: &Alteration,
        token: Option<FencingToken>,
    ) -> Result<bool, RedisFault> {
        match self.choice.kind().await? {
            Kind::Native => self.native.alter(key, change, token).await,
            Kind::Module => self.module.alter(key, change, token).await,
        }
    }

    /// The series as it is kept; `None`: there is none.
    pub(in crate::features::timeseries) async fn describe(
        &self,
        key: &SeriesKey,
    ) -> Result<Option<(Kind, Description)>, TimeseriesError> {
        let kind = self.choice.kind().await?;
        let described = match kind {
            Kind::Native => self.native.describe(key).await?,
            Kind::Module => self.module.describe(key).await?,
        };
        Ok(described.map(|description| (kind, description)))
    }

    /// Deletes the series; `false`: there was none.
    pub(in crate::features::timeseries) async fn delete(
        &self,
        key: &SeriesKey,
        token: Option<FencingToken>,
    ) -> Result<bool, RedisFault> {
        match self.choice.kind().await? {
            Kind::Native => self.native.delete(key, token).await,
            Kind::Module => self.module.delete(key, token).await,
        }
    }

    /// Deletes a window's samples and says how many; `None`: there is no such series.
    pub(in crate::features::timeseries) async fn delete_range(
        &self,
        key: &SeriesKey,
        window: Window,
        token: Option<FencingToken>,
    ) -> Result<Option<u64>, RedisFault> {
        match self.choice.kind().await? {
            Kind::Native => self.native.delete_range(key, window, token).await,
            Kind::Module => self.module.delete_range(key, window, token).await,
        }
    }

    /// The newest sample; `None`: there is no such series; `Some(None)`: it is empty.
    pub(in crate::features::timeseries) async fn latest(
        &self,
        key: &SeriesKey,
    ) -> Result<Option<Option<Sample>>, TimeseriesError> {
        match self.choice.kind().await? {
            Kind::Native => self.native.latest(key).await,
            Kind::Module => self.module.latest(key).await,
        }
    }

    /// Reads the window's next samples from the end that `order` names; `None`: there is no such series.
    ///
    /// One stretch is read in one atomic step; it may have more than `wanted` samples, or fewer than the window.
    pub(in crate::features::timeseries) async fn read(
        &self,
        key: &SeriesKey,
        window: Window,
        order: Order,
        wanted: usize,
    ) -> Result<Option<Stretch>, TimeseriesError> {
        match self.choice.kind().await? {
            Kind::Native => self.native.read(key, window, order, wanted).await,
            Kind::Module => self.module.read(key, window, order, wanted).await,
        }
    }

    /// Adds batches, pipelined; each has an outcome of its own, in the given order. No two may be of one series.
    pub(in crate::features::timeseries) async fn append(
        &self,
        batches: &[Batch<'_>],
        token: Option<FencingToken>,
    ) -> Vec<BatchOutcome> {
        match self.choice.kind().await {
            Ok(Kind::Native) => self.native.append(batches, token).await,
            Ok(Kind::Module) => self.module.append(batches, token).await,
            Err(fault) => batches.iter().map(|_| BatchOutcome::failed(fault.clone().not_applied())).collect(),
        }
    }
}
