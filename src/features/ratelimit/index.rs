//! The lists of keys in use, for resets by prefix: nothing scans Redis.
//!
//! A key is entered when its state is made, behind the decision's back, so that a decision stays one round trip and a
//! busy key costs nothing. Keys whose state has expired are taken out by a sweep that walks the lists in bounded steps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::config::RatelimitConfig;
use super::deciding::is_away;
use super::keys;
use super::limiter::{Limiter, SharedLimiters};
use super::model::LimitKey;
use super::scripts::Enter;
use crate::lifecycle::Tasks;
use crate::redis::{Effect, FaultKind, Redis, RedisFault};

/// Keys that may wait to be entered; beyond that, one is found by no prefix until its state is made anew.
const BACKLOG: usize = 65_536;
/// Keys that go to Redis together.
const BATCH: usize = 256;
/// How long they are gathered.
const GATHER: Duration = Duration::from_millis(5);
/// Keys of one step of the sweep or of a reset.
const STEP: usize = 500;
/// The most steps that follow each other at once.
const STEPS_IN_A_HURRY: usize = 50;
/// A list lives this long after it was last entered into or swept.
const LIFE: Duration = Duration::from_secs(7 * 86_400);

/// A key that has a state now.
#[derive(Debug)]
struct Made {
    limiter: Box<str>,
    key: LimitKey,
}

#[derive(Clone, Debug)]
pub(super) struct Index {
    redis: Redis,
    limiters: SharedLimiters,
    most: usize,
    made: mpsc::Sender<Made>,
}

/// The index's other side, for its task.
pub(super) struct Keeper {
    index: Index,
    made: mpsc::Receiver<Made>,
    interval: Duration,
    tasks: Tasks,
}

impl Index {
    pub(super) fn new(
        redis: &Redis,
        limiters: &SharedLimiters,
        config: &RatelimitConfig,
        tasks: &Tasks,
    ) -> (Self, Keeper) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let index =
            Self { redis: redis.clone(), limiters: Arc::clone(limiters), most: config.index_limit, made: sender };
        let interval = config.sweep_interval.duration();
        let keeper = Keeper { index: index.clone(), made: receiver, interval, tasks: tasks.clone() };
        (index, keeper)
    }

    /// A key's state was made.
    pub(super) fn note(&self, limiter: &Limiter, key: &LimitKey) {
        if !limiter.is_listed {
            return;
        }
        // Full: the key is limited all the same, it is only not listed.
        let _ = self.made.try_send(Made { limiter: limiter.name.clone(), key: key.clone() });
    }

    /// Deletes what is kept of a key.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn reset(&self, limiter: &Limiter, key: &LimitKey) -> Result<(), RedisFault> {
        self.unlink(limiter, std::slice::from_ref(key)).await
    }

    /// Deletes what is kept of the next keys that begin with `prefix`, behind the key `after`.
    ///
    /// # Errors
    /// [`RedisFault`]; the step may be repeated.
    pub(super) async fn reset_some(
        &self,
        limiter: &Limiter,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<ResetStep, RedisFault> {
        let mut found = self.range(limiter, prefix, after).await?;
        self.unlink(limiter, &found).await?;
        self.forget(limiter, &found).await?;
        let count = found.len();
        Ok(ResetStep { count, last: found.pop().filter(|_| count == STEP) })
    }

    async fn unlink(&self, limiter: &Limiter, keys: &[LimitKey]) -> Result<(), RedisFault> {
        let unlink = |key| {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(key);
            unlink
        };
        let all = keys.iter().flat_map(|key| limiter.shape.all(self.redis.keys(), key));
        let unlinks: Vec<Cmd> = all.map(unlink).collect();
        self.redis.query_all(&unlinks, Effect::Write).await?.into_iter().try_for_each(|answer| answer.map(|_| ()))
    }

    /// Takes the keys without a state out of the next stretch of a list.
    async fn sweep(&self, limiter: &Limiter, after: Option<&LimitKey>) -> Result<Swept, RedisFault> {
        let mut stretch = self.range(limiter, "", after.map(LimitKey::as_str)).await?;
        let gone = self.without_state(limiter, &stretch).await?;
        self.forget(limiter, &gone).await?;
        if gone.len() < stretch.len() {
            // Keys that are never idle are not entered again: it is the sweep that keeps their list alive.
            self.enter(&limiter.name, &[]).await?;
        }
        let is_last = stretch.len() < STEP;
        // As Redis's own active expiry: where much had expired there is probably more.
        Ok(Swept { hurry: !is_last && gone.len() > STEP / 4, last: stretch.pop().filter(|_| !is_last) })
    }

    /// The next keys of a list, in the order of their bytes.
    async fn range(&self, limiter: &Limiter, prefix: &str, after: Option<&str>) -> Result<Vec<LimitKey>, RedisFault> {
        let min = match after {
            Some(after) => [b"(", after.as_bytes()].concat(),
            None if prefix.is_empty() => b"-".to_vec(),
            None => [b"[", prefix.as_bytes()].concat(),
        };
        // No key holds the byte 0xFF, since it is no part of UTF-8: behind it nothing begins with the prefix any more.
        let max = if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), b"\xff"].concat() };
        let mut range = redis::cmd("ZRANGEBYLEX");
        range.arg(keys::list(self.redis.keys(), &limiter.name)).arg(min).arg(max).arg("LIMIT").arg(0).arg(STEP);
        let members: Vec<String> = self.redis.query(&range, Effect::Read).await?;
        Ok(members.into_iter().filter_map(|text| LimitKey::try_from(text).ok()).collect())
    }

    async fn without_state(&self, limiter: &Limiter, listed: &[LimitKey]) -> Result<Vec<LimitKey>, RedisFault> {
        let questions: Vec<Cmd> = listed
            .iter()
            .map(|key| {
                let mut exists = redis::cmd("EXISTS");
                exists.arg(limiter.shape.state(self.redis.keys(), key));
                exists
            })
            .collect();
        let mut gone = Vec::new();
        for (key, answer) in listed.iter().zip(self.redis.query_all(&questions, Effect::Read).await?) {
            if answer? == Value::Int(0) {
                gone.push(key.clone());
            }
        }
        Ok(gone)
    }

    /// Takes keys out, and enters those again whose state was made meanwhile: their own entry may have come before.
    async fn forget(&self, limiter: &Limiter, listed: &[LimitKey]) -> Result<(), RedisFault> {
        if listed.is_empty() {
            return Ok(());
        }
        let mut remove = redis::cmd("ZREM");
        remove.arg(keys::list(self.redis.keys(), &limiter.name));
        for key in listed {
            remove.arg(key.as_str());
        }
        self.redis.query::<u64>(&remove, Effect::Write).await.map_err(RedisFault::not_applied)?;
        let gone = self.without_state(limiter, listed).await?;
        let back: Vec<&LimitKey> = listed.iter().filter(|key| !gone.contains(key)).collect();
        self.enter(&limiter.name, &back).await
    }

    /// Enters keys, and lets the list live on.
    async fn enter(&self, limiter: &str, keys: &[&LimitKey]) -> Result<(), RedisFault> {
        let list = keys::list(self.redis.keys(), limiter);
        self.redis.call(&Enter { list: &list, most: self.most, life: LIFE, keys }).await.map(|_| ())
    }
}

impl Keeper {
    /// Enters keys as they come, and sweeps the lists, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut sweeps = tokio::time::interval(self.interval);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut place = Place::default();
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                _ = sweeps.tick() => match self.enter(&mut batch).await {
                    Ok(()) => self.sweep(&mut place).await,
                    failed => failed,
                },
                // What could not be entered waits for the next tick; further keys wait behind it.
                count = self.made.recv_many(&mut batch, BATCH), if batch.is_empty() => {
                    if count == 0 {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                    while batch.len() < BATCH && let Ok(made) = self.made.try_recv() {
                        batch.push(made);
                    }
                    self.enter(&mut batch).await
                }
            };
            // That Redis cannot be reached, its role's own report says.
            let told = done.or_else(|fault| if fault.kind == FaultKind::Unavailable { Ok(()) } else { Err(fault) });
            self.tasks.report("ratelimit.index", told.map_err(|fault| fault.to_string()));
        }
    }

    /// Enters a batch and leaves it empty, or as it was while Redis is away: a key may be entered twice.
    async fn enter(&self, batch: &mut Vec<Made>) -> Result<(), RedisFault> {
        let mut by_limiter: BTreeMap<&str, Vec<&LimitKey>> = BTreeMap::new();
        for made in batch.iter() {
            by_limiter.entry(&made.limiter).or_default().push(&made.key);
        }
        let mut outcome = Ok(());
        for (limiter, keys) in by_limiter {
            match self.index.enter(limiter, &keys).await {
                Err(fault) if is_away(fault.kind) => return Err(fault),
                // Something else under the list's name: waiting would keep the other limiters' keys out as well.
                Err(fault) => outcome = Err(fault),
                Ok(()) => {}
            }
        }
        batch.clear();
        outcome
    }

    /// A step through the lists, one limiter after the other, and some more where it finds much to do.
    async fn sweep(&self, place: &mut Place) -> Result<(), RedisFault> {
        let limiters = self.index.limiters.load_full();
        for _ in 0..STEPS_IN_A_HURRY {
            let count = limiters.iter().count().max(1);
            let Some(limiter) = limiters.iter().nth(place.limiter % count) else { return Ok(()) };
            let after = place.after.take();
            let swept = self.index.sweep(limiter, after.as_ref()).await;
            match &swept {
                Ok(Swept { last: Some(last), .. }) => place.after = Some(last.clone()),
                _ => place.limiter = (place.limiter + 1) % count,
            }
            if !swept?.hurry {
                break;
            }
        }
        Ok(())
    }
}

/// What a step of a reset did.
#[derive(Debug)]
pub(super) struct ResetStep {
    pub count: usize,
    /// The last key of the step; `None` when no more are listed.
    pub last: Option<LimitKey>,
}

/// What a step of the sweep found.
struct Swept {
    /// The last key of the stretch; `None` at the end of the list.
    last: Option<LimitKey>,
    hurry: bool,
}

/// Where the sweep goes on.
#[derive(Debug, Default)]
struct Place {
    limiter: usize,
    after: Option<LimitKey>,
}
