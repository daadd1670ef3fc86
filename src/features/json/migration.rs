//! Moving a deployment's documents to the other backend.
//!
//! Every document is moved by a script of its own, so that a migration may be interrupted at any time and run again. When
//! none is left, the record of the backend is changed, and replicas follow it. Documents are found by SCAN under the
//! names that they may have: an operator's command may do what no request may.

use std::collections::HashSet;

use redis::Cmd;
use xxhash_rust::xxh3::xxh3_64;

pub use super::backend::Backend;
use super::config::JsonConfig;
use super::keys::JsonKeys;
use super::scripts::{Convert, Converted};
use crate::config::{Config, ConfigError};
use crate::redis::{Effect, Redis, RedisFault};

/// Names that one round looks at: their documents are moved together in one round trip.
const ROUND: usize = 100;
/// The command by which the module is recognised.
const COMMAND: &str = "JSON.SET";

/// A migration, ready to run.
#[derive(Debug)]
pub struct Migration {
    redis: Redis,
    keys: JsonKeys,
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
        Ok(Self { keys: JsonKeys::new(redis.keys(), &config), redis })
    }

    /// Counts the documents.
    ///
    /// # Errors
    /// [`MigrationError`].
    pub async fn census(&self) -> Result<Census, MigrationError> {
        let mut census = Census::default();
        let mut walk = Walk::of(self);
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
        if self.redis.is_cluster() {
            return Err(MigrationError::Cluster);
        }
        if !self.redis.knows(COMMAND).await? {
            return Err(MigrationError::NoModule);
        }
        let mut progress = Progress::default();
        // A service that runs meanwhile may have stored some behind the walk.
        while self.pass(to, &mut progress, &mut tell).await? {}
        let mut record = redis::cmd("SET");
        record.arg(self.keys.backend().as_str()).arg(to.name());
        let _: redis::Value = self.redis.query(&record, Effect::Write).await?;
        self.pass(to, &mut progress, &mut tell).await?;
        Ok(progress)
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
        let mut walk = Walk::of(self);
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

/// Goes through the names of all documents, each once.
struct Walk<'a> {
    redis: &'a Redis,
    patterns: Vec<String>,
    cursor: u64,
    /// Hashes of what was seen: SCAN may come to a name twice, and so may two patterns.
    seen: HashSet<u64>,
}

impl<'a> Walk<'a> {
    fn of(migration: &'a Migration) -> Self {
        let patterns = migration.keys.starts().iter().map(|start| format!("{}*", literal(start))).collect();
        Self { redis: &migration.redis, patterns, cursor: 0, seen: HashSet::new() }
    }

    /// The next names, maybe none; `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<String>>, RedisFault> {
        let Some(pattern) = self.patterns.last() else { return Ok(None) };
        let mut scan = redis::cmd("SCAN");
        scan.arg(self.cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(ROUND);
        let (cursor, names): (u64, Vec<String>) = self.redis.query(&scan, Effect::Read).await?;
        self.cursor = cursor;
        if cursor == 0 {
            self.patterns.pop();
        }
        // Companions of documents have braces, documents have none.
        let is_new = |name: &String| !name.contains('{') && self.seen.insert(xxh3_64(name.as_bytes()));
        Ok(Some(names.into_iter().filter(is_new).collect()))
    }
}

/// Text for a pattern of Redis's that matches itself only.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(literal("a*:[b]?\\"), "a\\*:\\[b\\]\\?\\\\");
    }
}
