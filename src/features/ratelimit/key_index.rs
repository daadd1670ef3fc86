//! The index of keys in use, which makes resets by prefix possible without scanning Redis.
//!
//! A background task adds a key when its state is created, so that a decision stays one round trip and a key in use costs
//! nothing more. A sweep goes through the index in bounded steps and removes keys whose state has expired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ToRedisArgs, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::is_unavailable;
use super::keys;
use super::limiter::{Limiter, SharedLimiters};
use super::model::{LimitKey, ResetReply};
use super::scripts;
use crate::clock::Clock;
use crate::lifecycle::Tasks;
use crate::redis::{Effect, FaultKind, Outcome, Redis, RedisFault};

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
/// Time between two sweeps while no limiter has keys, as far as this replica knows.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// The most steps of one sweep.
const MAX_STEPS_PER_SWEEP: usize = 50;
/// TTL of an index, milliseconds, which every addition and every sweep resets: a week.
const INDEX_TTL_MS: u64 = 7 * 86_400_000;
/// Keys of each limiter that are indexed, about 110 bytes each in Redis. Keys beyond that are limited like any other, but
/// resets by prefix do not find them.
const MAX_KEYS: usize = 1_000_000;
/// Time for which one request resets keys. It is far below the deadline of requests, whatever a step takes.
const RESET_TIME: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub(super) struct KeyIndex {
    redis: Redis,
    limiters: SharedLimiters,
    /// The limiter's name and the key of each state that was created.
    queue: mpsc::Sender<(Box<str>, LimitKey)>,
}

/// The background task that adds new keys and sweeps the index.
pub(super) struct KeyIndexWorker {
    index: KeyIndex,
    queue: mpsc::Receiver<(Box<str>, LimitKey)>,
    tasks: Tasks,
    /// The position of the limiter that the next sweep continues with, and the last key that was swept.
    limiter: usize,
    after: Option<LimitKey>,
    /// How many sweeps in a row have found no keys.
    empty: usize,
}

impl KeyIndex {
    pub(super) fn new(redis: &Redis, limiters: &SharedLimiters, tasks: &Tasks) -> (Self, KeyIndexWorker) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let index = Self { redis: redis.clone(), limiters: Arc::clone(limiters), queue: sender };
        let tasks = tasks.clone();
        let worker = KeyIndexWorker { index: index.clone(), queue: receiver, tasks, limiter: 0, after: None, empty: 0 };
        (index, worker)
    }

    /// Queues a key whose state was created.
    pub(super) fn add(&self, limiter: &Limiter, key: &LimitKey) {
        if limiter.is_inline {
            return;
        }
        // If the queue is full, the key is limited like any other; resets by prefix do not find it.
        let _ = self.queue.try_send((limiter.name.clone(), key.clone()));
    }

    /// Resets the keys that begin with `prefix`, after the key `after`, for at most [`RESET_TIME`].
    ///
    /// # Errors
    /// [`RedisFault`], with an unknown outcome once any key is reset. The call may be repeated.
    pub(super) async fn reset_all(
        &self,
        limiter: &Limiter,
        prefix: &str,
        after: Option<LimitKey>,
        clock: &Clock,
    ) -> Result<ResetReply, RedisFault> {
        let began = clock.elapsed();
        let mut reply = ResetReply { reset: 0, next_cursor: after };
        loop {
            let step = self.reset_next(limiter, prefix, reply.next_cursor.as_ref()).await;
            let mut found = step.map_err(|fault| partly_applied(fault, reply.reset > 0))?;
            let count = found.len();
            reply = ResetReply { reset: reply.reset + count, next_cursor: found.pop().filter(|_| count == STEP) };
            if reply.next_cursor.is_none() || clock.elapsed() >= began + RESET_TIME {
                return Ok(reply);
            }
        }
    }

    /// Resets the next [`STEP`] keys and removes them from the index.
    async fn reset_next(
        &self,
        limiter: &Limiter,
        prefix: &str,
        after: Option<&LimitKey>,
    ) -> Result<Vec<LimitKey>, RedisFault> {
        let found = self.range(limiter, prefix, after).await?;
        self.reset(limiter, &found).await?;
        self.remove(limiter, &found).await.map_err(|fault| partly_applied(fault, true))?;
        Ok(found)
    }

    /// Deletes the states and the reservations of keys, both of a key at once.
    ///
    /// # Errors
    /// [`RedisFault`], with an unknown outcome if some of the keys are reset.
    pub(super) async fn reset(&self, limiter: &Limiter, keys: &[LimitKey]) -> Result<(), RedisFault> {
        // A state and its reservations share a cluster slot.
        let unlink = |key| command("UNLINK", &limiter.pattern.all_keys(self.redis.keys(), key));
        let unlinks: Vec<Cmd> = keys.iter().map(unlink).collect();
        let replies = self.redis.query_all(&unlinks, Effect::Write).await?;
        let any_done = replies.iter().any(Result::is_ok);
        let done = replies.into_iter().try_for_each(|reply| reply.map(|_| ()));
        done.map_err(|fault| partly_applied(fault, any_done))
    }

    /// Removes the keys without a state from the part of an index after the key `after`, which becomes the last key of the
    /// part, or `None` at the end.
    async fn sweep(&self, limiter: &Limiter, after: &mut Option<LimitKey>) -> Result<Swept, RedisFault> {
        let mut keys = self.range(limiter, "", after.take().as_ref()).await?;
        if keys.is_empty() {
            return Ok(Swept::Nothing);
        }
        let expired = self.without_state(limiter, &keys).await?;
        self.remove(limiter, &expired).await?;
        if expired.len() < keys.len() {
            // Keys that are always in use are not added again: the sweep keeps their index from expiring.
            let mut refresh = command("PEXPIRE", keys::index(self.redis.keys(), &limiter.name));
            refresh.arg(INDEX_TTL_MS);
            self.redis.query::<u64>(&refresh, Effect::Write).await?;
        }
        let has_more = keys.len() == STEP;
        *after = keys.pop().filter(|_| has_more);
        // Redis's active expiry applies the same rule: where many keys had expired, more are likely.
        Ok(if has_more && expired.len() > STEP / 4 { Swept::Many } else { Swept::Some })
    }

    /// The next keys of an index, in the order of their bytes.
    async fn range(
        &self,
        limiter: &Limiter,
        prefix: &str,
        after: Option<&LimitKey>,
    ) -> Result<Vec<LimitKey>, RedisFault> {
        let min = match after {
            Some(after) => [b"(", after.as_str().as_bytes()].concat(),
            None if prefix.is_empty() => b"-".to_vec(),
            None => [b"[", prefix.as_bytes()].concat(),
        };
        // UTF-8 never contains the byte 0xFF, so every key with the prefix sorts before prefix + 0xFF.
        let max = if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), b"\xff"].concat() };
        let mut range = command("ZRANGEBYLEX", keys::index(self.redis.keys(), &limiter.name));
        range.arg(min).arg(max).arg("LIMIT").arg(0).arg(STEP);
        let members: Vec<String> = self.redis.query(&range, Effect::Read).await?;
        Ok(members.into_iter().filter_map(|text| LimitKey::try_from(text).ok()).collect())
    }

    async fn without_state(&self, limiter: &Limiter, indexed: &[LimitKey]) -> Result<Vec<LimitKey>, RedisFault> {
        let states = |key| limiter.pattern.states(self.redis.keys(), key);
        let commands: Vec<Cmd> = indexed.iter().map(|key| command("EXISTS", &states(key))).collect();
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
        let mut remove = command("ZREM", keys::index(self.redis.keys(), &limiter.name));
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
        self.redis.call(scripts::index_keys(&index, MAX_KEYS, INDEX_TTL_MS, keys)).await.map(|_| ())
    }
}

/// What a sweep found in a part of an index.
enum Swept {
    /// The part has no keys.
    Nothing,
    Some,
    /// Many keys without a state: the next part is likely to have as many.
    Many,
}

/// The fault of a change of several steps; `any_done` says whether an earlier step was applied.
fn partly_applied(mut fault: RedisFault, any_done: bool) -> RedisFault {
    if any_done {
        fault.outcome = Outcome::Unknown;
    }
    fault
}

fn command(name: &str, key: impl ToRedisArgs) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}

impl KeyIndexWorker {
    /// Adds keys as they arrive, and sweeps the index, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                _ = sweeps.tick() => {
                    let swept = match self.insert(&mut batch).await {
                        Ok(()) => self.sweep().await,
                        failed => failed,
                    };
                    if self.is_idle() {
                        sweeps.reset_after(IDLE_INTERVAL);
                    }
                    swept
                }
                // A batch that could not be added waits for the next tick; later keys wait in the queue.
                _ = self.queue.recv_many(&mut batch, BATCH), if batch.is_empty() => {
                    tokio::time::sleep(BATCH_DELAY).await;
                    while batch.len() < BATCH && let Ok(key) = self.queue.try_recv() {
                        batch.push(key);
                    }
                    if self.is_idle() {
                        self.empty = 0;
                        sweeps.reset_after(SWEEP_INTERVAL);
                    }
                    self.insert(&mut batch).await
                }
            };
            // The Redis role's own report says if Redis cannot be reached.
            let report = done.or_else(|fault| if fault.kind == FaultKind::Unavailable { Ok(()) } else { Err(fault) });
            self.tasks.report("ratelimit.index", report.map_err(|fault| fault.to_string()));
        }
    }

    /// Whether no limiter has keys.
    fn is_idle(&self) -> bool {
        self.empty >= self.index.limiters.load().iter().count()
    }

    /// Adds a batch and empties it. If Redis is unavailable the batch stays: adding a key twice is harmless.
    async fn insert(&self, batch: &mut Vec<(Box<str>, LimitKey)>) -> Result<(), RedisFault> {
        let mut by_limiter: BTreeMap<&str, Vec<&LimitKey>> = BTreeMap::new();
        for (limiter, key) in batch.iter() {
            by_limiter.entry(limiter).or_default().push(key);
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
    async fn sweep(&mut self) -> Result<(), RedisFault> {
        let limiters = self.index.limiters.load_full();
        for _ in 0..MAX_STEPS_PER_SWEEP {
            let count = limiters.iter().count().max(1);
            let Some(limiter) = limiters.iter().nth(self.limiter % count) else { return Ok(()) };
            let swept = self.index.sweep(limiter, &mut self.after).await;
            if self.after.is_none() {
                self.limiter = (self.limiter + 1) % count;
            }
            match swept? {
                Swept::Nothing => {
                    self.empty += 1;
                    break;
                }
                Swept::Some => {
                    self.empty = 0;
                    break;
                }
                Swept::Many => self.empty = 0,
            }
        }
        Ok(())
    }
}
