//! The cleanup: one replica at a time packs and rolls up hours and days that are over, trims histories, and removes hosts
//! without data from the indexes. Every step may run twice; a step that failed runs again in the next round.

use tokio_util::sync::CancellationToken;

use super::super::error::HostsError;
use super::super::model::HostId;
use super::super::service::HostService;
use super::super::tenancy::Organisation;
use super::chunk::hour_of;
use super::keys::HistoryKeys;
use crate::lifecycle::Tasks;
use crate::redis::{Effect, RedisFault};

const NAME: &str = "hosts.cleanup";

/// Hosts between two progress reports of a cleanup.
const HOSTS: usize = 100;

/// Runs cleanups from the start of the service until it stops.
pub(in super::super) fn plan(hosts: &HostService, tasks: &Tasks) {
    let (hosts, reports) = (hosts.clone(), tasks.clone());
    tasks.plan(NAME, move |stop| async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(hosts.config.cleanup_interval.duration()) => {}
            }
            let cleaned = hosts.clean(&stop).await;
            reports.report(NAME, cleaned.map_err(|error| error.to_string()));
        }
    });
}

impl HostService {
    /// Cleans up all hosts, if it is this replica's turn.
    async fn clean(&self, stop: &CancellationToken) -> Result<(), HostsError> {
        let key = self.keys.last_cleanup();
        let interval = self.config.cleanup_interval.as_millis();
        let mut turn = None;
        let mut after: Option<HostId> = None;
        let mut failure = None;
        loop {
            // Reports progress as well, so that no other replica starts in the meantime.
            turn = self.redis.keep_turn(&key, turn, interval, &self.clock).await?;
            if turn.is_none() {
                return failure.map_or(Ok(()), Err);
            }
            let hosts = self.indexed(&self.keys.index(), after.as_ref(), HOSTS).await?;
            for id in &hosts {
                if stop.is_cancelled() {
                    return Ok(());
                }
                // An error of one host must not block the others.
                if let Err(error) = self.clean_host(id).await {
                    tracing::warn!(host = id.as_str(), %error, "failed to clean up the history of a host");
                    failure = Some(error);
                }
            }
            after = hosts.last().cloned();
            if hosts.len() < HOSTS {
                return failure.map_or(Ok(()), Err);
            }
        }
    }

    async fn clean_host(&self, id: &HostId) -> Result<(), HostsError> {
        let keys = self.keys.history(id);
        // Samples are rolled up before they are trimmed.
        let settled = self.process_marks(id, &keys).await;
        let oldest = hour_of(self.clock.now().saturating_sub_unsigned(self.config.retention.as_millis()));
        let (oldest_rollup, _) = self.rollup_retention();
        for (key, oldest) in [(&keys.chunks, oldest), (&keys.hourly, oldest_rollup), (&keys.daily, oldest_rollup)] {
            let mut trim = redis::cmd("ZREMRANGEBYSCORE");
            trim.arg(key).arg("-inf").arg(format!("({oldest}"));
            self.redis.query::<u64>(&trim, Effect::Write).await?;
        }
        settled?;
        self.forget_empty(id, &keys).await
    }

    /// Deletes a host that has data neither in memory nor in Redis.
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

    /// Deletes a host's keys and its index entries.
    ///
    /// # Errors
    /// [`RedisFault`]; its outcome is unknown if some keys are deleted.
    pub(in super::super) async fn forget(&self, id: &HostId, owner: &Organisation) -> Result<(), RedisFault> {
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
        // The owner is deleted last, so that a deletion that failed halfway can be requested again.
        let mut delete_owner = redis::cmd("DEL");
        delete_owner.arg(self.keys.owner(id));
        RedisFault::of_steps(self.redis.query_all(&commands, Effect::Write).await?)?;
        self.redis.query::<u64>(&delete_owner, Effect::Write).await.map(|_| ()).map_err(RedisFault::partly_applied)
    }
}
