//! What keeps the series of the deployment: the one place that knows that there are two backends.

use std::sync::Arc;

use super::super::description::Description;
use super::super::window::{Order, Window};
use super::module::ModuleBackend;
use super::native::{NativeBackend, SampleBatch};
use super::queue::Queue;
use super::{BatchOutcome, SamplePage};
use crate::deps::Deps;
use crate::redis::{Backend, BackendRecord, Fence, FencingToken, Redis, RedisFault, StoredKind};

use super::super::config::TimeseriesConfig;
use super::super::error::TimeseriesError;
use super::super::families::Families;
use super::super::keys::{self, SeriesKeys};
use super::super::metrics::TimeseriesMetrics;
use super::super::model::Alteration;
use super::super::rollup_state::RollupState;
use super::super::scripts::Created;
use super::super::series::{Definition, Sample, SeriesKey};

pub(in crate::features::timeseries) static SERIES: StoredKind = StoredKind {
    feature: "timeseries",
    things: "series",
    module: "RedisTimeSeries",
    command: "TS.ADD",
    task: "timeseries.backend",
};

/// Keeps series. Every method fails with the fault of Redis when it is not known which backend has them.
#[derive(Clone, Debug)]
pub(in crate::features::timeseries) struct Store {
    redis: Redis,
    native: NativeBackend,
    module: ModuleBackend,
    home: BackendRecord,
    /// Series whose rollups have something to do.
    stale: Queue<SeriesKey>,
}

impl Store {
    /// Prepares both backends, and starts what is done behind the writers' backs.
    pub(in crate::features::timeseries) fn new(
        deps: &Deps,
        families: Arc<Families>,
        metrics: TimeseriesMetrics,
        config: &TimeseriesConfig,
    ) -> Self {
        let (redis, clock) = (deps.redis.state.clone(), deps.clock.clone());
        let home = BackendRecord::new(redis.clone(), &SERIES, keys::record(redis.keys()), config.backend);
        home.plan(&deps.tasks, &deps.component_health);
        let module = ModuleBackend::new(redis.clone(), clock.clone(), Arc::clone(&families), metrics.clone(), config);
        let native = NativeBackend::new(redis.clone(), clock, families, metrics, config);
        native.plan(&deps.tasks);
        Self { redis, native, module, home, stale: Queue::default() }
    }

    /// Where series and their rollups are kept.
    pub(in crate::features::timeseries) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The queue of series whose rollups have something to do.
    pub(in crate::features::timeseries) fn stale(&self) -> &Queue<SeriesKey> {
        &self.stale
    }

    /// Has the series' rollups filled soon.
    pub(in crate::features::timeseries) fn note_stale(&self, key: &SeriesKey) {
        self.stale.note(key.as_str(), || key.clone());
    }

    /// The keys of a series.
    pub(in crate::features::timeseries) async fn keys(&self, key: &SeriesKey) -> Result<SeriesKeys, RedisFault> {
        Ok(match self.home.backend().await? {
            Backend::Native => self.native.keys(key),
            Backend::Module => self.module.keys(key),
        })
    }

    /// What a caller with a token has to pass to change the series.
    pub(in crate::features::timeseries) fn fence(
        &self,
        keys: &SeriesKeys,
        token: Option<FencingToken>,
    ) -> Option<Fence> {
        token.map(|token| self.redis.fence(keys.fence(), token))
    }

    /// Creates the series unless it is there.
    pub(in crate::features::timeseries) async fn create(
        &self,
        key: &SeriesKey,
        definition: &Definition,
        token: Option<FencingToken>,
    ) -> Result<Created, RedisFault> {
        match self.home.backend().await? {
            Backend::Native => self.native.create(key, definition, token).await,
            Backend::Module => self.module.create(key, definition, token).await,
        }
    }

    /// Changes the given parts of the definition; `false`: there is no such series.
    pub(in crate::features::timeseries) async fn alter(
        &self,
        key: &SeriesKey,
        change: &Alteration,
        token: Option<FencingToken>,
    ) -> Result<bool, RedisFault> {
        let found = match self.home.backend().await? {
            Backend::Native => self.native.alter(key, change, token).await?,
            Backend::Module => self.module.alter(key, change, token).await?,
        };
        if change.retention_ms.is_some() {
            self.note_stale(key);
        }
        Ok(found)
    }

    /// The series as it is kept, and by what; `None`: there is none.
    pub(in crate::features::timeseries) async fn describe(
        &self,
        key: &SeriesKey,
    ) -> Result<Option<(Backend, Description)>, TimeseriesError> {
        let backend = self.home.backend().await?;
        let described = match backend {
            Backend::Native => self.native.describe(key).await?,
            Backend::Module => self.module.describe(key).await?,
        };
        Ok(described.map(|description| (backend, description)))
    }

    /// Deletes the series; `false`: there was none.
    pub(in crate::features::timeseries) async fn delete(
        &self,
        key: &SeriesKey,
        token: Option<FencingToken>,
    ) -> Result<bool, RedisFault> {
        match self.home.backend().await? {
            Backend::Native => self.native.delete(key, token).await,
            Backend::Module => self.module.delete(key, token).await,
        }
    }

    /// Deletes a window's samples and says how many; `None`: there is no such series.
    pub(in crate::features::timeseries) async fn delete_range(
        &self,
        key: &SeriesKey,
        window: Window,
        token: Option<FencingToken>,
    ) -> Result<Option<u64>, RedisFault> {
        let deleted = match self.home.backend().await? {
            Backend::Native => self.native.delete_range(key, window, token).await?,
            Backend::Module => self.module.delete_range(key, window, token).await?,
        };
        if deleted.is_some_and(|deleted| deleted > 0) {
            self.note_stale(key);
        }
        Ok(deleted)
    }

    /// The newest sample; `None`: there is no such series; `Some(None)`: it is empty.
    pub(in crate::features::timeseries) async fn latest(
        &self,
        key: &SeriesKey,
    ) -> Result<Option<Option<Sample>>, TimeseriesError> {
        match self.home.backend().await? {
            Backend::Native => self.native.latest(key).await,
            Backend::Module => self.module.latest(key).await,
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
    ) -> Result<Option<SamplePage>, TimeseriesError> {
        match self.home.backend().await? {
            Backend::Native => self.native.read(key, window, order, wanted).await,
            Backend::Module => self.module.read(key, window, order, wanted).await,
        }
    }

    /// Adds batches, pipelined; each has an outcome of its own, in the given order. No two may be of one series.
    pub(in crate::features::timeseries) async fn append(
        &self,
        batches: &[SampleBatch<'_>],
        token: Option<FencingToken>,
    ) -> Vec<BatchOutcome> {
        let outcomes = match self.home.backend().await {
            Ok(Backend::Native) => self.native.append(batches, token).await,
            Ok(Backend::Module) => self.module.append(batches, token).await,
            Err(fault) => batches.iter().map(|_| BatchOutcome::failed(fault.clone().not_applied())).collect(),
        };
        for (batch, outcome) in batches.iter().zip(&outcomes) {
            if outcome.stale {
                self.note_stale(batch.key);
            }
        }
        outcomes
    }

    /// What the rollups of a series hold; `None`: there is no such series; `Some(None)`: it has none.
    pub(in crate::features::timeseries) async fn rollups(
        &self,
        keys: &SeriesKeys,
    ) -> Result<Option<Option<RollupState>>, RedisFault> {
        match self.home.backend().await? {
            Backend::Native => self.native.rollups(keys).await,
            Backend::Module => self.module.rollups(keys).await,
        }
    }

    /// Has the rollups of a series hold what has settled by now.
    pub(in crate::features::timeseries) async fn advance_rollups(&self, keys: &SeriesKeys) -> Result<(), RedisFault> {
        match self.home.backend().await? {
            Backend::Native => self.native.advance_rollups(keys).await,
            Backend::Module => self.module.advance_rollups(keys).await,
        }
    }
}
