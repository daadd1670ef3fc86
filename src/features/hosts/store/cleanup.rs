//! The cleanup: one replica at a time packs and rolls up what is over, trims histories, and forgets hosts of which nothing
//! is kept. Every step may be made twice, and one that failed is made with the next round.

use tokio_util::sync::CancellationToken;

use crate::features::hosts::error::HostsError;
use crate::features::hosts::model::HostId;
use crate::features::hosts::organisation::Organisation;
use crate::features::hosts::service::HostService;
use crate::features::hosts::store::chunk::hour_of;
use crate::features::hosts::store::keys::HistoryKeys;
use crate::features::hosts::store::scripts::Cleanup;
use crate::lifecycle::Tasks;
use crate::redis::{Effect, RedisFault};

const NAME: &str = "hosts.cleanup";

/// Hosts between two signs of life of a cleanup.
const HOSTS: usize = 100;

/// Cleans with the service's start, until it stops.
pub(in crate::features::hosts) fn plan(hosts: &HostService, tasks: &Tasks) {
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
        // Rolled up before it is trimmed.
        let settled = self.settle_marks(id, &keys).await;
        let oldest = hour_of(self.clock.now().saturating_sub_unsigned(self.config.retention.as_millis()));
        let oldest_rollup = self.keeping().oldest;
        for (key, oldest) in [(&keys.chunks, oldest), (&keys.hourly, oldest_rollup), (&keys.daily, oldest_rollup)] {
            let mut trim = redis::cmd("ZREMRANGEBYSCORE");
            trim.arg(key).arg("-inf").arg(format!("({oldest}"));
            self.redis.query::<u64>(&trim, Effect::Write).await?;
        }
        settled?;
        self.forget_empty(id, &keys).await
    }

    /// Takes a host out of the indexes when nothing is kept of it, neither here nor in Redis.
    async fn forget_empty(&self, id: &HostId, keys: &HistoryKeys) -> Result<(), HostsError> {
        let mut exists = redis::cmd("EXISTS");
        exists.arg(&keys.chunks).arg(&keys.hourly).arg(&keys.daily);
        if self.memory.get(id).is_some() || self.redis.query::<u64>(&exists, Effect::Read).await? > 0 {
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
    pub(in crate::features::hosts) async fn forget(&self, id: &HostId, owner: &Organisation) -> Result<(), RedisFault> {
        let HistoryKeys { chunks, hours, hourly, daily, days } = self.keys.history(id);
        let mut commands = Vec::new();
        for key in [chunks, hours, hourly, daily, days, self.keys.current(id)] {
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
        let mut drop_samples = redis::cmd("DEL");
        drop_samples.arg(self.keys.owner(id));
        for answer in self.redis.query_all(&commands, Effect::Write).await? {
            answer?;
        }
        self.redis.query::<u64>(&drop_samples, Effect::Write).await.map(|_| ())
    }
}
