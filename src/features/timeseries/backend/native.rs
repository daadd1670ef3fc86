//! Series on Redis's own types: an open head and sealed chunks of fixed records, written by scripts.

use std::sync::Arc;

use super::super::chunk;
use super::super::description::Description;
use super::super::window::{Order, Window};
use super::packing::Packing;
use super::{BatchOutcome, SamplePage};
use crate::clock::Clock;
use crate::lifecycle::Tasks;
use crate::redis::{Fence, FencingToken, KeySpace, Outcome, Redis, RedisFault, ScriptCall};

use super::super::config::TimeseriesConfig;
use super::super::error::TimeseriesError;
use super::super::families::Families;
use super::super::keys::SeriesKeys;
use super::super::metrics::TimeseriesMetrics;
use super::super::model::Alteration;
use super::super::rollup_state::RollupState;
use super::super::scripts::{
    Advance, Alter, Append, Create, Created, Delete, DeleteRange, Describe, Latest, Read, ReadState,
};
use super::super::series::{Definition, DuplicatePolicy, Sample, SeriesKey};

/// Sealed chunks that one call may delete: 64 of 512 samples take about a millisecond.
const DELETE_CHUNKS: usize = 64;

/// Samples that travel in one exchange at most: out of order they take Redis some 20 ms.
const EXCHANGE_SAMPLES: usize = 16_384;

/// A batch on its way to its series.
#[derive(Debug)]
pub(in crate::features::timeseries) struct SampleBatch<'a> {
    pub key: &'a SeriesKey,
    /// Ascending, equal timestamps in the caller's order; at least one, at most `timeseries.batch_samples`.
    pub samples: &'a [Sample],
    /// What holds for timestamps that are there already, instead of the series' own policy.
    pub policy: Option<DuplicatePolicy>,
}

#[derive(Clone, Debug)]
pub(in crate::features::timeseries) struct NativeBackend {
    redis: Redis,
    clock: Clock,
    families: Arc<Families>,
    metrics: TimeseriesMetrics,
    packing: Packing,
    chunk_samples: usize,
    read_chunks: usize,
    exchange_batches: usize,
    min_life_ms: u64,
}

impl NativeBackend {
    pub(in crate::features::timeseries) fn new(
        redis: Redis,
        clock: Clock,
        families: Arc<Families>,
        metrics: TimeseriesMetrics,
        config: &TimeseriesConfig,
    ) -> Self {
        Self {
            packing: Packing::new(redis.clone(), metrics.clone()),
            redis,
            clock,
            families,
            metrics,
            chunk_samples: config.chunk_samples,
            read_chunks: config.read_chunks,
            exchange_batches: config.exchange_batches,
            min_life_ms: config.min_life.as_millis(),
        }
    }

    pub(in crate::features::timeseries) fn keys(&self, key: &SeriesKey) -> SeriesKeys {
        SeriesKeys::new(self.space(), &self.families, key)
    }

    /// Starts packing with the service.
    pub(in crate::features::timeseries) fn plan(&self, tasks: &Tasks) {
        self.packing.plan(tasks);
    }

    fn space(&self) -> &KeySpace {
        self.redis.keys()
    }

    fn fence(&self, keys: &SeriesKeys, token: Option<FencingToken>) -> Option<Fence> {
        token.map(|token| self.redis.fence(keys.fence(), token))
    }

    async fn call<S: ScriptCall>(&self, call: &S) -> Result<S::Reply, RedisFault> {
        let _timer = self.metrics.time(S::SCRIPT);
        self.redis.call(call).await
    }

    /// Creates the series unless it is there.
    pub(in crate::features::timeseries) async fn create(
        &self,
        key: &SeriesKey,
        definition: &Definition,
        token: Option<FencingToken>,
    ) -> Result<Created, RedisFault> {
        let (keys, now) = (self.keys(key), self.clock.redis_arg());
        let fence = self.fence(&keys, token);
        let (min_life_ms, fence) = (self.min_life_ms, fence.as_ref());
        self.call(&Create { keys: &keys, definition, min_life_ms, now: &now, fence }).await
    }

    /// Changes the given parts of the definition; `false`: there is no such series.
    pub(in crate::features::timeseries) async fn alter(
        &self,
        key: &SeriesKey,
        change: &Alteration,
        token: Option<FencingToken>,
    ) -> Result<bool, RedisFault> {
        let keys = self.keys(key);
        let fence = self.fence(&keys, token);
        let alter = Alter {
            keys: &keys,
            retention_ms: change.retention_ms.map(|retention| retention.0),
            duplicate_policy: change.duplicate_policy,
            labels: change.labels.as_ref(),
            min_life_ms: self.min_life_ms,
            fence: fence.as_ref(),
        };
        self.call(&alter).await
    }

    pub(in crate::features::timeseries) async fn describe(
        &self,
        key: &SeriesKey,
    ) -> Result<Option<Description>, TimeseriesError> {
        let Some((mut description, cut)) = self.call(&Describe(&self.keys(key))).await? else { return Ok(None) };
        if let (Some((floor, last)), false) = (description.ends, cut.is_empty()) {
            let (mut all, mut visible) = (Vec::new(), Vec::new());
            chunk::read(&cut, Window { from: i64::MIN, to: i64::MAX }, &mut all)?;
            chunk::read(&cut, Window { from: floor, to: i64::MAX }, &mut visible)?;
            description.count -= u64::try_from(all.len() - visible.len()).unwrap_or_default();
            description.ends = visible.first().map(|first| (first.timestamp, last));
        }
        Ok(Some(description))
    }

    /// Deletes the series; `false`: there was none.
    pub(in crate::features::timeseries) async fn delete(
        &self,
        key: &SeriesKey,
        token: Option<FencingToken>,
    ) -> Result<bool, RedisFault> {
        let keys = self.keys(key);
        self.call(&Delete { keys: &keys, fence: self.fence(&keys, token).as_ref() }).await
    }

    /// Deletes a window's samples and says how many; `None`: there is no such series.
    ///
    /// A wide window takes several calls, each atomic and each guarded. A fault between them leaves a part deleted.
    pub(in crate::features::timeseries) async fn delete_range(
        &self,
        key: &SeriesKey,
        window: Window,
        token: Option<FencingToken>,
    ) -> Result<Option<u64>, RedisFault> {
        let keys = self.keys(key);
        let fence = self.fence(&keys, token);
        let (mut total, mut unpacked) = (0, false);
        loop {
            let call = DeleteRange { keys: &keys, window, limit: DELETE_CHUNKS, fence: fence.as_ref() };
            let deletion = self.call(&call).await.map_err(|fault| after(total, fault))?;
            let Some(deletion) = deletion else {
                // Deleted by somebody else between two calls, unless it is the first.
                return Ok(Some(total).filter(|total| *total > 0));
            };
            total += deletion.deleted;
            if deletion.done {
                if unpacked {
                    self.packing.note(&keys);
                }
                return Ok(Some(total));
            }
            if !deletion.packed.is_empty() {
                self.packing.unpack(&[(&keys, &deletion.packed)]).await.map_err(|fault| after(total, fault))?;
                unpacked = true;
            }
        }
    }

    /// The newest sample; `None`: there is no such series; `Some(None)`: it is empty.
    pub(in crate::features::timeseries) async fn latest(
        &self,
        key: &SeriesKey,
    ) -> Result<Option<Option<Sample>>, TimeseriesError> {
        let Some(found) = self.call(&Latest(&self.keys(key))).await? else { return Ok(None) };
        Ok(Some(found.transpose()?))
    }

    /// Reads the window's next samples from the end that `order` names; `None`: there is no such series.
    ///
    /// One stretch is read in one atomic step. It holds `wanted` samples or more, if the window does, but never more
    /// than `timeseries.read_chunks` chunks.
    pub(in crate::features::timeseries) async fn read(
        &self,
        key: &SeriesKey,
        window: Window,
        order: Order,
        wanted: usize,
    ) -> Result<Option<SamplePage>, TimeseriesError> {
        let limit = (wanted / self.chunk_samples).saturating_add(2).min(self.read_chunks);
        let call = Read { keys: &self.keys(key), window, order, limit };
        let Some(found) = self.call(&call).await? else { return Ok(None) };
        let visible = Window { from: window.from.max(found.floor), to: window.to };
        let mut samples = Vec::with_capacity(found.pieces.len() * self.chunk_samples);
        // Where the last chunk ends that was read, whether or not its end lies in the window.
        let mut reached = None;
        for bytes in &found.pieces {
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
        Ok(Some(SamplePage { samples, rest: rest.filter(|rest| rest.from <= rest.to) }))
    }

    /// Adds batches, pipelined; each has an outcome of its own, in the given order.
    ///
    /// No two of them may be of one series: in a cluster they would overtake each other.
    pub(in crate::features::timeseries) async fn append(
        &self,
        batches: &[SampleBatch<'_>],
        token: Option<FencingToken>,
    ) -> Vec<BatchOutcome> {
        let mut outcomes: Vec<BatchOutcome> = batches.iter().map(|_| BatchOutcome::default()).collect();
        let mut rest = batches;
        let mut open = outcomes.as_mut_slice();
        while !rest.is_empty() {
            let fitting = self.fitting(rest);
            let (now, later) = rest.split_at(fitting);
            let (outcomes, later_outcomes) = std::mem::take(&mut open).split_at_mut(fitting);
            self.exchange(now, token, outcomes).await;
            // A key of another type or a stale fence is one series' matter; everything else is the server's.
            let mut faults = outcomes.iter().filter_map(|outcome| outcome.fault.as_ref());
            let failed = faults.find(|fault| !fault.is_of_the_key()).cloned();
            (rest, open) = (later, later_outcomes);
            if let Some(fault) = failed {
                // A server that just failed is not asked again for what was not sent yet.
                for outcome in open.iter_mut() {
                    outcome.fault = Some(fault.clone().not_applied());
                }
                break;
            }
        }
        outcomes
    }

    /// What the rollups of a series hold; `None`: there is no such series; `Some(None)`: it has none.
    pub(super) async fn rollups(&self, keys: &SeriesKeys) -> Result<Option<Option<RollupState>>, RedisFault> {
        self.call(&ReadState(keys)).await
    }

    /// Has the rollups of a series hold all that is sealed.
    pub(super) async fn advance_rollups(&self, keys: &SeriesKeys) -> Result<(), RedisFault> {
        self.call(&Advance(keys)).await.map(|_| ())
    }

    /// How many of the batches travel in one exchange; at least one.
    fn fitting(&self, batches: &[SampleBatch<'_>]) -> usize {
        let mut samples = 0;
        let fits = |batch: &&SampleBatch<'_>| {
            samples += batch.samples.len();
            samples <= EXCHANGE_SAMPLES
        };
        batches.iter().take(self.exchange_batches).take_while(fits).count().max(1)
    }

    /// Sends batches until each is settled: a call does only so much out of order, and takes the rest the next time.
    async fn exchange(&self, batches: &[SampleBatch<'_>], token: Option<FencingToken>, outcomes: &mut [BatchOutcome]) {
        let keys: Vec<SeriesKeys> = batches.iter().map(|batch| self.keys(batch.key)).collect();
        // Empty for a caller without a token.
        let fences: Vec<Fence> = keys.iter().filter_map(|keys| self.fence(keys, token)).collect();
        let created: Vec<_> = batches.iter().map(|batch| self.families.on_first_write(batch.key)).collect();
        let now = self.clock.redis_arg();
        let mut open: Vec<usize> = (0..batches.len()).collect();
        while !open.is_empty() {
            let calls: Vec<Append<'_>> = open
                .iter()
                .filter_map(|&at| {
                    let (batch, keys, outcome) = (batches.get(at)?, keys.get(at)?, outcomes.get(at)?);
                    Some(Append {
                        keys,
                        samples: batch.samples.get(outcome.settled..)?,
                        policy: batch.policy,
                        create: created.get(at)?.as_deref(),
                        chunk_samples: self.chunk_samples,
                        min_life_ms: self.min_life_ms,
                        now: &now,
                        fence: fences.get(at),
                    })
                })
                .collect();
            let timer = self.metrics.time(Append::SCRIPT);
            let answers = self.redis.call_all(&calls).await;
            drop(timer);
            let answers = match answers {
                Ok(answers) => answers,
                Err(fault) => {
                    for at in open {
                        settle(outcomes, at, |outcome| outcome.fault = Some(fault.clone()));
                    }
                    return;
                }
            };
            let mut again = Vec::new();
            let mut packed = Vec::new();
            for (at, answer) in open.into_iter().zip(answers) {
                let (Some(batch), Some(keys)) = (batches.get(at), keys.get(at)) else { continue };
                if let Ok(Some(appended)) = &answer {
                    if appended.plain > 0 {
                        self.packing.note(keys);
                    }
                    if !appended.packed.is_empty() {
                        packed.push((keys, appended.packed.clone()));
                    }
                }
                settle(outcomes, at, |outcome| {
                    if outcome.take(answer) && outcome.settled < batch.samples.len() {
                        again.push(at);
                    }
                });
            }
            open = again;
            let packed: Vec<(&SeriesKeys, &[u8])> =
                packed.iter().map(|(keys, chunk)| (*keys, chunk.as_slice())).collect();
            if let (false, Err(fault)) = (packed.is_empty(), self.packing.unpack(&packed).await) {
                for at in open {
                    settle(outcomes, at, |outcome| outcome.fault = Some(fault.clone().not_applied()));
                }
                return;
            }
        }
    }
}

/// The fault of a later step of a deletion.
fn after(deleted: u64, mut fault: RedisFault) -> RedisFault {
    if deleted > 0 {
        fault.outcome = Outcome::Unknown;
    }
    fault
}

fn settle(outcomes: &mut [BatchOutcome], at: usize, change: impl FnOnce(&mut BatchOutcome)) {
    if let Some(outcome) = outcomes.get_mut(at) {
        change(outcome);
    }
}
