//! Moving a deployment's documents to the other backend.
//!
//! Every document is moved by a script of its own, so that a migration may be interrupted at any time and run again. When
//! none is left, the record of the backend is changed, and replicas follow it. Documents are found by SCAN under the
//! names that they may have: an operator's command may do what no request may.

use redis::Cmd;

use super::backend::DOCUMENTS;
use super::config::JsonConfig;
use super::keys::JsonKeys;
use super::scripts::{Convert, Converted};
use crate::config::{Config, ConfigError};
use crate::redis::{Backend, BackendRecord, Effect, PrefixScan, Redis, RedisFault};

/// A migration, ready to run.
#[derive(Debug)]
pub struct Migration {
    redis: Redis,
    keys: JsonKeys,
    home: BackendRecord,
}

/// How many documents there are of each form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub native: u64,
    pub module: u64,
}

/// What a migration has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub moved: u64,
    /// Names under which stands what is no document: it stays as it is.
    pub left: Vec<String>,
}

/// Why a migration did not run to its end; it may be run again.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error("this Redis does not have the command JSON.SET")]
    NoModule,
    #[error("a cluster's keys cannot be listed over one connection: documents are moved on a single server only")]
    Cluster,
    #[error("Redis: {0}")]
    Redis(#[from] RedisFault),
}

impl Migration {
    /// # Errors
    /// A wrong configuration.
    pub fn new(redis: Redis, config: &Config) -> Result<Self, ConfigError> {
        let config: JsonConfig = config.section()?;
        let keys = JsonKeys::new(redis.keys(), &config);
        Ok(Self {
            home: BackendRecord::new(redis.clone(), &DOCUMENTS, keys.backend().clone(), config.backend),
            keys,
            redis,
        })
    }

    /// Counts the documents.
    ///
    /// # Errors
    /// [`MigrationError`].
    pub async fn census(&self) -> Result<Census, MigrationError> {
        self.check().await?;
        let mut census = Census::default();
        let mut walk = self.walk();
        while let Some(names) = walk.next().await? {
            let types: Vec<Cmd> = names.iter().map(|name| redis::cmd("TYPE").arg(name).clone()).collect();
            for answer in self.redis.query_all(&types, Effect::Read).await? {
                match answer? {
                    redis::Value::SimpleString(kind) if kind == "string" => census.native += 1,
                    redis::Value::SimpleString(kind) if kind == "ReJSON-RL" => census.module += 1,
                    _ => {}
                }
            }
        }
        Ok(census)
    }

    /// Moves every document, then writes down where they are; `tell` hears of every round.
    ///
    /// # Errors
    /// [`MigrationError`]; what was moved is moved, and the record is as before.
    pub async fn run(&self, to: Backend, mut tell: impl FnMut(&Progress)) -> Result<Progress, MigrationError> {
        self.check().await?;
        let mut progress = Progress::default();
        // A service that runs meanwhile may have stored some behind the walk.
        while self.pass(to, &mut progress, &mut tell).await? {}
        self.home.moved_to(to).await?;
        self.pass(to, &mut progress, &mut tell).await?;
        Ok(progress)
    }

    /// The names under which documents may stand.
    fn walk(&self) -> PrefixScan<'_> {
        PrefixScan::new(&self.redis, &self.keys.starts())
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
        tell: &mut impl FnMut(&Progress),
    ) -> Result<bool, MigrationError> {
        let before = progress.moved;
        progress.left.clear();
        let mut walk = self.walk();
        while let Some(names) = walk.next().await? {
            let places: Vec<_> = names.iter().map(|name| self.keys.place_of(name)).collect();
            let calls: Vec<Convert> = places.iter().map(|place| Convert { place, to }).collect();
            for (name, converted) in names.into_iter().zip(self.redis.call_all(&calls).await?) {
                match converted? {
                    Converted::Moved => progress.moved += 1,
                    Converted::Other => progress.left.push(name),
                    Converted::Unchanged => {}
                }
            }
            tell(progress);
        }
        Ok(progress.moved > before)
    }
}
