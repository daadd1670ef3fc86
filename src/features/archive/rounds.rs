//! The background work: minutes are brought into files and leave Redis. Without a directory, those that are older than
//! `archive.window_max` leave Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::ArchiveError;
use super::scripts;
use super::service::ArchiveService;
use crate::lifecycle::Tasks;
use crate::redis::Backoff;
use crate::tape::{MINUTE, Symbol};

const NAME: &str = "archive.round";

/// How often a replica looks after all windows.
const ROUND: Duration = Duration::from_secs(5);

/// How often a replica checks whether the directory can be written.
const PROBE: Duration = Duration::from_secs(60);

/// How often days are packed and deleted.
const MAINTENANCE: Duration = Duration::from_secs(3_600);

/// The first and the longest pause after a failure.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// The most symbols of a round, those of the latest trades.
pub(super) const SYMBOLS: usize = 10_000;

/// The most minutes of one call.
const STEP: usize = 500;

/// Looks after windows from the start of the service until it stops.
pub(super) fn plan(archive: &Arc<ArchiveService>, tasks: &Tasks) {
    let (archive, reports) = (Arc::clone(archive), tasks.clone());
    tasks.plan(NAME, move |stop| async move {
        let mut backoff = Backoff::new(PAUSES[0], PAUSES[1]);
        let [mut probed, mut maintained] = [None::<Instant>; 2];
        let is_due = |last: &Option<Instant>, interval| last.is_none_or(|last| last.elapsed() >= interval);
        let mut pause = Duration::ZERO;
        // A connection that is being made is no failure.
        archive.redis.settled().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let mut outcome = Ok(());
            if is_due(&probed, PROBE) {
                outcome = archive.probe().await;
                probed = Some(Instant::now());
            }
            if outcome.is_ok() {
                outcome = archive.round(&stop).await;
            }
            if outcome.is_ok() && is_due(&maintained, MAINTENANCE) {
                maintained = Some(Instant::now());
                outcome = archive.maintain(&stop).await;
            }
            pause = if outcome.is_ok() {
                backoff.reset();
                ROUND
            } else {
                // The directory is probed again before anything else.
                probed = None;
                PAUSES[0] + backoff.pause()
            };
            let outcome = outcome.map_err(|error| match error {
                ArchiveError::SlowDisk | ArchiveError::Files(_) => {
                    format!("`{}`: {error}", archive.config.dir.display())
                }
                other => other.to_string(),
            });
            if archive.directory.is_some() {
                archive.board.report(&archive.health, outcome.as_ref().err().cloned());
            }
            reports.report(NAME, outcome);
        }
    });
}

impl ArchiveService {
    async fn probe(&self) -> Result<(), ArchiveError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let now = self.clock.now();
        directory.run(move |files| files.probe(now)).await
    }

    /// Looks after all windows once.
    ///
    /// # Errors
    /// The last [`ArchiveError`]. That of one symbol does not keep the others from their turn, unless it is of the directory.
    async fn round(&self, stop: &CancellationToken) -> Result<(), ArchiveError> {
        let symbols = self.listing.symbols(0, SYMBOLS).await?;
        let mut failure = Ok(());
        for symbol in &symbols {
            if stop.is_cancelled() {
                return Ok(());
            }
            let done =
                if self.directory.is_some() { self.archive(symbol).await.map(|_| ()) } else { self.trim(symbol).await };
            match done {
                Err(error @ (ArchiveError::SlowDisk | ArchiveError::Files(_))) => {
                    failure = Err(error);
                    break;
                }
                Err(error) => failure = Err(error),
                Ok(()) => {}
            }
        }
        self.measure(&symbols).await?;
        failure
    }

    async fn measure(&self, symbols: &[Symbol]) -> Result<(), ArchiveError> {
        let now = self.clock.now();
        let (mut minutes, mut lag) = (0, 0);
        for symbol in symbols {
            let keys = self.window.keys(symbol);
            minutes += self.window.count(&keys.index).await?;
            if self.directory.is_some() {
                let oldest = self.window.minutes(&keys.dirty, i64::MIN, now - MINUTE, 1).await?;
                lag = oldest.first().map_or(0, |oldest| (now - oldest - MINUTE) / 1_000).max(lag);
            }
        }
        self.metrics.minutes.set(i64::try_from(minutes).unwrap_or(i64::MAX));
        self.metrics.lag.set(lag);
        Ok(())
    }

    /// Removes the minutes of a symbol that are too old. Several replicas may do so at the same time.
    async fn trim(&self, symbol: &Symbol) -> Result<(), ArchiveError> {
        let before = self.config.kept_from(self.clock.now());
        let keys = self.window.keys(symbol);
        if self.window.minutes(&keys.index, i64::MIN, before, 1).await?.is_empty() {
            return Ok(());
        }
        while self.redis.call(scripts::trim(&keys, before, STEP)).await? == STEP {}
        Ok(())
    }
}
