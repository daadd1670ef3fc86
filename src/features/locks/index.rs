//! The list of held locks: kept behind the grants' backs, so that a grant stays one round trip.
//!
//! It may lag by some milliseconds and name locks that are free again; whoever lists looks at each lock as well.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::config::LocksConfig;
use super::index_scripts::{Change, Happened, Relist, Sweep};
use super::keys;
use super::metrics::LockMetrics;
use super::model::Resource;
use super::scripts::End;
use crate::clock::Clock;
use crate::redis::{Effect, Key, Redis, RedisFault};

/// Changes that may wait; beyond that a lock is not listed.
const BACKLOG: usize = 65_536;
/// Changes that go to Redis together.
const BATCH: usize = 256;
/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(5);
/// A release under way is not taken for an expiry.
const GRACE: Duration = Duration::from_secs(1);
/// Leases that one call takes out: well below a millisecond of Redis's time.
const SWEPT_TOGETHER: u64 = 1_000;

#[derive(Clone, Debug)]
pub(super) struct Index {
    redis: Redis,
    key: Key,
    clock: Clock,
    changes: mpsc::Sender<Change>,
}

/// The index's other side, for its task.
pub(super) struct Keeper {
    index: Index,
    changes: mpsc::Receiver<Change>,
    limit: usize,
    interval: Duration,
    life: Duration,
    metrics: LockMetrics,
}

/// The place in the list where the next page begins: the end of a lease, and how many of that end were shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    ends_us: u64,
    shown: usize,
}

impl Cursor {
    /// Reads what [`Cursor::to_string`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (ends_us, shown) = text.split_once('-')?;
        Some(Self { ends_us: ends_us.parse().ok()?, shown: shown.parse().ok()? })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ends_us, self.shown)
    }
}

impl Index {
    pub(super) fn new(redis: &Redis, clock: &Clock, config: &LocksConfig, metrics: &LockMetrics) -> (Self, Keeper) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let index =
            Self { redis: redis.clone(), key: keys::index(redis.keys()), clock: clock.clone(), changes: sender };
        let keeper = Keeper {
            index: index.clone(),
            changes: receiver,
            limit: config.index_limit,
            interval: config.index_interval.duration(),
            life: config.largest_lease() + Duration::from_secs(60),
            metrics: metrics.clone(),
        };
        (index, keeper)
    }

    /// A lease was granted for `ttl`.
    pub(super) fn granted(&self, resource: Resource, ends: End, ttl: Duration) {
        self.note(resource, ends, Happened::Granted(ttl));
    }

    pub(super) fn extended(&self, resource: Resource, ends: End) {
        self.note(resource, ends, Happened::Extended);
    }

    /// A lease was released; without an end it was never listed.
    pub(super) fn released(&self, resource: Resource, ends: Option<End>) {
        if let Some(ends) = ends {
            self.note(resource, ends, Happened::Released);
        }
    }

    fn note(&self, resource: Resource, ends: End, happened: Happened) {
        // Full: the lock is held all the same, it is only not shown.
        let _ = self.changes.try_send(Change { resource, ends, happened });
    }

    /// The next `limit` entries, the lease that ends first in front.
    pub(super) async fn page(
        &self,
        limit: usize,
        from: Option<Cursor>,
    ) -> Result<(Vec<Resource>, Option<Cursor>), RedisFault> {
        let from = from.unwrap_or(Cursor { ends_us: 0, shown: 0 });
        let mut range = redis::cmd("ZRANGE");
        range.arg(&self.key).arg(from.ends_us).arg("+inf").arg("BYSCORE");
        range.arg("LIMIT").arg(from.shown).arg(limit).arg("WITHSCORES");
        let entries: Vec<(String, f64)> = self.redis.query(&range, Effect::Read).await?;
        let mut next = from;
        for (_, score) in &entries {
            let ends_us = whole(*score);
            next = Cursor { ends_us, shown: if ends_us == next.ends_us { next.shown + 1 } else { 1 } };
        }
        let is_last = entries.len() < limit;
        let resources = entries.into_iter().filter_map(|(name, _)| Resource::try_from(name).ok()).collect();
        Ok((resources, (!is_last).then_some(next)))
    }

    /// How many listed leases have not ended.
    pub(super) async fn held(&self) -> Result<u64, RedisFault> {
        let mut count = redis::cmd("ZCOUNT");
        count.arg(&self.key).arg(self.now_us()).arg("+inf");
        self.redis.query(&count, Effect::Read).await
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.clock.now()).unwrap_or_default() * 1_000
    }
}

impl Keeper {
    /// Writes changes down as they come, and takes out leases that ended, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut sweeps = tokio::time::interval(self.interval);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                _ = sweeps.tick() => self.sweep().await,
                count = self.changes.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    // What comes together goes together: locks that are passed on quickly cost one call for many. Who
                    // waited with a full batch would fall behind more than 50,000 changes a second.
                    if count < BATCH {
                        tokio::time::sleep(GATHER).await;
                    }
                    while batch.len() < BATCH && let Ok(change) = self.changes.try_recv() {
                        batch.push(change);
                    }
                    let written = self.write(&batch).await;
                    batch.clear();
                    written
                }
            };
            if let Err(fault) = done {
                // Nothing to mend: entries that are missing are not shown, entries too many are swept.
                tracing::debug!(%fault, "the index of locks was not updated");
            }
        }
    }

    async fn write(&self, changes: &[Change]) -> Result<(), RedisFault> {
        let Index { redis, key, .. } = &self.index;
        let ended = redis.call(&Relist { index: key, limit: self.limit, life: self.life, changes }).await?;
        self.metrics.expired.inc_by(ended);
        Ok(())
    }

    async fn sweep(&self) -> Result<(), RedisFault> {
        let Index { redis, key, clock, .. } = &self.index;
        let sweep = Sweep { index: key, now: &clock.redis_arg(), grace: GRACE, most: SWEPT_TOGETHER };
        loop {
            let ended = redis.call(&sweep).await?;
            self.metrics.expired.inc_by(ended);
            if ended < SWEPT_TOGETHER {
                return Ok(());
            }
        }
    }
}

/// Scores are whole microseconds, which f64 holds exactly until the year 2255.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, positive and below 2^53")]
fn whole(score: f64) -> u64 {
    score as u64
}
