//! Moves the documents of a deployment to the other storage backend.
//!
//! A script moves each document by itself, so a migration can be interrupted at any time and run again. After the last
//! document, the migration changes the record of the backend, and the replicas follow it. It finds documents with SCAN,
//! which an operator's command may use and a request may not.

use redis::Cmd;

use super::backend::DOCUMENTS;
use super::config::JsonConfig;
use super::keys::JsonKeys;
use super::scripts::{self, Converted};
use crate::config::{Config, ConfigError};
use crate::redis::{Backend, BackendRecord, Effect, PrefixScan, Redis, RedisFault};

/// A migration, ready to run.
#[derive(Debug)]
pub struct Migration {
    redis: Redis,
    keys: JsonKeys,
    backend_record: BackendRecord,
}

/// The number of documents in each storage backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub native: u64,
    pub module: u64,
}

/// The progress of a migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub moved: u64,
    /// Keys whose values are not documents; the migration does not change them.
    pub left: Vec<String>,
}

/// Why a migration stopped early. It can be run again.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error("this Redis does not have the command JSON.SET")]
    NoModule,
    #[error("a migration needs a single server: the keys of a cluster cannot be listed over one connection")]
    Cluster,
    #[error("Redis: {0}")]
    Redis(#[from] RedisFault),
}

impl Migration {
    pub fn new(redis: Redis, config: &Config) -> Result<Self, ConfigError> {
        let config: JsonConfig = config.section()?;
        let keys = JsonKeys::new(redis.keys(), &config);
        Ok(Self {
            backend_record: BackendRecord::new(redis.clone(), &DOCUMENTS, keys.backend.clone(), config.backend),
            keys,
            redis,
        })
    }

    /// Counts the documents.
    pub async fn census(&self) -> Result<Census, MigrationError> {
        self.check().await?;
        let mut census = Census::default();
        let mut scan = self.scan();
        while let Some(names) = scan.next().await? {
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

    /// Moves every document, then changes the record of the backend. `report` receives the progress after every batch.
    ///
    /// # Errors
    /// [`MigrationError`]. Documents that were moved stay moved, and the record does not change.
    pub async fn run(&self, to: Backend, mut report: impl FnMut(&Progress)) -> Result<Progress, MigrationError> {
        self.check().await?;
        let mut progress = Progress::default();
        // A running service may have stored documents behind the scan.
        while self.pass(to, &mut progress, &mut report).await? {}
        self.backend_record.moved_to(to).await?;
        self.pass(to, &mut progress, &mut report).await?;
        Ok(progress)
    }

    /// The keys that may hold documents.
    fn scan(&self) -> PrefixScan<'_> {
        PrefixScan::new(&self.redis, &self.keys.document_prefixes())
    }

    /// Checks that this Redis can be migrated.
    async fn check(&self) -> Result<(), MigrationError> {
        if self.redis.is_cluster() {
            return Err(MigrationError::Cluster);
        }
        if self.backend_record.has_module().await? { Ok(()) } else { Err(MigrationError::NoModule) }
    }

    /// Moves the documents that one scan finds, and returns whether there were any.
    async fn pass(
        &self,
        to: Backend,
        progress: &mut Progress,
        report: &mut impl FnMut(&Progress),
    ) -> Result<bool, MigrationError> {
        let before = progress.moved;
        progress.left.clear();
        let mut scan = self.scan();
        while let Some(names) = scan.next().await? {
            let calls = names.iter().map(|name| scripts::convert(&self.keys.of_name(name), to));
            let replies = self.redis.call_all(calls).await?;
            for (name, converted) in names.into_iter().zip(replies) {
                match converted? {
                    Converted::Moved => progress.moved += 1,
                    Converted::NotADocument => progress.left.push(name),
                    Converted::Unchanged => {}
                }
            }
            report(progress);
        }
        Ok(progress.moved > before)
    }
}
