//! One backup, from the first byte of the snapshot to the file that is verified.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use age::x25519::{Identity, Recipient};
use redis::Value;
use tokio::task::spawn_blocking;
use xxhash_rust::xxh3::xxh3_64;

use super::archive::{self, Writer};
use super::collector::Collector;
use super::directory::{self, Directory};
use super::error::BackupError;
use super::model::{Consistency, FORMAT, Header, Listed, Manifest, Source};
use super::rdb::{self, RecordHead};
use super::record::{self, Parser};
use crate::clock::Clock;
use crate::holdings::Owners;
use crate::redis::{Effect, KeyScan, Redis, SnapshotError, SnapshotLogin, SnapshotSource};

/// Keys that one step of a walk looks at.
const STEP: usize = 100;
/// The footer of DUMP: a version of two bytes and a checksum of eight.
const FOOTER: usize = 10;

/// Everything that a backup needs.
#[derive(Clone)]
pub(super) struct Job {
    pub redis: Redis,
    pub directory: Directory,
    pub recipients: Vec<Recipient>,
    pub owners: Owners,
    pub login: SnapshotLogin,
    pub clock: Clock,
    /// Keys so far, for those who wait.
    pub keys: Arc<AtomicU64>,
}

/// What a server has sent.
struct Collected {
    collector: Collector,
    sources: Vec<Source>,
    rdb_version: u32,
    refusal: Option<String>,
}

impl Job {
    /// Makes a backup with this id.
    ///
    /// # Errors
    /// [`BackupError`]; there is no backup with the id.
    pub(super) async fn run(&self, id: &str) -> Result<Listed, BackupError> {
        let listed = self.stage(id).await?;
        let directory = self.directory.clone();
        blocking(move || directory.publish(&listed).map(|()| listed)).await
    }

    /// Makes the file of a backup, which does not count yet.
    ///
    /// # Errors
    /// [`BackupError`]; there is no file.
    pub(super) async fn stage(&self, id: &str) -> Result<Listed, BackupError> {
        let made = self.make(id).await;
        if made.is_err() {
            // What is left after a kill is removed later.
            let _ = std::fs::remove_file(self.directory.unfinished(id));
        }
        made
    }

    async fn make(&self, id: &str) -> Result<Listed, BackupError> {
        let started = self.clock.now();
        self.directory.create()?;
        self.directory.sweep(started)?;
        // A key that is thrown away lets this process read the file back.
        let own = Identity::generate();
        let sources = self.redis.snapshot_sources(&self.login).await?;
        let collected = match self.collect_snapshots(id, &own, sources).await {
            Err(BackupError::Snapshot(SnapshotError::Refused(reason))) => self.walk(id, &own, reason).await?,
            collected => collected?,
        };
        let (job, id) = (self.clone(), id.to_owned());
        blocking(move || job.finish(&id, own, started, collected)).await
    }

    fn collector(&self, id: &str, own: &Identity) -> Result<Collector, BackupError> {
        let header = Header { format: FORMAT, id: id.to_owned(), key_prefix: self.owners.prefix().to_owned() };
        let recipients: Vec<Recipient> = self.recipients.iter().cloned().chain([own.to_public()]).collect();
        let path = self.directory.unfinished(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let writer = Writer::create(&path, &recipients, &header)?;
        Ok(Collector::new(writer, self.owners.clone(), self.clock.now(), Arc::clone(&self.keys)))
    }

    async fn collect_snapshots(
        &self,
        id: &str,
        own: &Identity,
        servers: Vec<SnapshotSource>,
    ) -> Result<Collected, BackupError> {
        let (job, id, own) = (self.clone(), id.to_owned(), own.clone());
        blocking(move || {
            let (mut sources, mut rdb_version) = (Vec::new(), 0);
            let mut collector = job.collector(&id, &own)?;
            for server in servers {
                let mut snapshot = server.open()?;
                let database = snapshot.database;
                let ended = rdb::read(&mut snapshot, database, &mut collector)?;
                collector.foreign += ended.elsewhere;
                rdb_version = rdb_version.max(ended.version);
                sources.push(Source { replication_id: snapshot.replication_id.clone(), offset: snapshot.offset });
                snapshot.finish(&ended.rest)?;
            }
            Ok(Collected { collector, sources, rdb_version, refusal: None })
        })
        .await
    }

    /// Reads each key by itself, where no snapshot is sent.
    async fn walk(&self, id: &str, own: &Identity, refusal: String) -> Result<Collected, BackupError> {
        let mut collector = self.collector(id, own)?;
        let (mut scan, mut rdb_version, mut seen) = (KeyScan::new(&self.redis, STEP), 0, HashSet::new());
        while let Some(mut names) = scan.next().await? {
            // SCAN may return a name twice.
            names.retain(|name| seen.insert(xxh3_64(name)));
            let (foreign, names): (Vec<_>, Vec<_>) =
                names.into_iter().partition(|name| self.owners.holding(name).is_none());
            collector.foreign += foreign.len() as u64;
            let commands: Vec<_> = names
                .iter()
                .flat_map(|name| [redis::cmd("PTTL").arg(name).take(), redis::cmd("DUMP").arg(name).take()])
                .collect();
            let replies = self.redis.query_all(&commands, Effect::Read).await?;
            let now = self.clock.now();
            let mut replies = replies.into_iter();
            let mut records = Vec::new();
            for key in names {
                let (ttl, value) = (replies.next().transpose()?, replies.next().transpose()?);
                // A key that is gone is left out.
                let (Some(Value::Int(ttl)), Some(Value::BulkString(mut value))) = (ttl, value) else { continue };
                let Some(body) = value.len().checked_sub(FOOTER) else { continue };
                if let Some([low, high, ..]) = value.get(body..) {
                    rdb_version = rdb_version.max(u32::from(u16::from_le_bytes([*low, *high])));
                }
                value.truncate(body);
                records.push((RecordHead { key, expires: (ttl >= 0).then_some(now + ttl) }, value));
            }
            collector = blocking(move || {
                for (head, value) in &records {
                    collector.take(head, value)?;
                }
                Ok(collector)
            })
            .await?;
        }
        Ok(Collected { collector, sources: Vec::new(), rdb_version, refusal: Some(refusal) })
    }

    /// Completes the file, and reads it back.
    fn finish(
        &self,
        id: &str,
        own: Identity,
        started: i64,
        Collected { mut collector, sources, rdb_version, refusal }: Collected,
    ) -> Result<Listed, BackupError> {
        collector.writer.write(&record::end())?;
        let mut manifest = Manifest {
            format: FORMAT,
            id: id.to_owned(),
            service: env!("CARGO_PKG_VERSION").to_owned(),
            rdb_version,
            consistency: if refusal.is_none() { Consistency::Snapshot } else { Consistency::PerKey },
            key_prefix: self.owners.prefix().to_owned(),
            sources,
            refusal,
            started,
            ended: self.clock.now(),
            holdings: collector.holdings(),
            foreign: collector.foreign,
            expired: collector.expired,
            parts: Vec::new(),
            recipients: self.recipients.iter().map(ToString::to_string).collect(),
        };
        let written = collector.writer.finish(&mut manifest)?;
        let path = self.directory.unfinished(id);
        let mut parser = Parser::default();
        archive::read(&path, &[own], |part| parser.feed(part, |_| Ok(())))?;
        parser.finish()?;
        let listed = Listed {
            file: Directory::name(id),
            bytes: written.bytes,
            sha256: written.sha256.clone(),
            copied: None,
            manifest,
        };
        if directory::digest(&path)? != written {
            return Err(BackupError::File("the disk does not have what was written".to_owned()));
        }
        Ok(listed)
    }
}

/// Runs long work on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(std::io::Error::other(error).into()),
        },
    }
}
