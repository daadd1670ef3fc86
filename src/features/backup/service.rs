//! Backups of a deployment: one at a time, by any replica, on request and on schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::config;
use super::directory::Directory;
use super::error::BackupError;
use super::job::{Job, blocking};
use super::keys::BackupKeys;
use super::metrics::BackupMetrics;
use super::model::{BackupList, Drill, Listed, Run, RunStatus, Summary, Verification};
use super::retention::{Kept, Retention};
use super::tombstones::TombstoneKeeper;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::backup::BackupConfig;
use crate::lifecycle::Tasks;
use crate::random;
use crate::redis::{Effect, Key, Redis, RedisFault};
use crate::telemetry::metrics::Metrics;

pub(super) const NAME: &str = "backup.schedule";
const RUN_NAME: &str = "backup.run";
/// A run that has reported nothing for so long has ended with its replica, milliseconds.
const GONE: u64 = 60_000;
/// How often a run reports progress.
const REPORT: Duration = Duration::from_secs(5);
/// How often a replica looks whether a backup is due.
const LOOK: Duration = Duration::from_secs(2);
/// A scheduled backup that failed is tried again after this time, milliseconds.
const AGAIN: u64 = 600_000;

/// Makes, lists and removes the backups of a deployment.
#[derive(Clone)]
pub struct BackupService {
    pub(super) redis: Redis,
    pub(super) config: BackupConfig,
    pub(super) keys: BackupKeys,
    pub(super) clock: Clock,
    pub(super) directory: Directory,
    pub(super) job: Job,
    pub(super) metrics: BackupMetrics,
    tombstones: Option<TombstoneKeeper>,
}

impl BackupService {
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(redis: &Redis, config: &Config, clock: &Clock, metrics: &Metrics) -> Result<Self, BackupError> {
        let settings: BackupConfig = config.section()?;
        let (directory, is_on) = (Directory::new(&settings.dir), settings.is_on());
        let job = Job {
            redis: redis.clone(),
            directory: directory.clone(),
            recipients: config::recipients(&settings)?,
            owners: config::owners(config, redis.keys().prefix())?,
            login: config::login(&settings)?,
            clock: clock.clone(),
            keys: Arc::default(),
        };
        Ok(Self {
            redis: redis.clone(),
            keys: BackupKeys::new(redis.keys()),
            config: settings,
            clock: clock.clone(),
            tombstones: if is_on { TombstoneKeeper::new(config, &directory)? } else { None },
            directory,
            job,
            metrics: BackupMetrics::new(metrics),
        })
    }

    /// Whether the configuration names a directory.
    pub(super) fn is_on(&self) -> bool {
        self.config.is_on()
    }

    fn require_on(&self) -> Result<(), BackupError> {
        if self.config.is_on() { Ok(()) } else { Err(BackupError::Off) }
    }

    /// Makes a backup now, and removes those that are no longer kept.
    ///
    /// # Errors
    /// [`BackupError`]; [`BackupError::Running`] if a replica makes one.
    pub async fn run(&self) -> Result<Listed, BackupError> {
        let run = self.begin().await?;
        self.work(run).await
    }

    /// Starts a backup in the background.
    ///
    /// # Errors
    /// [`BackupError::Off`], [`BackupError::Running`], [`BackupError::Redis`].
    pub(super) async fn start(self: Arc<Self>, tasks: &Tasks) -> Result<Run, BackupError> {
        let run = self.begin().await?;
        let begun = run.clone();
        let reports = tasks.clone();
        tasks.spawn(RUN_NAME, |stop| async move {
            tokio::select! {
                // A file that is not complete is removed later. Another replica may begin again in a minute.
                () = stop.cancelled() => {}
                done = self.work(run) => reports.report(RUN_NAME, done.map(|_| ()).map_err(|error| error.to_string())),
            }
        });
        Ok(begun)
    }

    async fn begin(&self) -> Result<Run, BackupError> {
        self.require_on()?;
        if !self.redis.take_turn(&self.keys.running, GONE, &self.clock).await? {
            return Err(BackupError::Running);
        }
        let now = self.clock.now();
        let time = Timestamp::from_millisecond(now).map_err(std::io::Error::other)?.strftime("%Y%m%dT%H%M%SZ");
        let token = random::token().map_err(std::io::Error::other)?;
        let id = format!("{time}-{}", token.get(..8).unwrap_or_default());
        let run = Run { id, status: RunStatus::Running, reason: None, started: now, updated: now, keys: 0 };
        self.store(&self.keys.run, &run).await?;
        Ok(run)
    }

    async fn work(&self, mut run: Run) -> Result<Listed, BackupError> {
        let job = Job { keys: Arc::new(AtomicU64::new(0)), ..self.job.clone() };
        let made = {
            let mut work = std::pin::pin!(job.run(&run.id));
            let mut reports = tokio::time::interval(REPORT);
            reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    made = &mut work => break made,
                    _ = reports.tick() => {
                        (run.updated, run.keys) = (self.clock.now(), job.keys.load(Ordering::Relaxed));
                        // A report that fails does not end the backup.
                        let _ = self.store(&self.keys.run, &run).await;
                        let _ = self.store(&self.keys.running, &run.updated).await;
                    }
                }
            }
        };
        let pruned = match &made {
            Ok(_) => self.prune(false).await.map(|_| ()),
            Err(_) => Ok(()),
        };
        self.metrics.ended(made.as_ref().ok());
        (run.updated, run.keys) = (self.clock.now(), job.keys.load(Ordering::Relaxed));
        run.status = if made.is_ok() { RunStatus::Done } else { RunStatus::Failed };
        run.reason = made.as_ref().err().map(ToString::to_string);
        let mut stored = self.store(&self.keys.run, &run).await;
        if made.is_ok() {
            stored = stored.and(self.store(&self.keys.success, &run.started).await);
        }
        let freed = self.redis.query::<i64>(redis::cmd("DEL").arg(&self.keys.running), Effect::Write).await;
        let listed = made?;
        pruned.and(stored.map_err(Into::into)).and(freed.map(|_| ()).map_err(Into::into)).map(|()| listed)
    }

    /// The backups of the directory, newest first.
    ///
    /// # Errors
    /// [`BackupError::Off`], [`BackupError::Io`].
    pub async fn list(&self) -> Result<Vec<Listed>, BackupError> {
        self.require_on()?;
        let directory = self.directory.clone();
        blocking(move || Ok(directory.list()?)).await
    }

    /// The backups, the last run and the last drill. Without Redis, the backups alone.
    ///
    /// # Errors
    /// [`BackupError::Off`], [`BackupError::Io`].
    pub(super) async fn overview(&self) -> Result<BackupList, BackupError> {
        let items = self.list().await?.into_iter().map(Summary::from).collect();
        let (run, drill) = (self.load(&self.keys.run).await, self.load(&self.keys.drill).await);
        Ok(BackupList { items, run: run.ok().flatten(), drill: drill.ok().flatten() })
    }

    /// # Errors
    /// [`BackupError::Off`], [`BackupError::NotFound`], [`BackupError::Io`].
    pub async fn get(&self, id: &str) -> Result<Listed, BackupError> {
        self.require_on()?;
        let (directory, id) = (self.directory.clone(), id.to_owned());
        blocking(move || directory.get(&id)).await
    }

    /// The file of a backup.
    ///
    /// # Errors
    /// Those of [`BackupService::get`].
    pub(super) async fn content(&self, id: &str) -> Result<(Listed, tokio::fs::File), BackupError> {
        let listed = self.get(id).await?;
        match tokio::fs::File::open(self.directory.file(id)).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(BackupError::NotFound(id.to_owned())),
            file => Ok((listed, file?)),
        }
    }

    /// Deletes a backup that is not the newest.
    ///
    /// # Errors
    /// [`BackupError::Newest`], and those of [`BackupService::get`].
    pub(super) async fn delete(&self, id: &str) -> Result<(), BackupError> {
        self.get(id).await?;
        let (directory, id) = (self.directory.clone(), id.to_owned());
        blocking(move || {
            if directory.list()?.first().is_some_and(|newest| newest.manifest.id == id) {
                return Err(BackupError::Newest(id));
            }
            directory.remove(&id)
        })
        .await
    }

    /// Compares the file of a backup with what was written.
    ///
    /// # Errors
    /// Those of [`BackupService::get`].
    pub(super) async fn verify(&self, id: &str) -> Result<Verification, BackupError> {
        let listed = self.get(id).await?;
        let directory = self.directory.clone();
        let reason = blocking(move || directory.fault(&listed)).await?;
        Ok(Verification { id: id.to_owned(), is_whole: reason.is_none(), reason })
    }

    /// Removes the backups that no rule keeps, oldest first; only names them if `is_dry`. Returns their ids.
    ///
    /// # Errors
    /// [`BackupError::Off`], [`BackupError::Io`].
    pub async fn prune(&self, is_dry: bool) -> Result<Vec<String>, BackupError> {
        self.require_on()?;
        // A backup that is known to restore is kept. Without Redis it is not known which one that is.
        let drill: Option<Drill> = self.load(&self.keys.drill).await?;
        let (directory, retention) = (self.directory.clone(), Retention::from(&self.config));
        blocking(move || {
            let whole = |listed: &Listed| directory.file(&listed.manifest.id).exists();
            let all: Vec<Kept> = directory
                .list()?
                .into_iter()
                .filter(whole)
                .map(|listed| Kept { id: listed.manifest.id, started: listed.manifest.started })
                .collect();
            let mut ids = retention.superfluous(&all, drill.as_ref().map(|drill| drill.id.as_str()));
            ids.reverse();
            for id in ids.iter().filter(|_| !is_dry) {
                directory.remove(id)?;
            }
            Ok(ids)
        })
        .await
    }

    /// Keeps the metrics, and begins backups that are due, until the service stops.
    pub(super) async fn schedule(self: Arc<Self>, tasks: Tasks, stop: CancellationToken) {
        let mut tombstones = None;
        loop {
            let looked = Arc::clone(&self).look(&tasks).await;
            let looked = looked.and(self.keep_tombstones(&mut tombstones).await);
            tasks.report(NAME, looked.map_err(|error| error.to_string()));
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

    async fn look(self: Arc<Self>, tasks: &Tasks) -> Result<(), BackupError> {
        let success: Option<i64> = self.load(&self.keys.success).await?;
        self.metrics.last_success.set(success.unwrap_or_default() / 1_000);
        let drill: Option<Drill> = self.load(&self.keys.drill).await?;
        self.metrics.last_drill.set(drill.map_or(0, |drill| drill.passed) / 1_000);
        let every = self.config.every.as_millis();
        let due = success.is_none_or(|last| last.saturating_add_unsigned(every) <= self.clock.now());
        if every == 0 || !due || !self.redis.take_turn(&self.keys.tried, every.min(AGAIN), &self.clock).await? {
            return Ok(());
        }
        match self.start(tasks).await {
            Ok(_) | Err(BackupError::Running) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn store(&self, key: &Key, value: &impl Serialize) -> Result<(), RedisFault> {
        // Texts and integers always serialise.
        let text = serde_json::to_string(value).unwrap_or_default();
        self.redis.query(redis::cmd("SET").arg(key).arg(text), Effect::Write).await
    }

    pub(super) async fn load<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, RedisFault> {
        let text: Option<String> = self.redis.query(redis::cmd("GET").arg(key), Effect::Read).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}
