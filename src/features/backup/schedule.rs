//! Begins backups and drills when they are due, at one of the replicas.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::BackupError;
use super::model::Drill;
use super::runs::Background;
use super::service::BackupService;
use crate::clock::UnixMillis;
use crate::config::value::Span;
use crate::redis::{Key, RedisFault};

pub(super) const NAME: &str = "backup.schedule";
/// How often a replica looks whether a backup is due.
const LOOK: Duration = Duration::from_secs(2);
/// What is due and failed is tried again after this time, milliseconds.
const AGAIN: u64 = 600_000;

impl BackupService {
    /// Keeps the metrics, and begins backups that are due, until the service stops.
    pub(super) async fn schedule(self: Arc<Self>, background: Background, stop: CancellationToken) {
        let mut tombstones = None;
        loop {
            let looked = Arc::clone(&self).look(&background).await;
            let looked = looked.and(self.keep_tombstones(&mut tombstones).await);
            background.tasks.report(NAME, looked.map_err(|error| error.to_string()));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn keep_tombstones(&self, known: &mut Option<u64>) -> Result<(), BackupError> {
        if let Some(keeper) = &self.tombstones {
            *known = Some(keeper.keep(&self.redis, *known, self.clock.now()).await?);
        }
        Ok(())
    }

    async fn look(self: Arc<Self>, background: &Background) -> Result<(), BackupError> {
        let success: Option<UnixMillis> = self.load(&self.keys.success).await?;
        self.metrics.last_success.set(success.unwrap_or_default() / 1_000);
        let drill: Option<Drill> = self.load(&self.keys.drill).await?;
        self.metrics.last_drill.set(drill.as_ref().map_or(0, |drill| drill.passed) / 1_000);
        let begun = if self.is_due(self.config.every, success, &self.keys.tried).await? {
            Arc::clone(&self).start(&background.tasks).await.map(|_| ())
        } else if let Some(newest) = success.and(self.list().await?.into_iter().next())
            && self.is_due(self.config.drill_every, drill.map(|drill| drill.passed), &self.keys.drill_tried).await?
        {
            Arc::clone(&self).start_drill(&newest.manifest.id, background).await.map(|_| ())
        } else {
            Ok(())
        };
        match begun {
            Err(BackupError::Running) => Ok(()),
            begun => begun,
        }
    }

    /// Whether something is due, and it is the turn of this replica.
    async fn is_due(&self, every: Span, last: Option<UnixMillis>, tried: &Key) -> Result<bool, RedisFault> {
        let every = every.as_millis();
        let due = last.is_none_or(|last| last.saturating_add_unsigned(every) <= self.clock.now());
        Ok(every != 0 && due && self.redis.take_turn(tried, every.min(AGAIN), &self.clock).await?)
    }
}
