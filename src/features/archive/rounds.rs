//! The background work: minutes are brought into files and leave Redis. Without a directory, those that are older than
//! `archive.window_max` leave Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::ArchiveError;
use super::scripts;
use super::service::ArchiveService;
use crate::clock::UnixMillis;
use crate::lifecycle::Tasks;
use crate::redis::{Backoff, Effect, Key};
use crate::tape::{MINUTE, Symbol};

const NAME: &str = "archive.round";

/// How often a replica looks after all windows.
const ROUND: Duration = Duration::from_secs(5);

/// How often a replica looks for symbols while there are none.
const IDLE_ROUND: Duration = Duration::from_secs(15);

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
            let mut is_idle = false;
            if is_due(&probed, PROBE) {
                outcome = archive.probe().await;
                probed = Some(Instant::now());
            }
            if outcome.is_ok() {
                outcome = archive.round(&stop).await.map(|has_symbols| is_idle = !has_symbols);
            }
            if outcome.is_ok() && is_due(&maintained, MAINTENANCE) {
                maintained = Some(Instant::now());
                outcome = archive.maintain(&stop).await;
            }
            pause = if outcome.is_ok() {
                backoff.reset();
                if is_idle { IDLE_ROUND } else { ROUND }
            } else {
                // The directory is probed again before anything else.
                probed = None;
                PAUSES[0] + backoff.pause()
            };
            let of_directory = match &outcome {
                Err(error @ (ArchiveError::SlowDisk | ArchiveError::Files(_))) => Some(error.to_string()),
                _ => None,
            };
            let outcome = outcome.map_err(|error| match &of_directory {
                Some(reason) => format!("`{}`: {reason}", archive.config.dir.display()),
                None => error.to_string(),
            });
            archive.board.set_directory(of_directory);
            if archive.directory.is_some() {
                archive.board.report(&archive.health, outcome.as_ref().err().cloned());
            }
            reports.report(NAME, outcome);
        }
    });
}

/// What a round must know about a window.
struct Survey {
    minutes: i64,
    oldest: Option<UnixMillis>,
    /// The oldest minute without a file.
    oldest_dirty: Option<UnixMillis>,
}

impl ArchiveService {
    async fn probe(&self) -> Result<(), ArchiveError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let now = self.clock.now();
        directory.run(move |files| files.probe(now)).await
    }

    /// Looks after all windows once. Returns whether there are any symbols.
    ///
    /// # Errors
    /// The last [`ArchiveError`]. That of one symbol does not keep the others from their turn, unless it is of the directory.
    async fn round(&self, stop: &CancellationToken) -> Result<bool, ArchiveError> {
        let symbols = self.listing.symbols(0, SYMBOLS).await?;
        let surveys = self.survey(&symbols).await?;
        let now = self.clock.now();
        let [written_before, kept_from] = self.due_before();
        let oldest = surveys.iter().filter_map(|survey| survey.oldest_dirty).min().filter(|_| self.directory.is_some());
        self.metrics.lag.set(oldest.map_or(0, |oldest| (now - oldest - MINUTE) / 1_000).max(0));
        self.metrics.minutes.set(surveys.iter().map(|survey| survey.minutes).sum());
        let is_before = |minute: Option<UnixMillis>, limit| minute.is_some_and(|minute| minute < limit);
        let mut outcome = Ok(!symbols.is_empty());
        for (symbol, Survey { oldest, oldest_dirty, .. }) in symbols.iter().zip(surveys) {
            if stop.is_cancelled() {
                return Ok(true);
            }
            let done = if self.directory.is_none() {
                let is_due = is_before(oldest, self.config.kept_from(now));
                if is_due { self.trim(symbol).await } else { Ok(()) }
            } else if is_before(oldest_dirty, written_before) || is_before(oldest, kept_from) {
                self.archive(symbol, None).await.map(|_| ())
            } else {
                self.board.forget(symbol);
                Ok(())
            };
            match done {
                Err(error @ (ArchiveError::SlowDisk | ArchiveError::Files(_))) => return Err(error),
                Err(error) => outcome = Err(error),
                Ok(()) => {}
            }
        }
        outcome
    }

    /// Looks at all windows, in few round trips.
    async fn survey(&self, symbols: &[Symbol]) -> Result<Vec<Survey>, ArchiveError> {
        let read = |symbol: &Symbol| {
            let keys = self.window.keys(symbol);
            let first = |set: &Key| redis::cmd("ZRANGE").arg(set).arg(0).arg(0).clone();
            [redis::cmd("ZCARD").arg(&keys.index).clone(), first(&keys.index), first(&keys.dirty)]
        };
        let reads: Vec<redis::Cmd> = symbols.iter().flat_map(read).collect();
        let mut numbers = Vec::with_capacity(reads.len());
        for answer in self.redis.query_all(&reads, Effect::Read).await? {
            numbers.push(match answer? {
                redis::Value::Int(number) => Some(number),
                list => redis::from_redis_value::<Vec<i64>>(list).ok().and_then(|list| list.first().copied()),
            });
        }
        let (all, _) = numbers.as_chunks::<3>();
        let survey = |[minutes, oldest, oldest_dirty]: &[Option<i64>; 3]| Survey {
            minutes: minutes.unwrap_or_default(),
            oldest: *oldest,
            oldest_dirty: *oldest_dirty,
        };
        Ok(all.iter().map(survey).collect())
    }

    /// Removes the minutes of a symbol that are too old. Several replicas may do so at the same time.
    async fn trim(&self, symbol: &Symbol) -> Result<(), ArchiveError> {
        let before = self.config.kept_from(self.clock.now());
        let keys = self.window.keys(symbol);
        while self.redis.call(scripts::trim(&keys, before, STEP)).await? == STEP {}
        Ok(())
    }
}
