//! The background work: minutes that are older than `archive.window_max` leave Redis.

use std::sync::Arc;
use std::time::Duration;

use super::error::ArchiveError;
use super::scripts;
use super::service::ArchiveService;
use crate::lifecycle::Tasks;

const NAME: &str = "archive.trim";

/// How often a replica trims all windows.
const ROUND: Duration = Duration::from_secs(5);

/// The most symbols of a round, those of the latest trades.
const SYMBOLS: usize = 10_000;

/// The most minutes of one call.
const STEP: usize = 500;

/// Trims windows from the start of the service until it stops.
pub(super) fn plan(archive: &Arc<ArchiveService>, tasks: &Tasks) {
    let (archive, reports) = (Arc::clone(archive), tasks.clone());
    tasks.plan(NAME, move |stop| async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
            reports.report(NAME, archive.trim().await.map_err(|error| error.to_string()));
        }
    });
}

impl ArchiveService {
    /// Removes the minutes that are too old. Several replicas may do so at the same time.
    ///
    /// # Errors
    /// [`ArchiveError::Redis`]; the rest is removed in the next round.
    pub(super) async fn trim(&self) -> Result<(), ArchiveError> {
        let before = self.config.kept_from(self.clock.now());
        for symbol in self.listing.symbols(0, SYMBOLS).await? {
            let keys = self.window.keys(&symbol);
            while !self.window.minutes_before(&keys, before, 1).await?.is_empty() {
                self.redis.call(scripts::trim(&keys, before, STEP)).await?;
            }
        }
        Ok(())
    }
}
