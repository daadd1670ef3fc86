//! Moves the series of a deployment to the other layout.
//!
//! Every series is moved by itself, so a migration can be interrupted at any time and run again. When all are moved, the
//! record of the layout changes, and the replicas follow it. The migration finds series with SCAN under all names that they
//! may have, including those that the index does not have.

use std::sync::Arc;

use redis::Cmd;

use super::backend::{Moved, Store};
use super::config::TimeseriesConfig;
use super::error::TimeseriesError;
use super::families::Families;
use super::keys::SeriesKeys;
use super::metrics::TimeseriesMetrics;
use super::series::SeriesKey;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::redis::{Backend, Effect, FaultKind, PrefixScan, Redis, RedisFault, Segment, unescape};
use crate::telemetry::metrics::Metrics;

/// How often a series is copied whose copy fails because another client writes to it.
const ATTEMPTS: usize = 3;

/// A migration, ready to run.
#[derive(Debug)]
pub struct Migration {
    store: Store,
}

/// A number of series, and the points in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub series: u64,
    /// The points within retention.
    pub points: u64,
}

/// How many series each layout has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub native: Count,
    pub module: Count,
}

impl Census {
    /// The points of both layouts.
    pub fn points(&self) -> u64 {
        self.native.points + self.module.points
    }
}

/// The progress of a migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub moved: Count,
    /// Names of keys that do not hold a series of this service, and stay as they are.
    pub left: Vec<String>,
}

/// Why a migration did not finish; it can be run again.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error("this Redis does not have the command TS.ADD")]
    NoModule,
    #[error(
        "the keys of a cluster cannot be listed over one connection: only the series of a single server can be moved"
    )]
    Cluster,
    #[error("`{0}` is written faster than it can be copied: stop the service, or try again")]
    Busy(String),
    #[error("`{0}`: {1}")]
    Series(String, String),
    #[error("Redis: {0}")]
    Redis(#[from] RedisFault),
}

impl Migration {
    /// # Errors
    /// [`ConfigError`] if the configuration is not valid.
    pub fn new(redis: Redis, config: &Config) -> Result<Self, ConfigError> {
        let config: TimeseriesConfig = config.section()?;
        let families = Arc::new(Families::new(&config));
        let metrics = TimeseriesMetrics::new(&Metrics::new());
        Ok(Self { store: Store::new(redis, Clock::System, families, metrics, config.backend) })
    }

    /// Counts series and points.
    ///
    /// # Errors
    /// [`MigrationError`].
    pub async fn census(&self) -> Result<Census, MigrationError> {
        self.check().await?;
        let mut census = Census::default();
        let mut scan = self.scan();
        while let Some(names) = scan.next().await? {
            for (name, layout) in self.layouts(names).await? {
                let (Some(layout), Some(key)) = (layout, self.series(&name)) else { continue };
                let described = self.store.describe(&self.store.keys_in(layout, &key)).await;
                let Some(description) = unless_foreign(&name, described)?.flatten() else { continue };
                let count = match layout {
                    Backend::Native => &mut census.native,
                    Backend::Module => &mut census.module,
                };
                count.series += 1;
                count.points += description.count;
            }
        }
        Ok(census)
    }

    /// Moves every series, then records the new layout. Calls `report` with the number of points copied so far.
    ///
    /// # Errors
    /// [`MigrationError`]; some series may be moved, and the record is unchanged.
    pub async fn run(&self, to: Backend, mut report: impl FnMut(u64)) -> Result<Progress, MigrationError> {
        self.check().await?;
        let mut progress = Progress::default();
        // A running service may create series in places that the scan has already passed.
        while self.pass(to, &mut progress, &mut report).await? {}
        self.store.backend_record().moved_to(to).await?;
        self.pass(to, &mut progress, &mut report).await?;
        Ok(progress)
    }

    /// Checks that the series of this Redis can be moved.
    async fn check(&self) -> Result<(), MigrationError> {
        if self.store.redis().is_cluster() {
            return Err(MigrationError::Cluster);
        }
        if self.store.backend_record().has_module().await? { Ok(()) } else { Err(MigrationError::NoModule) }
    }

    /// Moves all series that are not in the layout `to`. Returns whether there were any.
    async fn pass(
        &self,
        to: Backend,
        progress: &mut Progress,
        report: &mut impl FnMut(u64),
    ) -> Result<bool, MigrationError> {
        let before = progress.moved.series;
        progress.left.clear();
        let mut scan = self.scan();
        while let Some(names) = scan.next().await? {
            for (name, layout) in self.layouts(names).await? {
                let key = if layout.is_some() { self.series(&name) } else { None };
                let moved = match key {
                    Some(_) if layout == Some(to) => continue,
                    Some(key) => self.transfer(&name, &key, to, progress.moved.points, report).await?,
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

    /// Moves one series and returns its number of points, or `None` if it is not a series of this service.
    async fn transfer(
        &self,
        name: &str,
        key: &SeriesKey,
        to: Backend,
        before: u64,
        report: &mut impl FnMut(u64),
    ) -> Result<Option<u64>, MigrationError> {
        for _ in 0..ATTEMPTS {
            let moved = self.store.transfer(key, to, |copied| report(before + copied)).await;
            match unless_foreign(name, moved)? {
                Some(Moved::Done(points)) => return Ok(Some(points)),
                Some(Moved::Changed) => {}
                Some(Moved::Absent) | None => return Ok(None),
            }
        }
        Err(MigrationError::Busy(name.to_owned()))
    }

    /// Scans all names that series may have.
    fn scan(&self) -> PrefixScan<'_> {
        let space = self.store.redis().keys();
        let families = self.store.families().stems().map(|stem| space.key(Segment(stem)));
        let starts = families.chain([space.key("ts:")]).map(|start| start.as_str().to_owned()).collect::<Vec<_>>();
        PrefixScan::new(self.store.redis(), &starts)
    }

    /// The layout of the value under each name; `None` if it has neither. Skips names without a value.
    async fn layouts(&self, names: Vec<String>) -> Result<Vec<(String, Option<Backend>)>, RedisFault> {
        let types: Vec<Cmd> = names.iter().map(|name| redis::cmd("TYPE").arg(name).clone()).collect();
        let mut layouts = Vec::with_capacity(names.len());
        for (name, answer) in names.into_iter().zip(self.store.redis().query_all(&types, Effect::Read).await?) {
            match answer? {
                redis::Value::SimpleString(kind) if kind == "none" => {}
                redis::Value::SimpleString(kind) if kind == "hash" => layouts.push((name, Some(Backend::Native))),
                redis::Value::SimpleString(kind) if kind == "TSDB-TYPE" => layouts.push((name, Some(Backend::Module))),
                _ => layouts.push((name, None)),
            }
        }
        Ok(layouts)
    }

    /// The series whose `<series>` key has this name.
    fn series(&self, name: &str) -> Option<SeriesKey> {
        let space = self.store.redis().keys();
        let bare = name.strip_prefix(space.key("").as_str())?;
        let keys = |key: &SeriesKey| SeriesKeys::new(space, self.store.families(), key, Backend::Native);
        let is_named = |key: &SeriesKey| keys(key).hash.as_str() == name;
        let texts = [bare.strip_prefix("ts:"), Some(bare)].into_iter().flatten();
        texts.filter_map(|text| SeriesKey::new(&unescape(text)).ok()).find(is_named)
    }
}

/// `None` for a key that holds something else than a series of this service.
fn unless_foreign<T>(name: &str, result: Result<T, TimeseriesError>) -> Result<Option<T>, MigrationError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(TimeseriesError::Redis(fault)) if fault.kind == FaultKind::WrongType => Ok(None),
        Err(TimeseriesError::Redis(fault)) => Err(MigrationError::Redis(fault)),
        Err(error) => Err(MigrationError::Series(name.to_owned(), error.to_string())),
    }
}
