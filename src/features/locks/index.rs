//! The index of held locks behind `GET /locks`. It is updated in the background, so that a grant stays one round trip.
//!
//! The index may lag by some milliseconds and list locks that are free again, so a listing also inspects each lock.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::config::LocksConfig;
use super::keys;
use super::metrics::LockMetrics;
use super::model::{Resource, millis};
use super::scripts::{IndexChange, sweep_index, update_index};
use crate::clock::Clock;
use crate::redis::{Effect, Key, Redis, RedisFault};

/// The most locks in the index: 100 bytes each. Beyond it, the locks whose leases end first are not listed.
const LIMIT: usize = 100_000;
/// How often expired leases are removed, and counted. Listings are correct without it, so this only bounds the delay of
/// the count.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often expired leases are looked for while no lock is held, as far as this replica knows.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// The most changes that may wait. Beyond it, locks are not listed.
const BACKLOG: usize = 65_536;
/// The most changes of one script call.
const BATCH: usize = 256;
/// How long changes are collected before the call.
const COLLECT: Duration = Duration::from_millis(5);
/// How long ago a lease must have ended to count as expired: its release may be on the way.
const GRACE: Duration = Duration::from_secs(1);
/// The most leases that one sweep call removes: well below a millisecond of Redis's time.
const SWEEP_BATCH: u64 = 1_000;

#[derive(Clone, Debug)]
pub(super) struct LockIndex {
    redis: Redis,
    key: Key,
    clock: Clock,
    /// The TTL of the index after its last change.
    ttl: Duration,
    metrics: LockMetrics,
    changes: mpsc::Sender<IndexChange>,
}

/// Where the next page begins: the end of a lease, and how many leases with that end were listed already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexCursor {
    ends_us: u64,
    listed: usize,
}

impl IndexCursor {
    /// Parses the output of `to_string`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (ends_us, listed) = text.split_once('-')?;
        Some(Self { ends_us: ends_us.parse().ok()?, listed: listed.parse().ok()? })
    }
}

impl std::fmt::Display for IndexCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ends_us, self.listed)
    }
}

impl LockIndex {
    /// Returns the index and the changes that [`LockIndex::write_changes`] writes.
    pub(super) fn new(
        redis: &Redis,
        clock: &Clock,
        config: &LocksConfig,
        metrics: &LockMetrics,
    ) -> (Self, mpsc::Receiver<IndexChange>) {
        let (changes, receiver) = mpsc::channel(BACKLOG);
        let index = Self {
            redis: redis.clone(),
            key: keys::index(redis.keys()),
            clock: clock.clone(),
            ttl: config.longest_lease() + Duration::from_secs(60),
            metrics: metrics.clone(),
            changes,
        };
        (index, receiver)
    }

    /// Lists a lease of length `ttl`.
    pub(super) fn granted(&self, resource: Resource, ends_us: u64, ttl: Duration) {
        let began_us = ends_us.saturating_sub(millis(ttl) * 1_000);
        self.record(IndexChange { event: "granted", resource, ends_us, began_us });
    }

    pub(super) fn extended(&self, resource: Resource, ends_us: u64) {
        self.record(IndexChange { event: "extended", resource, ends_us, began_us: 0 });
    }

    /// Removes a lease; without an end it was never listed.
    pub(super) fn released(&self, resource: Resource, ends_us: Option<u64>) {
        if let Some(ends_us) = ends_us {
            self.record(IndexChange { event: "released", resource, ends_us, began_us: 0 });
        }
    }

    fn record(&self, change: IndexChange) {
        // If the channel is full, the lock is held but not listed.
        let _ = self.changes.try_send(change);
    }

    /// The next `limit` resources, sorted by the end of their lease, and the cursor of the page after them.
    pub(super) async fn page(
        &self,
        limit: usize,
        from: Option<IndexCursor>,
    ) -> Result<(Vec<Resource>, Option<IndexCursor>), RedisFault> {
        let from = from.unwrap_or(IndexCursor { ends_us: 0, listed: 0 });
        let mut range = redis::cmd("ZRANGE");
        range.arg(&self.key).arg(from.ends_us).arg("+inf").arg("BYSCORE");
        range.arg("LIMIT").arg(from.listed).arg(limit).arg("WITHSCORES");
        let entries: Vec<(String, f64)> = self.redis.query(&range, Effect::Read).await?;
        let mut next = from;
        for (_, score) in &entries {
            let ends_us = microseconds(*score);
            next = IndexCursor { ends_us, listed: if ends_us == next.ends_us { next.listed + 1 } else { 1 } };
        }
        let is_last = entries.len() < limit;
        let resources = entries.into_iter().filter_map(|(name, _)| Resource::try_from(name).ok()).collect();
        Ok((resources, (!is_last).then_some(next)))
    }

    /// The number of listed leases that have not ended.
    pub(super) async fn held(&self) -> Result<u64, RedisFault> {
        let now_us = u64::try_from(self.clock.now()).unwrap_or_default() * 1_000;
        let mut count = redis::cmd("ZCOUNT");
        count.arg(&self.key).arg(now_us).arg("+inf");
        self.redis.query(&count, Effect::Read).await
    }

    /// Writes changes as they come, and removes expired leases, until `stop`; runs as a background task.
    pub(super) async fn write_changes(self, mut changes: mpsc::Receiver<IndexChange>, stop: CancellationToken) {
        let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut is_idle = false;
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                _ = sweeps.tick() => self.sweep(is_idle).await.map(|held| {
                    is_idle = held == 0;
                    if is_idle {
                        sweeps.reset_after(IDLE_INTERVAL);
                    }
                }),
                count = changes.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    // Changes are collected, so that locks that change hands quickly cost one call for many. A full
                    // batch is written immediately: pauses would limit the index to about 50,000 changes a second.
                    if count < BATCH {
                        tokio::time::sleep(COLLECT).await;
                    }
                    while batch.len() < BATCH && let Ok(change) = changes.try_recv() {
                        batch.push(change);
                    }
                    let written = self.write(&batch).await;
                    batch.clear();
                    if std::mem::take(&mut is_idle) {
                        sweeps.reset_after(SWEEP_INTERVAL);
                    }
                    written
                }
            };
            if let Err(fault) = done {
                // Nothing to repair: missing entries are not listed, and stale ones are swept.
                tracing::debug!(%fault, "index of locks not updated");
            }
        }
    }

    async fn write(&self, changes: &[IndexChange]) -> Result<(), RedisFault> {
        let expired = self.redis.call(update_index(&self.key, LIMIT, self.ttl, changes)).await?;
        self.metrics.expired.inc_by(expired);
        Ok(())
    }

    /// Removes expired leases. Returns how many are left. If there were none, it looks first whether there is an index.
    async fn sweep(&self, was_idle: bool) -> Result<i64, RedisFault> {
        if was_idle && !self.redis.query::<bool>(redis::cmd("EXISTS").arg(&self.key), Effect::Read).await? {
            return Ok(0);
        }
        loop {
            let (expired, held) = self.redis.call(sweep_index(&self.key, &self.clock, GRACE, SWEEP_BATCH)).await?;
            self.metrics.expired.inc_by(expired);
            self.metrics.held_now.set(held);
            if expired < SWEEP_BATCH {
                return Ok(held);
            }
        }
    }
}

/// Scores are whole microseconds, which f64 represents exactly until the year 2255.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, positive and below 2^53")]
fn microseconds(score: f64) -> u64 {
    score as u64
}
