//! The operations on one series, in the layout that the deployment uses.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use redis::FromRedisValue;

use super::super::chunk::{self, CHUNK_SAMPLES};
use super::super::error::TimeseriesError;
use super::super::families::Families;
use super::super::keys::{self, SeriesKeys};
use super::super::metrics::TimeseriesMetrics;
use super::super::model::Alteration;
use super::super::rollup_state::RollupState;
use super::super::scripts::{self, LatestSample, Reach, WindowChunks};
use super::super::series::{Definition, Description, Sample, SeriesKey};
use super::super::window::{Order, Window};
use super::chunk_packer::ChunkPacker;
use super::pending_series::PendingSeries;
use crate::clock::Clock;
use crate::lifecycle::{ComponentHealth, Tasks};
use crate::redis::{
    Backend, BackendPreference, BackendRecord, Fence, FencingToken, Outcome, Redis, RedisFault, ScriptCall, StoredKind,
};

static SERIES: StoredKind = StoredKind {
    feature: "timeseries",
    things: "series",
    module: "RedisTimeSeries",
    command: "TS.ADD",
    task: "timeseries.backend",
};

/// The most sealed chunks that one call deletes: 64 of 512 samples take about a millisecond.
const DELETE_CHUNKS: usize = 64;

/// The most chunks of one read: half a MiB, which takes Redis a fraction of a millisecond.
const READ_CHUNKS: usize = 64;

/// The most chunks of each series that one round trip reads: two weeks of 15-minute readings and the head.
const SHARED_READ_CHUNKS: usize = 2;

/// A page of raw samples.
#[derive(Clone, Debug, Default)]
pub struct SamplePage {
    /// In the requested order, within the window and retention.
    pub samples: Vec<Sample>,
    /// The part of the window that is still to be read; `None` at its end.
    pub rest: Option<Window>,
}

/// Stores series. Every method fails with a [`RedisFault`] while the layout of the deployment is not known.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) redis: Redis,
    pub(super) clock: Clock,
    families: Arc<Families>,
    pub(super) metrics: TimeseriesMetrics,
    pub(super) packer: ChunkPacker,
    backend_record: BackendRecord,
    stale_rollups: Arc<PendingSeries<SeriesKey>>,
    /// When the log last named samples that were refused for their time.
    pub(super) warned: Arc<AtomicI64>,
}

impl Store {
    pub fn new(
        redis: Redis,
        clock: Clock,
        families: Arc<Families>,
        metrics: TimeseriesMetrics,
        preference: BackendPreference,
    ) -> Self {
        Self {
            packer: ChunkPacker::new(redis.clone(), metrics.clone()),
            backend_record: BackendRecord::new(redis.clone(), &SERIES, keys::record(redis.keys()), preference),
            stale_rollups: Arc::default(),
            warned: Arc::default(),
            redis,
            clock,
            families,
            metrics,
        }
    }

    /// Plans the background tasks: following the record of the layout, and packing chunks.
    pub fn plan(&self, tasks: &Tasks, health: &ComponentHealth) {
        self.backend_record.plan(tasks, health);
        self.packer.plan(tasks);
    }

    pub fn families(&self) -> &Families {
        &self.families
    }

    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The record of the layout that the deployment uses.
    pub fn backend_record(&self) -> &BackendRecord {
        &self.backend_record
    }

    /// The series whose rollups have something to fill.
    pub fn stale_rollups(&self) -> &PendingSeries<SeriesKey> {
        &self.stale_rollups
    }

    /// Queues the series so that its rollups are filled soon.
    pub fn note_stale(&self, key: &SeriesKey) {
        self.stale_rollups.add(key.as_str(), || key.clone());
    }

    pub(super) async fn layout(&self) -> Result<Backend, RedisFault> {
        self.backend_record.backend().await
    }

    /// The keys of a series.
    pub async fn keys(&self, key: &SeriesKey) -> Result<SeriesKeys, RedisFault> {
        Ok(self.keys_in(self.layout().await?, key))
    }

    /// The keys of a series in one layout.
    pub fn keys_in(&self, layout: Backend, key: &SeriesKey) -> SeriesKeys {
        SeriesKeys::new(self.redis.keys(), &self.families, key, layout)
    }

    /// The fence that a client with a token must pass to change the series.
    pub fn fence(&self, keys: &SeriesKeys, token: Option<FencingToken>) -> Option<Fence> {
        token.map(|token| self.redis.fence(keys.fence(), token))
    }

    async fn call<Raw: FromRedisValue, Reply>(&self, call: ScriptCall<Raw, Reply>) -> Result<Reply, RedisFault> {
        let _timer = self.metrics.time(call.script());
        self.redis.call(call).await
    }

    /// Makes several calls of one script in one round trip.
    pub(super) async fn call_all<Raw: FromRedisValue, Reply>(
        &self,
        calls: Vec<ScriptCall<Raw, Reply>>,
    ) -> Result<Vec<Result<Reply, RedisFault>>, RedisFault> {
        let _timer = calls.first().and_then(|call| self.metrics.time(call.script()));
        self.redis.call_all(calls).await
    }

    /// Creates the series unless it exists. Returns whether it is new, or `None` if it exists with another definition.
    pub async fn create(
        &self,
        key: &SeriesKey,
        definition: &Definition,
        token: Option<FencingToken>,
    ) -> Result<Option<bool>, RedisFault> {
        let keys = self.keys(key).await?;
        let fence = self.fence(&keys, token);
        self.call(scripts::create(&keys, definition, &self.clock.redis_arg(), fence.as_ref())).await
    }

    /// Changes parts of the definition. Returns `false` if the series does not exist.
    pub async fn alter(
        &self,
        key: &SeriesKey,
        change: &Alteration,
        token: Option<FencingToken>,
    ) -> Result<bool, RedisFault> {
        let keys = self.keys(key).await?;
        let exists = self
            .call(scripts::alter(&keys, change, &self.clock.redis_arg(), self.fence(&keys, token).as_ref()))
            .await?;
        if change.retention_ms.is_some() {
            self.note_stale(key);
        }
        Ok(exists)
    }

    /// Describes the series. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// [`TimeseriesError`]; its fault is of the kind `WrongType` if the key holds something else.
    pub async fn describe(&self, keys: &SeriesKeys) -> Result<Option<Description>, TimeseriesError> {
        let Some((mut description, partly_expired)) =
            self.call(scripts::describe(keys, &self.clock.redis_arg())).await?
        else {
            return Ok(None);
        };
        if let (Some((floor, last)), false) = (description.ends, partly_expired.is_empty()) {
            let mut samples = Vec::new();
            chunk::read(&partly_expired, Window { from: i64::MIN, to: i64::MAX }, &mut samples)?;
            let expired = samples.partition_point(|sample| sample.timestamp < floor);
            description.count -= u64::try_from(expired).unwrap_or_default();
            description.ends = samples.get(expired).map(|first| (first.timestamp, last));
        }
        Ok(Some(description))
    }

    /// Forgets the tokens that the series has seen; `by` is the client's name.
    pub async fn reset_fence(&self, key: &SeriesKey, by: &str) -> Result<(), RedisFault> {
        self.redis.reset_fence(&self.keys(key).await?.fence(), by).await
    }

    /// Deletes the series. Returns `false` if it does not exist.
    pub async fn delete(&self, key: &SeriesKey, token: Option<FencingToken>) -> Result<bool, RedisFault> {
        let keys = self.keys(key).await?;
        self.call(scripts::delete(&keys, self.fence(&keys, token).as_ref())).await
    }

    /// Deletes the samples of a window and returns their number, or `None` if the series does not exist.
    ///
    /// A wide window takes several calls, each atomic and each with the fence. After a fault between two of them, a part of
    /// the samples is deleted.
    pub async fn delete_range(
        &self,
        key: &SeriesKey,
        window: Window,
        token: Option<FencingToken>,
    ) -> Result<Option<u64>, RedisFault> {
        let keys = self.keys(key).await?;
        let deleted = self.delete_chunks(&keys, window, self.fence(&keys, token).as_ref()).await?;
        if deleted.is_some_and(|deleted| deleted > 0) {
            self.note_stale(key);
        }
        Ok(deleted)
    }

    async fn delete_chunks(
        &self,
        keys: &SeriesKeys,
        window: Window,
        fence: Option<&Fence>,
    ) -> Result<Option<u64>, RedisFault> {
        let (mut total, mut unpacked) = (0, false);
        loop {
            let call = scripts::delete_range(keys, window, DELETE_CHUNKS, &self.clock.redis_arg(), fence);
            let deletion = self.call(call).await.map_err(|fault| after_deleting(total, fault))?;
            let Some(deletion) = deletion else {
                // Unless this is the first call, another client deleted the series between two calls.
                return Ok(Some(total).filter(|total| *total > 0));
            };
            total += deletion.deleted;
            if deletion.done {
                if unpacked {
                    self.packer.note(keys);
                }
                return Ok(Some(total));
            }
            if !deletion.packed.is_empty() {
                let unpacking = self.packer.unpack(&[(keys, &deletion.packed)]).await;
                unpacking.map_err(|fault| after_deleting(total, fault))?;
                unpacked = true;
            }
        }
    }

    /// Reads the newest sample.
    pub async fn latest(&self, keys: &SeriesKeys) -> Result<LatestSample, RedisFault> {
        self.call(scripts::latest(keys)).await
    }

    /// Reads the next samples of a window, from the end that `order` names. Returns `None` if the series does not exist.
    ///
    /// A page is read in one atomic step. It may have more than `wanted` samples, and fewer than the window even if that has
    /// more: it ends after [`READ_CHUNKS`] chunks.
    pub async fn read(
        &self,
        keys: &SeriesKeys,
        window: Window,
        order: Order,
        wanted: usize,
        reach: Reach,
    ) -> Result<Option<SamplePage>, TimeseriesError> {
        let limit = read_limit(keys, wanted, READ_CHUNKS);
        let call = scripts::read(keys, window, order, limit, reach, &self.clock.redis_arg());
        self.call(call).await?.map(|found| sample_page(keys, window, order, &found)).transpose()
    }

    /// Reads the visible samples of a window of several series in one round trip, as [`Store::read`] does for one; the pages
    /// are shorter. Returns a result for each series, in their order.
    pub async fn read_all(
        &self,
        series: &[SeriesKeys],
        window: Window,
        order: Order,
        wanted: usize,
    ) -> Result<Vec<Result<Option<SamplePage>, TimeseriesError>>, RedisFault> {
        let now = self.clock.redis_arg();
        let call = |keys: &SeriesKeys| {
            let limit = read_limit(keys, wanted, SHARED_READ_CHUNKS);
            scripts::read(keys, window, order, limit, Reach::Visible, &now)
        };
        let replies = self.call_all(series.iter().map(call).collect()).await?;
        let page = |(keys, reply): (&SeriesKeys, Result<Option<WindowChunks>, RedisFault>)| {
            reply?.map(|found| sample_page(keys, window, order, &found)).transpose()
        };
        Ok(series.iter().zip(replies).map(page).collect())
    }

    /// Reads the state of the rollups of a series, which is empty if it has none. Returns `None` if the series does not
    /// exist.
    pub async fn rollups(&self, keys: &SeriesKeys) -> Result<Option<RollupState>, RedisFault> {
        self.call(scripts::read_rollups(keys, &self.clock.redis_arg())).await
    }

    /// Moves forward the time before which the rollups of a series are to be filled.
    pub async fn advance_rollups(&self, keys: &SeriesKeys) -> Result<(), RedisFault> {
        self.call(scripts::advance_rollups(keys, &self.clock.redis_arg())).await.map(|_| ())
    }
}

/// How many sealed chunks a read returns at most, or in the module how many samples.
fn read_limit(keys: &SeriesKeys, wanted: usize, chunks: usize) -> usize {
    match keys.layout {
        Backend::Native => (wanted / CHUNK_SAMPLES).saturating_add(2).min(chunks),
        Backend::Module => wanted.min(chunks * CHUNK_SAMPLES),
    }
}

/// The samples of the chunks that a read of a window found.
fn sample_page(
    keys: &SeriesKeys,
    window: Window,
    order: Order,
    found: &WindowChunks,
) -> Result<SamplePage, TimeseriesError> {
    let visible = Window { from: window.from.max(found.floor), to: window.to };
    let mut samples = Vec::with_capacity(match keys.layout {
        Backend::Native => found.chunks.len() * CHUNK_SAMPLES,
        Backend::Module => found.chunks.iter().map(Vec::len).sum::<usize>() / chunk::RECORD,
    });
    // The end of the last chunk that was read, whether or not it is in the window.
    let mut reached = None;
    for bytes in &found.chunks {
        let start = samples.len();
        let (first, last) = chunk::read(bytes, visible, &mut samples)?;
        match order {
            Order::Asc => reached = Some(last),
            Order::Desc => {
                reached = Some(first);
                samples.get_mut(start..).unwrap_or_default().reverse();
            }
        }
    }
    let rest = reached.filter(|_| !found.done).map(|timestamp| match order {
        Order::Asc => Window { from: timestamp + 1, to: visible.to },
        Order::Desc => Window { from: visible.from, to: timestamp - 1 },
    });
    Ok(SamplePage { samples, rest: rest.filter(|rest| rest.from <= rest.to) })
}

/// The fault of a later step of a deletion: its outcome is unknown if a part was deleted before.
fn after_deleting(deleted: u64, mut fault: RedisFault) -> RedisFault {
    if deleted > 0 {
        fault.outcome = Outcome::Unknown;
    }
    fault
}
