//! Backups of a deployment: one at a time, by any replica, on request and on schedule.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config;
use super::copies::Copies;
use super::directory::Directory;
use super::error::BackupError;
use super::job::{Job, blocking};
use super::keys::BackupKeys;
use super::metrics::BackupMetrics;
use super::model::{BackupList, Drill, Listed, Summary, Verification};
use super::retention::{Kept, Retention};
use super::tombstones::TombstoneKeeper;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::backup::BackupConfig;
use crate::holdings::{OTHER, Owners};
use crate::redis::{Effect, Key, Redis, RedisFault};
use crate::telemetry::metrics::Metrics;

/// Makes, lists and removes the backups of a deployment.
#[derive(Clone)]
pub struct BackupService {
    pub(super) redis: Redis,
    pub(super) config: BackupConfig,
    /// For what a restore needs of other sections.
    pub(super) whole_config: Config,
    pub(super) keys: BackupKeys,
    pub(super) clock: Clock,
    pub(super) directory: Directory,
    pub(super) job: Job,
    pub(super) metrics: BackupMetrics,
    pub(super) copies: Option<Copies>,
    pub(super) tombstones: Option<TombstoneKeeper>,
    retention: Retention,
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
            owners: Owners::new(config, redis.keys().prefix())?,
            login: config::login(&settings)?,
            clock: clock.clone(),
            keys: Arc::default(),
        };
        Ok(Self {
            redis: redis.clone(),
            keys: BackupKeys::new(redis.keys()),
            copies: Copies::new(&settings).map_err(|error| config.refuse::<BackupConfig>(error))?,
            retention: Retention::new(&settings, config)?,
            whole_config: config.clone(),
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

    pub(super) fn require_on(&self) -> Result<(), BackupError> {
        if self.config.is_on() { Ok(()) } else { Err(BackupError::Off) }
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

    /// Removes the backups and copies that no rule keeps, oldest first; only names them if `is_dry`. Returns their ids.
    ///
    /// # Errors
    /// [`BackupError::Off`], [`BackupError::Io`], [`BackupError::Store`].
    pub async fn prune(&self, is_dry: bool) -> Result<Vec<String>, BackupError> {
        self.require_on()?;
        // A backup that is known to restore is kept. Without Redis it is not known which one that is.
        let drill: Option<Drill> = self.load(&self.keys.drill).await?;
        let drilled = drill.map(|drill| drill.id);
        let (directory, retention, now, kept) =
            (self.directory.clone(), self.retention, self.clock.now(), drilled.clone());
        let mut removed = blocking(move || {
            let whole = |listed: &Listed| directory.file(&listed.manifest.id).exists();
            let all: Vec<Kept> = directory
                .list()?
                .into_iter()
                .filter(whole)
                .map(|listed| Kept { id: listed.manifest.id, started: listed.manifest.started })
                .collect();
            let ids = retention.superfluous(&all, kept.as_deref(), now);
            for id in ids.iter().filter(|_| !is_dry) {
                directory.remove(id)?;
            }
            Ok(ids)
        })
        .await?;
        if let Some(copies) = &self.copies {
            for id in retention.superfluous(&copies.list().await?, drilled.as_deref(), now) {
                if !is_dry {
                    copies.remove(&id).await?;
                }
                if !removed.contains(&id) {
                    removed.push(id);
                }
            }
        }
        Ok(removed)
    }

    /// Checks that a restore while the service runs cannot touch its data.
    pub(super) fn check_prefix(&self, prefix: &str) -> Result<(), BackupError> {
        let own = self.redis.keys().prefix();
        let rule = if prefix.is_empty() || prefix.len() > 64 {
            "must have 1 to 64 characters".to_owned()
        } else if !prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte)) {
            "must be visible ASCII without braces".to_owned()
        } else if own.starts_with(prefix) || (!own.is_empty() && prefix.starts_with(own)) {
            format!("must not overlap with the prefix of the service, {own:?}")
        } else if self.job.owners.holding(format!("{prefix}x").as_bytes()).is_some_and(|found| found != OTHER) {
            "must not be the beginning of names of the service".to_owned()
        } else {
            return Ok(());
        };
        Err(BackupError::Prefix(rule))
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
