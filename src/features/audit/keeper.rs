//! The hourly work of one replica: it verifies the log, exports what is old, and removes it from Redis.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::error::AuditError;
use super::model::{AuditCheckpoint, Entry, StoredEntry};
use super::scripts::{self, Head};
use super::service::{AuditService, Log, line};
use super::verifier::Verifier;
use crate::lifecycle::Tasks;
use crate::random::hex;

pub(super) const NAME: &str = "audit.keeper";

/// How often one of the replicas does this work, milliseconds.
const INTERVAL: u64 = 3_600_000;
/// How often a replica looks whether it is due.
const LOOK: Duration = Duration::from_secs(60);
/// The most entries of one exported file, and of one script that removes them.
const FILE: usize = 10_000;

/// What one file has.
#[derive(Default)]
struct Exported {
    count: usize,
    /// What the log notes about it.
    details: Map<String, Value>,
}

/// Works from the start of the service until it stops.
pub(super) async fn run(audit: Arc<AuditService>, reports: Tasks, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let Some(log) = audit.log() else { return };
        let turn = log.chain.redis.take_turn(&log.chain.keys.turn, INTERVAL, &log.chain.clock).await;
        let done = match turn {
            Ok(true) => audit.keep().await,
            Ok(false) => continue,
            Err(fault) => Err(fault.into()),
        };
        reports.report(NAME, done.map_err(|error| error.to_string()));
    }
}

impl AuditService {
    /// Verifies the whole log, then exports and removes what is older or more than configured.
    ///
    /// # Errors
    /// `AuditError::Broken` if the log is not whole: then nothing is removed.
    pub async fn keep(&self) -> Result<(), AuditError> {
        let Some(log) = self.log() else { return Ok(()) };
        let mut verifier = log.chain.verifier(None, Vec::new()).await?;
        log.chain.verify(&mut verifier, usize::MAX, |_| ()).await?;
        if let Some(found) = verifier.first_break() {
            log.metrics.breaks.set(1);
            return Err(AuditError::Broken { seq: found.seq, kind: found.kind.name() });
        }
        log.metrics.breaks.set(0);
        log.metrics.verified.set(log.chain.clock.now() / 1_000);
        if log.config.export_dir.as_os_str().is_empty() {
            return Ok(());
        }
        loop {
            let exported = log.export().await?;
            let is_over = exported.count < FILE;
            if exported.count > 0 {
                self.note("audit.export", exported.details);
            }
            if is_over {
                return Ok(());
            }
        }
    }
}

impl Log {
    /// Exports and removes up to [`FILE`] entries.
    async fn export(&self) -> Result<Exported, AuditError> {
        let chain = &self.chain;
        let base = chain.base().await?;
        let from = base.as_ref().map_or(0, |base| base.seq);
        let end = chain.head().await?;
        let oldest = end.now.saturating_sub_unsigned(self.config.retention.as_millis());
        let kept_from = end.head.seq.saturating_sub(self.config.max_entries);
        let is_due = |stored: &StoredEntry| {
            let time = serde_json::from_str::<Entry>(&stored.entry).map_or(i64::MIN, |entry| entry.time);
            stored.seq <= kept_from || time < oldest
        };
        let entries = chain.entries(from + 1, FILE).await?;
        // The newest entry stays: the next one is linked to it.
        let due: Vec<&StoredEntry> =
            entries.iter().take_while(|stored| is_due(stored) && stored.seq < end.head.seq).collect();
        let (Some(first), Some(last)) = (due.first(), due.last()) else { return Ok(Exported::default()) };
        let text: String = due.iter().map(|stored| line(stored)).collect();
        let name = format!("audit-{}-{}.ndjson", first.seq, last.seq);
        write(&self.config.export_dir, &name, text.as_bytes()).await?;
        self.check_file(&self.config.export_dir.join(&name), base.as_ref()).await?;
        let mark = chain.checkpoint(&Head { seq: last.seq, hash: last.hash.clone() }, end.now);
        let mark = serde_json::to_string(&mark).unwrap_or_default();
        if !chain.redis.call(scripts::trim(&chain.keys, from, last.seq, &mark)).await? {
            return Ok(Exported::default());
        }
        let digest = hex(&Sha256::digest(text.as_bytes()));
        let details = [("file", name), ("sha256", digest)].map(|(field, text)| (field.to_owned(), Value::from(text)));
        Ok(Exported { count: due.len(), details: Map::from_iter(details) })
    }

    /// Verifies an exported file as it is on the disk.
    async fn check_file(&self, file: &Path, base: Option<&AuditCheckpoint>) -> Result<(), AuditError> {
        let mut verifier = Verifier::new(self.chain.ring.clone(), Vec::new(), self.chain.clock.now());
        if let Some(base) = base {
            verifier.begin_after(base);
        }
        let text = tokio::fs::read_to_string(file).await?;
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).for_each(|stored| verifier.feed(&stored));
        match verifier.first_break() {
            Some(found) => Err(AuditError::Broken { seq: found.seq, kind: found.kind.name() }),
            None => Ok(()),
        }
    }
}

/// Writes a complete file, or none.
async fn write(directory: &Path, name: &str, text: &[u8]) -> Result<(), std::io::Error> {
    let unfinished: PathBuf = directory.join(format!(".{name}.tmp"));
    let mut file = tokio::fs::File::create(&unfinished).await?;
    file.write_all(text).await?;
    file.sync_all().await?;
    tokio::fs::rename(&unfinished, directory.join(name)).await?;
    tokio::fs::File::open(directory).await?.sync_all().await
}
