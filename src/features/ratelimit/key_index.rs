//! The index of keys in use, which makes resets by prefix possible without scanning Redis.
//!
//! A background task adds a key when its state is created, so that a decision stays one round trip and a key in use costs
//! nothing more. A sweep goes through the index in bounded steps and removes keys whose state has expired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::is_unavailable;
use super::keys;
use super::limiter::{Limiter, SharedLimiters};
use super::model::LimitKey;
use super::scripts::IndexKeys;
use crate::lifecycle::Tasks;
use crate::redis::{Effect, FaultKind, Redis, RedisFault};

/// Keys that may wait to be added. A key beyond that is not indexed until its state is created again.
const QUEUE: usize = 65_536;
/// Keys that one call adds.
const BATCH: usize = 256;
/// Time for which a batch is collected.
const BATCH_DELAY: Duration = Duration::from_millis(5);
/// Keys that one step of a sweep or a reset processes.
const STEP: usize = 500;
/// Time between two sweeps. Expired keys cost only memory, so nothing depends on removing them sooner.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// The most steps of one sweep.
const MAX_STEPS_PER_SWEEP: usize = 50;
/// TTL of an index, which every addition and every sweep resets.
const INDEX_TTL: Duration = Duration::from_secs(7 * 86_400);

/// A key whose state was created.
#[derive(Debug)]
struct NewKey {
    limiter: Box<str>,
    key: LimitKey,
}

#[derive(Clone, Debug)]
pub(super) struct KeyIndex {
    redis: Redis,
    limiters: SharedLimiters,
    max_keys: usize,
    queue: mpsc::Sender<NewKey>,
}

/// The background task that adds new keys and sweeps the index.
pub(super) struct KeyIndexWorker {
    index: KeyIndex,
    queue: mpsc::Receiver<NewKey>,
    tasks: Tasks,
}

impl KeyIndex {
    /// An index of at most `max_keys` keys of each limiter.
    pub(super) fn new(
        redis: &Redis,
        limiters: &SharedLimiters,
        max_keys: usize,
        tasks: &Tasks,
    ) -> (Self, KeyIndexWorker) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let index = Self { redis: redis.clone(), limiters: Arc::clone(limiters), max_keys, queue: sender };
        let worker = KeyIndexWorker { index: index.clone(), queue: receiver, tasks: tasks.clone() };
        (index, worker)
    }

    /// Queues a key whose state was created.
    pub(super) fn add(&self, limiter: &Limiter, key: &LimitKey) {
        if !limiter.is_indexed {
            return;
        }
        // If the queue is full, the key is limited like any other; resets by prefix do not find it.
        let _ = self.queue.try_send(NewKey { limiter: limiter.name.clone(), key: key.clone() });
    }

    /// Deletes the state and the reservations of a key.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn reset(&self, limiter: &Limiter, key: &LimitKey) -> Result<(), RedisFault> {
        self.unlink(limiter, std::slice::from_ref(key)).await
    }

    /// Resets the next keys that begin with `prefix`, after the key `after`.
    ///
    /// # Errors
    /// [`RedisFault`]; the step may be repeated.
    pub(super) async fn reset_step(
        &self,
        limiter: &Limiter,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<ResetStep, RedisFault> {
        let mut found = self.range(limiter, prefix, after).await?;
        self.unlink(limiter, &found).await?;
        self.remove(limiter, &found).await?;
        let count = found.len();
        Ok(ResetStep { count, last: found.pop().filter(|_| count == STEP) })
    }

    async fn unlink(&self, limiter: &Limiter, keys: &[LimitKey]) -> Result<(), RedisFault> {
        let unlink = |key| {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(key);
            unlink
        };
        let all = keys.iter().flat_map(|key| limiter.pattern.all_keys(self.redis.keys(), key));
        let unlinks: Vec<Cmd> = all.map(unlink).collect();
        self.redis.query_all(&unlinks, Effect::Write).await?.into_iter().try_for_each(|reply| reply.map(|_| ()))
    }

    /// Removes the keys without a state from the next part of an index.
    async fn sweep(&self, limiter: &Limiter, after: Option<&LimitKey>) -> Result<SweepStep, RedisFault> {
        let mut keys = self.range(limiter, "", after.map(LimitKey::as_str)).await?;
        let expired = self.without_state(limiter, &keys).await?;
        self.remove(limiter, &expired).await?;
        if expired.len() < keys.len() {
            // Keys that are always in use are not added again: the sweep keeps their index from expiring.
            let ttl = u64::try_from(INDEX_TTL.as_millis()).unwrap_or(u64::MAX);
            let mut refresh = redis::cmd("PEXPIRE");
            refresh.arg(keys::index(self.redis.keys(), &limiter.name)).arg(ttl);
            self.redis.query::<u64>(&refresh, Effect::Write).await?;
        }
        let is_last = keys.len() < STEP;
        // Redis's active expiry applies the same rule: where many keys had expired, more are likely.
        let is_mostly_expired = !is_last && expired.len() > STEP / 4;
        Ok(SweepStep { is_mostly_expired, last: keys.pop().filter(|_| !is_last) })
    }

    /// The next keys of an index, in the order of their bytes.
    async fn range(&self, limiter: &Limiter, prefix: &str, after: Option<&str>) -> Result<Vec<LimitKey>, RedisFault> {
        let min = match after {
            Some(after) => [b"(", after.as_bytes()].concat(),
            None if prefix.is_empty() => b"-".to_vec(),
            None => [b"[", prefix.as_bytes()].concat(),
        };
        // UTF-8 never contains the byte 0xFF, so every key with the prefix sorts before prefix + 0xFF.
        let max = if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), b"\xff"].concat() };
        let mut range = redis::cmd("ZRANGEBYLEX");
        range.arg(keys::index(self.redis.keys(), &limiter.name)).arg(min).arg(max).arg("LIMIT").arg(0).arg(STEP);
        let members: Vec<String> = self.redis.query(&range, Effect::Read).await?;
        Ok(members.into_iter().filter_map(|text| LimitKey::try_from(text).ok()).collect())
    }

    async fn without_state(&self, limiter: &Limiter, indexed: &[LimitKey]) -> Result<Vec<LimitKey>, RedisFault> {
        let commands: Vec<Cmd> = indexed
            .iter()
            .map(|key| {
                let mut exists = redis::cmd("EXISTS");
                exists.arg(limiter.pattern.state(self.redis.keys(), key));
                exists
            })
            .collect();
        let mut gone = Vec::new();
        for (key, reply) in indexed.iter().zip(self.redis.query_all(&commands, Effect::Read).await?) {
            if reply? == Value::Int(0) {
                gone.push(key.clone());
            }
        }
        Ok(gone)
    }

    /// Removes keys, then adds back those whose state was created meanwhile: they may have been added before the removal.
    async fn remove(&self, limiter: &Limiter, indexed: &[LimitKey]) -> Result<(), RedisFault> {
        if indexed.is_empty() {
            return Ok(());
        }
        let mut remove = redis::cmd("ZREM");
        remove.arg(keys::index(self.redis.keys(), &limiter.name));
        for key in indexed {
            remove.arg(key.as_str());
        }
        self.redis.query::<u64>(&remove, Effect::Write).await.map_err(RedisFault::not_applied)?;
        let gone = self.without_state(limiter, indexed).await?;
        let back: Vec<&LimitKey> = indexed.iter().filter(|key| !gone.contains(key)).collect();
        self.insert(&limiter.name, &back).await
    }

    /// Adds keys and resets the TTL of the index.
    async fn insert(&self, limiter: &str, keys: &[&LimitKey]) -> Result<(), RedisFault> {
        let index = keys::index(self.redis.keys(), limiter);
        self.redis.call(&IndexKeys { index: &index, max: self.max_keys, ttl: INDEX_TTL, keys }).await.map(|_| ())
    }
}

impl KeyIndexWorker {
    /// Adds keys as they arrive, and sweeps the index, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut position = SweepPosition::default();
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                _ = sweeps.tick() => match self.insert(&mut batch).await {
                    Ok(()) => self.sweep(&mut position).await,
                    failed => failed,
                },
                // A batch that could not be added waits for the next tick; later keys wait in the queue.
                count = self.queue.recv_many(&mut batch, BATCH), if batch.is_empty() => {
                    if count == 0 {
                        return;
                    }
                    tokio::time::sleep(BATCH_DELAY).await;
                    while batch.len() < BATCH && let Ok(key) = self.queue.try_recv() {
                        batch.push(key);
                    }
                    self.insert(&mut batch).await
                }
            };
            // The Redis role's own report says if Redis cannot be reached.
            let report = done.or_else(|fault| if fault.kind == FaultKind::Unavailable { Ok(()) } else { Err(fault) });
            self.tasks.report("ratelimit.index", report.map_err(|fault| fault.to_string()));
        }
    }

    /// Adds a batch and empties it. If Redis is unavailable the batch stays: adding a key twice is harmless.
    async fn insert(&self, batch: &mut Vec<NewKey>) -> Result<(), RedisFault> {
        let mut by_limiter: BTreeMap<&str, Vec<&LimitKey>> = BTreeMap::new();
        for new in batch.iter() {
            by_limiter.entry(&new.limiter).or_default().push(&new.key);
        }
        let mut outcome = Ok(());
        for (limiter, keys) in by_limiter {
            match self.index.insert(limiter, &keys).await {
                Err(fault) if is_unavailable(fault.kind) => return Err(fault),
                // For example a foreign value under the index's key. Waiting would also delay other limiters' keys.
                Err(fault) => outcome = Err(fault),
                Ok(()) => {}
            }
        }
        batch.clear();
        outcome
    }

    /// Sweeps the next part of the index, limiter by limiter, and more parts if many keys had expired.
    async fn sweep(&self, position: &mut SweepPosition) -> Result<(), RedisFault> {
        let limiters = self.index.limiters.load_full();
        for _ in 0..MAX_STEPS_PER_SWEEP {
            let count = limiters.iter().count().max(1);
            let Some(limiter) = limiters.iter().nth(position.limiter % count) else { return Ok(()) };
            let after = position.after.take();
            let step = self.index.sweep(limiter, after.as_ref()).await;
            match &step {
                Ok(SweepStep { last: Some(last), .. }) => position.after = Some(last.clone()),
                _ => position.limiter = (position.limiter + 1) % count,
            }
            if !step?.is_mostly_expired {
                break;
            }
        }
        Ok(())
    }
}

/// The result of one step of a reset.
#[derive(Debug)]
pub(super) struct ResetStep {
    pub count: usize,
    /// The last key of the step; `None` if it was the last step.
    pub last: Option<LimitKey>,
}

/// The result of one step of a sweep.
struct SweepStep {
    /// The last key of the step; `None` at the end of the index.
    last: Option<LimitKey>,
    is_mostly_expired: bool,
}

/// The position at which the next sweep continues.
#[derive(Debug, Default)]
struct SweepPosition {
    limiter: usize,
    after: Option<LimitKey>,
}
