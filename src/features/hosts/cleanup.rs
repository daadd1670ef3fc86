//! The cleanup: one replica at a time packs hours that are over, trims histories, and forgets hosts of which nothing is
//! kept. Every step may be made twice, and one that failed is made with the next round.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::chunk::{self, HOUR, hour_of};
use super::error::HostsError;
use super::history::Order;
use super::keys::HistoryKeys;
use super::model::HostId;
use super::scripts::{Cleanup, Pack};
use super::service::{HostService, signed};
use super::tenancy::Organisation;
use crate::clock::UnixMillis;
use crate::lifecycle::Tasks;
use crate::redis::{Effect, RedisFault};

const NAME: &str = "hosts.cleanup";

/// Hosts between two signs of life of a cleanup.
const HOSTS: usize = 100;

/// Samples of a packed chunk: an hour of one every 5 s is one chunk, of 20 a second eighteen.
const PACKED_SAMPLES: usize = 4_096;

/// Cleans with the service's start, until it stops.
pub(super) fn plan(hosts: &HostService, tasks: &Tasks) {
    let (hosts, board) = (hosts.clone(), tasks.clone());
    tasks.plan(NAME, move |stop| async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(hosts.config.cleanup_interval.duration()) => {}
            }
            let cleaned = hosts.clean(&stop).await;
            board.report(NAME, cleaned.map_err(|error| error.to_string()));
        }
    });
}

impl HostService {
    /// One round over all hosts, if it is this replica's turn.
    async fn clean(&self, stop: &CancellationToken) -> Result<(), HostsError> {
        let key = self.keys.last_cleanup();
        let interval = self.config.cleanup_interval.as_millis();
        let now = self.clock.redis_arg();
        if !self.redis.call(&Cleanup { key: &key, interval, now: &now }).await? {
            return Ok(());
        }
        let mut after: Option<HostId> = None;
        let mut failure = None;
        loop {
            let hosts = self.indexed(&self.keys.index(), after.as_ref(), HOSTS).await?;
            for id in &hosts {
                if stop.is_cancelled() {
                    return Ok(());
                }
                // One host's trouble is not the others'.
                if let Err(error) = self.clean_host(id).await {
                    tracing::warn!(host = id.as_str(), %error, "the history of a host could not be cleaned up");
                    failure = Some(error);
                }
            }
            after = hosts.last().cloned();
            if hosts.len() < HOSTS {
                return failure.map_or(Ok(()), Err);
            }
            // A sign of life: no other replica starts while this one is at it.
            self.redis.call(&Cleanup { key: &key, interval: 1, now: &self.clock.redis_arg() }).await?;
        }
    }

    async fn clean_host(&self, id: &HostId) -> Result<(), HostsError> {
        let keys = self.keys.history(id);
        let now = self.clock.now();
        let oldest = hour_of(now.saturating_sub_unsigned(self.config.retention.as_millis()));
        let mut trim = redis::cmd("ZREMRANGEBYSCORE");
        trim.arg(&keys.chunks).arg("-inf").arg(format!("({oldest}"));
        self.redis.query::<u64>(&trim, Effect::Write).await?;
        let mut read = redis::cmd("HGETALL");
        read.arg(&keys.hours);
        let hours: BTreeMap<UnixMillis, u64> = self.redis.query(&read, Effect::Read).await?;
        let over = now - HOUR - signed(self.config.pack_after.as_millis());
        for (&hour, &writes) in hours.range(..=over) {
            self.pack_hour(id, &keys, hour, writes).await?;
        }
        if hours.is_empty() { self.forget_empty(id, &keys).await } else { Ok(()) }
    }

    /// Puts packed chunks in the place of all chunks of an hour; one that is written to meanwhile is left for later.
    async fn pack_hour(
        &self,
        id: &HostId,
        keys: &HistoryKeys,
        hour: UnixMillis,
        writes: u64,
    ) -> Result<(), HostsError> {
        let samples = self.history.read(id, hour..=hour + HOUR - 1, Order::Ascending, usize::MAX).await?;
        let unreadable = |cause| HostsError::Unreadable { id: id.clone(), cause };
        let mut chunks = Vec::new();
        for part in samples.chunks(PACKED_SAMPLES) {
            if let Some(first) = part.first() {
                chunks.push((first.timestamp, chunk::pack(part).map_err(unreadable)?));
            }
            // A chunk takes a few milliseconds: requests of this thread go in between.
            tokio::task::yield_now().await;
        }
        self.redis.call(&Pack { keys, hour, writes, chunks: &chunks }).await?;
        Ok(())
    }

    /// Takes a host out of the indexes when nothing is kept of it, neither here nor in Redis.
    async fn forget_empty(&self, id: &HostId, keys: &HistoryKeys) -> Result<(), HostsError> {
        let mut exists = redis::cmd("EXISTS");
        exists.arg(&keys.chunks);
        if self.memory.get(id).is_some() || self.redis.query::<bool>(&exists, Effect::Read).await? {
            return Ok(());
        }
        exists = redis::cmd("EXISTS");
        exists.arg(self.keys.current(id));
        if self.redis.query::<bool>(&exists, Effect::Read).await? {
            return Ok(());
        }
        let owner = self.owner(id).await?.unwrap_or_else(|| Organisation::new(""));
        Ok(self.forget(id, &owner).await?)
    }

    /// Deletes a host's keys and its places in the indexes.
    ///
    /// # Errors
    /// [`RedisFault`]; a part may be deleted then.
    pub(super) async fn forget(&self, id: &HostId, owner: &Organisation) -> Result<(), RedisFault> {
        let HistoryKeys { chunks, hours } = self.keys.history(id);
        let mut commands = Vec::new();
        for key in [chunks, hours, self.keys.current(id)] {
            let mut delete = redis::cmd("DEL");
            delete.arg(key);
            commands.push(delete);
        }
        for index in [self.keys.index(), self.keys.index_of(owner)] {
            let mut delist = redis::cmd("ZREM");
            delist.arg(index).arg(id.as_str());
            commands.push(delist);
        }
        let mut delist = redis::cmd("SREM");
        delist.arg(self.keys.hosts()).arg(id.as_str());
        commands.push(delist);
        // The owner goes last: until then a deletion that failed on its way can be asked for again.
        let mut disown = redis::cmd("DEL");
        disown.arg(self.keys.owner(id));
        for answer in self.redis.query_all(&commands, Effect::Write).await? {
            answer?;
        }
        self.redis.query::<u64>(&disown, Effect::Write).await.map(|_| ())
    }
}
