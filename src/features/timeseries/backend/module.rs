//! Series whose samples the RedisTimeSeries module keeps, under the names that others may read with TS.RANGE.
//!
//! The definition stands in a hash beside them. The scripts answer as the native ones do, so that everything else is the
//! same code: only raw samples are asked of the module, and its accidents (TS.REVRANGE that aggregates backwards, words
//! that are ignored) cannot be met. It packs by itself.

use std::sync::Arc;

use super::super::chunk;
use super::super::description::Description;
use super::super::window::{Order, Window};
use super::native::SampleBatch;
use super::{BatchOutcome, SamplePage};
use crate::clock::Clock;
use crate::redis::{Fence, FencingToken, Redis, RedisFault, ScriptCall};

use super::super::config::TimeseriesConfig;
use super::super::error::TimeseriesError;
use super::super::families::Families;
use super::super::keys::SeriesKeys;
use super::super::metrics::TimeseriesMetrics;
use super::super::model::Alteration;
use super::super::rollup_state::RollupState;
use super::super::scripts::{
    Advance, Alter, Append, Create, Created, Delete, DeleteRange, Describe, Latest, OfModule, Read, ReadState,
};
use super::super::series::{Definition, Sample, SeriesKey};

#[derive(Clone, Debug)]
pub(in crate::features::timeseries) struct ModuleBackend {
    redis: Redis,
    clock: Clock,
    families: Arc<Families>,
    metrics: TimeseriesMetrics,
    /// Samples of one read.
    read_samples: usize,
    /// Samples behind the rollups, until these are filled.
    chunk_samples: usize,
    exchange_batches: usize,
    min_life_ms: u64,
}

impl ModuleBackend {
    pub(super) fn new(
        redis: Redis,
        clock: Clock,
        families: Arc<Families>,
        metrics: TimeseriesMetrics,
        config: &TimeseriesConfig,
    ) -> Self {
        Self {
            redis,
            clock,
            families,
            metrics,
            read_samples: config.read_chunks * config.chunk_samples,
            chunk_samples: config.chunk_samples,
            exchange_batches: config.exchange_batches,
            min_life_ms: config.min_life.as_millis(),
        }
    }

    pub(super) fn keys(&self, key: &SeriesKey) -> SeriesKeys {
        SeriesKeys::new(self.redis.keys(), &self.families, key).in_module()
    }

    fn fence(&self, keys: &SeriesKeys, token: Option<FencingToken>) -> Option<Fence> {
        token.map(|token| self.redis.fence(keys.fence(), token))
    }

    async fn call<C>(&self, call: C) -> Result<<OfModule<C> as ScriptCall>::Reply, RedisFault>
    where
        OfModule<C>: ScriptCall,
    {
        let _timer = self.metrics.time(OfModule::<C>::SCRIPT);
        self.redis.call(&OfModule(call)).await
    }

    pub(super) async fn create(
        &self,
        key: &SeriesKey,
        definition: &Definition,
        token: Option<FencingToken>,
    ) -> Result<Created, RedisFault> {
        let (keys, now) = (self.keys(key), self.clock.redis_arg());
        let fence = self.fence(&keys, token);
        let (min_life_ms, fence) = (self.min_life_ms, fence.as_ref());
        self.call(Create { keys: &keys, definition, min_life_ms, now: &now, fence }).await
    }

    pub(super) async fn alter(
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
        self.call(alter).await
    }

    pub(super) async fn describe(&self, key: &SeriesKey) -> Result<Option<Description>, TimeseriesError> {
        let described = self.call(Describe(&self.keys(key))).await?;
        Ok(described.map(|(description, _)| description))
    }

    pub(super) async fn delete(&self, key: &SeriesKey, token: Option<FencingToken>) -> Result<bool, RedisFault> {
        let keys = self.keys(key);
        self.call(Delete { keys: &keys, fence: self.fence(&keys, token).as_ref() }).await
    }

    pub(super) async fn delete_range(
        &self,
        key: &SeriesKey,
        window: Window,
        token: Option<FencingToken>,
    ) -> Result<Option<u64>, RedisFault> {
        let keys = self.keys(key);
        let fence = self.fence(&keys, token);
        let call = DeleteRange { keys: &keys, window, limit: 1, fence: fence.as_ref() };
        Ok(self.call(call).await?.map(|deletion| deletion.deleted))
    }

    pub(super) async fn latest(&self, key: &SeriesKey) -> Result<Option<Option<Sample>>, TimeseriesError> {
        let Some(found) = self.call(Latest(&self.keys(key))).await? else { return Ok(None) };
        Ok(Some(found.transpose()?))
    }

    pub(super) async fn read(
        &self,
        key: &SeriesKey,
        window: Window,
        order: Order,
        wanted: usize,
    ) -> Result<Option<SamplePage>, TimeseriesError> {
        let limit = wanted.min(self.read_samples);
        let call = Read { keys: &self.keys(key), window, order, limit };
        let Some(found) = self.call(call).await? else { return Ok(None) };
        let mut samples = Vec::with_capacity(limit.min(self.read_samples));
        for piece in &found.pieces {
            chunk::read(piece, window, &mut samples)?;
        }
        if order == Order::Desc {
            samples.reverse();
        }
        let last = samples.last().filter(|_| !found.done);
        let rest = last.map(|sample| match order {
            Order::Asc => Window { from: sample.timestamp + 1, to: window.to },
            Order::Desc => Window { from: window.from, to: sample.timestamp - 1 },
        });
        Ok(Some(SamplePage { samples, rest: rest.filter(|rest| rest.from <= rest.to) }))
    }

    /// What the rollups of a series hold; `None`: there is no such series; `Some(None)`: it has none.
    pub(super) async fn rollups(&self, keys: &SeriesKeys) -> Result<Option<Option<RollupState>>, RedisFault> {
        self.call(ReadState(keys)).await
    }

    /// Has the rollups of a series hold all that is older than its newest sample.
    pub(super) async fn advance_rollups(&self, keys: &SeriesKeys) -> Result<(), RedisFault> {
        self.call(Advance(keys)).await.map(|_| ())
    }

    pub(super) async fn append(&self, batches: &[SampleBatch<'_>], token: Option<FencingToken>) -> Vec<BatchOutcome> {
        let mut outcomes = Vec::with_capacity(batches.len());
        let mut failed: Option<RedisFault> = None;
        for batches in batches.chunks(self.exchange_batches) {
            let unsent = failed.clone().map(RedisFault::not_applied);
            let answers = match unsent {
                None => self.exchange(batches, token).await,
                Some(fault) => Err(fault),
            };
            match answers {
                Ok(answers) => outcomes.extend(answers.into_iter().map(|answer| {
                    let mut outcome = BatchOutcome::default();
                    outcome.take(answer);
                    outcome
                })),
                Err(fault) => outcomes.extend(batches.iter().map(|_| BatchOutcome::failed(fault.clone()))),
            }
            let mut faults = outcomes.iter().filter_map(|outcome| outcome.fault.as_ref());
            failed = faults.find(|fault| !fault.is_of_the_key()).cloned();
        }
        outcomes
    }

    async fn exchange(
        &self,
        batches: &[SampleBatch<'_>],
        token: Option<FencingToken>,
    ) -> Result<Vec<Result<<Append<'static> as ScriptCall>::Reply, RedisFault>>, RedisFault> {
        let keys: Vec<SeriesKeys> = batches.iter().map(|batch| self.keys(batch.key)).collect();
        let fences: Vec<Option<Fence>> = keys.iter().map(|keys| self.fence(keys, token)).collect();
        let created: Vec<_> = batches.iter().map(|batch| self.families.on_first_write(batch.key)).collect();
        let now = self.clock.redis_arg();
        let calls: Vec<OfModule<Append<'_>>> = batches
            .iter()
            .zip(&keys)
            .zip(&fences)
            .zip(&created)
            .map(|(((batch, keys), fence), create)| {
                OfModule(Append {
                    keys,
                    samples: batch.samples,
                    policy: batch.policy,
                    create: create.as_deref(),
                    chunk_samples: self.chunk_samples,
                    min_life_ms: self.min_life_ms,
                    now: &now,
                    fence: fence.as_ref(),
                })
            })
            .collect();
        let _timer = self.metrics.time(OfModule::<Append<'_>>::SCRIPT);
        self.redis.call_all(&calls).await
    }
}
