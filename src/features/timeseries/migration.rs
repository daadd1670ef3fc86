//! Moving a deployment's series to the other backend.
//!
//! Every series is moved by itself, so that a migration may be interrupted at any time and run again. When none is left, the
//! record of the backend is changed, and replicas follow it. Series are found by SCAN under the names that they may
//! have, so that also those are moved which the lists do not know.

use std::sync::Arc;

use redis::Cmd;

use super::backend::{Moved, Mover, SERIES};
use super::config::TimeseriesConfig;
use super::error::TimeseriesError;
use super::families::Families;
use super::keys::{self, SeriesKeys};
use super::metrics::TimeseriesMetrics;
use super::series::SeriesKey;
use crate::config::{Config, ConfigError};
use crate::redis::{Backend, BackendRecord, Effect, FaultKind, PrefixScan, Redis, RedisFault, Segment, unescape};
use crate::telemetry::metrics::Metrics;

/// How often a series is copied that somebody writes to.
const TRIES: usize = 3;

/// A migration, ready to run.
#[derive(Debug)]
pub struct Migration {
    redis: Redis,
    home: BackendRecord,
    families: Arc<Families>,
    mover: Mover,
}

/// Series and their points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub series: u64,
    /// Within retention.
    pub points: u64,
}

/// How much there is in each backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub native: Count,
    pub module: Count,
}

impl Census {
    /// The points of both.
    pub fn points(&self) -> u64 {
        self.native.points + self.module.points
    }
}

/// What a migration has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub moved: Count,
    /// Names under which stands what is no series of ours: it stays as it is.
    pub left: Vec<String>,
}

/// Why a migration did not run to its end; it may be run again.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error("this Redis does not have the command TS.ADD")]
    NoModule,
    #[error("a cluster's keys cannot be listed over one connection: series are moved on a single server only")]
    Cluster,
    #[error("`{0}` is written to faster than it can be copied: stop the service, or try again")]
    Busy(String),
    #[error("`{0}`: {1}")]
    Series(String, String),
    #[error("Redis: {0}")]
    Redis(#[from] RedisFault),
}

impl Migration {
    /// # Errors
    /// A wrong configuration.
    pub fn new(redis: Redis, config: &Config) -> Result<Self, ConfigError> {
        let config: TimeseriesConfig = config.section()?;
        let families = Arc::new(Families::new(&config));
        let metrics = TimeseriesMetrics::new(&Metrics::new());
        Ok(Self {
            home: BackendRecord::new(redis.clone(), &SERIES, keys::record(redis.keys()), config.backend),
            mover: Mover::new(redis.clone(), Arc::clone(&families), metrics, &config),
            families,
            redis,
        })
    }

    /// Counts series and points.
    ///
    /// # Errors
    /// [`MigrationError`].
    pub async fn census(&self) -> Result<Census, MigrationError> {
        self.check().await?;
        let mut census = Census::default();
        let mut walk = self.walk();
        while let Some(names) = walk.next().await? {
            for (name, form) in self.forms(names).await? {
                let (Some(backend), Some(key)) = (form, self.series(&name)) else { continue };
                let described = self.mover.describe(&key, backend).await;
                let Some(description) = ours(&name, described)?.flatten() else { continue };
                let count = match backend {
                    Backend::Native => &mut census.native,
                    Backend::Module => &mut census.module,
                };
                count.series += 1;
                count.points += description.count;
            }
        }
        Ok(census)
    }

    /// Moves every series, then writes down where they are; `tell` hears how many points were copied.
    ///
    /// # Errors
    /// [`MigrationError`]; what was moved is moved, and the record is as before.
    pub async fn run(&self, to: Backend, mut tell: impl FnMut(u64)) -> Result<Progress, MigrationError> {
        self.check().await?;
        let mut progress = Progress::default();
        // A service that runs meanwhile may have stored some behind the walk.
        while self.pass(to, &mut progress, &mut tell).await? {}
        self.home.moved_to(to).await?;
        self.pass(to, &mut progress, &mut tell).await?;
        Ok(progress)
    }

    /// Whether this Redis can be migrated at all.
    async fn check(&self) -> Result<(), MigrationError> {
        if self.redis.is_cluster() {
            return Err(MigrationError::Cluster);
        }
        if self.home.has_module().await? { Ok(()) } else { Err(MigrationError::NoModule) }
    }

    /// Moves what is to be moved; whether there was something.
    async fn pass(
        &self,
        to: Backend,
        progress: &mut Progress,
        tell: &mut impl FnMut(u64),
    ) -> Result<bool, MigrationError> {
        let before = progress.moved.series;
        progress.left.clear();
        let mut walk = self.walk();
        while let Some(names) = walk.next().await? {
            for (name, form) in self.forms(names).await? {
                let key = if form.is_some() { self.series(&name) } else { None };
                let moved = match key {
                    Some(_) if form == Some(to) => continue,
                    Some(key) => self.transfer(&name, &key, to, progress.moved.points, tell).await?,
                    None => None,
                };
                match moved {
                    Some(points) => {
                        progress.moved.series += 1;
                        progress.moved.points += points;
                    }
                    None => progress.left.push(name),
                }
            }
        }
        Ok(progress.moved.series > before)
    }

    /// Moves one series and says how many points it has; `None`: it is none of ours.
    async fn transfer(
        &self,
        name: &str,
        key: &SeriesKey,
        to: Backend,
        before: u64,
        tell: &mut impl FnMut(u64),
    ) -> Result<Option<u64>, MigrationError> {
        for _ in 0..TRIES {
            let moved = self.mover.transfer(key, to, |copied| tell(before + copied)).await;
            match ours(name, moved)? {
                Some(Moved::Done(points)) => return Ok(Some(points)),
                Some(Moved::Changed) => {}
                Some(Moved::Absent) | None => return Ok(None),
            }
        }
        Err(MigrationError::Busy(name.to_owned()))
    }

    /// The names under which series may stand.
    fn walk(&self) -> PrefixScan<'_> {
        let space = self.redis.keys();
        let families = self.families.stems().map(|stem| space.key(Segment(stem)));
        let starts = families.chain([space.key("ts:")]).map(|start| start.as_str().to_owned()).collect::<Vec<_>>();
        PrefixScan::new(&self.redis, &starts)
    }

    /// The backend whose form stands under each name; `None`: of neither.
    async fn forms(&self, names: Vec<String>) -> Result<Vec<(String, Option<Backend>)>, RedisFault> {
        let types: Vec<Cmd> = names.iter().map(|name| redis::cmd("TYPE").arg(name).clone()).collect();
        let mut forms = Vec::with_capacity(names.len());
        for (name, answer) in names.into_iter().zip(self.redis.query_all(&types, Effect::Read).await?) {
            match answer? {
                redis::Value::SimpleString(kind) if kind == "none" => {}
                redis::Value::SimpleString(kind) if kind == "hash" => forms.push((name, Some(Backend::Native))),
                redis::Value::SimpleString(kind) if kind == "TSDB-TYPE" => forms.push((name, Some(Backend::Module))),
                _ => forms.push((name, None)),
            }
        }
        Ok(forms)
    }

    /// The series that stands under a name, if that is how its name is made.
    fn series(&self, name: &str) -> Option<SeriesKey> {
        let space = self.redis.keys();
        let bare = name.strip_prefix(space.key("").as_str())?;
        let is_named = |key: &SeriesKey| SeriesKeys::new(space, &self.families, key).hash.as_str() == name;
        let texts = [bare.strip_prefix("ts:"), Some(bare)].into_iter().flatten();
        texts.filter_map(|text| SeriesKey::new(&unescape(text)).ok()).find(is_named)
    }
}

/// `None` for what stands where a series of ours would stand.
fn ours<T>(name: &str, result: Result<T, TimeseriesError>) -> Result<Option<T>, MigrationError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(TimeseriesError::Redis(fault)) if fault.kind == FaultKind::WrongType => Ok(None),
        Err(TimeseriesError::Redis(fault)) => Err(MigrationError::Redis(fault)),
        Err(error) => Err(MigrationError::Series(name.to_owned(), error.to_string())),
    }
}
