//! What is recorded, and what administrators read.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::chain::{CHUNK, Chain};
use super::config::AuditConfig;
use super::counts::{Counted, Counts};
use super::error::AuditError;
use super::key_ring::{KeyFileError, KeyRing};
use super::metrics::AuditMetrics;
use super::model::{AuditVerification, EntriesQuery, Entry, Item, StoredEntry};
use crate::deps::Deps;
use crate::http::reply::Page;

/// The most entries that wait for the task.
const QUEUE: usize = 10_000;
/// How long an action waits until its intent is recorded. Half of the deadline of requests is left for the action.
const PATIENCE: Duration = Duration::from_secs(1);
/// The entries that one page of a verification reads.
const VERIFIED: usize = 10_000;
/// The entries that one page of a list looks at.
const MAX_LOOK: usize = 10_000;
/// The largest details of an entry, bytes of JSON.
const MAX_DETAILS: usize = 1_024;

/// The audit log of this replica; without a key it records nothing.
#[derive(Debug)]
pub struct AuditService {
    log: Option<Log>,
}

/// The log, if it is on.
#[derive(Debug)]
pub(super) struct Log {
    pub chain: Chain,
    pub config: AuditConfig,
    pub counts: Counts,
    pub metrics: AuditMetrics,
    queue: mpsc::Sender<Queued>,
}

/// An entry on its way to the task that appends.
#[derive(Debug)]
pub(super) struct Queued {
    pub entry: Entry,
    /// Hears whether the entry was appended. Without it, the entry is tried until it is.
    pub reply: Option<oneshot::Sender<Result<(), AuditError>>>,
}

impl AuditService {
    /// The log, and what its task receives; `None` if there is no key.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub(super) fn new(deps: &Deps, config: AuditConfig) -> Result<(Self, mpsc::Receiver<Queued>), KeyFileError> {
        let (queue, receiver) = mpsc::channel(QUEUE);
        if config.key_file.as_os_str().is_empty() {
            return Ok((Self { log: None }, receiver));
        }
        let chain = Chain::new(&deps.redis.state, KeyRing::read(&config.key_file)?, &deps.clock);
        let (counts, metrics) = (Counts::default(), AuditMetrics::new(&deps.metrics));
        Ok((Self { log: Some(Log { chain, config, counts, metrics, queue }) }, receiver))
    }

    pub(super) fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// The keys of the log, if it is on.
    pub fn ring(&self) -> Option<&KeyRing> {
        self.log.as_ref().map(|log| &log.chain.ring)
    }

    fn require_log(&self) -> Result<&Log, AuditError> {
        self.log.as_ref().ok_or(AuditError::Off)
    }

    /// Records an entry before what it tells happens.
    ///
    /// # Errors
    /// [`AuditError::NotRecorded`]: it must not happen.
    pub(super) async fn record(&self, entry: Entry) -> Result<(), AuditError> {
        let Some(log) = &self.log else { return Ok(()) };
        let (reply, recorded) = oneshot::channel();
        let queued = Queued { entry: trimmed(entry), reply: Some(reply) };
        log.queue.try_send(queued).map_err(|_| AuditError::NotRecorded(None))?;
        log.metrics.waiting.inc();
        match tokio::time::timeout(PATIENCE, recorded).await {
            Ok(Ok(recorded)) => recorded,
            Ok(Err(_)) | Err(_) => Err(AuditError::NotRecorded(None)),
        }
    }

    /// Records an entry about what has happened, as soon as Redis permits.
    pub fn note(&self, action: &str, details: Map<String, Value>) {
        self.queue(Entry { action: action.to_owned(), actor: "service".to_owned(), details, ..Entry::default() });
    }

    pub(super) fn queue(&self, entry: Entry) {
        let Some(log) = &self.log else { return };
        match log.queue.try_send(Queued { entry: trimmed(entry), reply: None }) {
            Ok(()) => log.metrics.waiting.inc(),
            Err(_) => log.metrics.lost.inc(),
        }
    }

    pub(super) fn count(&self, counted: Counted) {
        if let Some(log) = &self.log {
            log.counts.add(counted);
        }
    }

    /// A page of entries, newest first.
    ///
    /// # Errors
    /// [`AuditError::Off`], [`AuditError::Redis`].
    pub(super) async fn entries(&self, query: &EntriesQuery) -> Result<Page<Item>, AuditError> {
        let log = self.require_log()?;
        let now = log.chain.head().await?.now;
        let from = query.from.map_or(i64::MIN, |from| from.resolve(now));
        let to = query.to.map_or(i64::MAX, |to| to.resolve(now));
        let targets: Vec<String> = query.target.iter().flat_map(|target| log.targets(target)).collect();
        let is_wanted = |entry: &Entry| {
            (from..to).contains(&entry.time)
                && query.actor.as_ref().is_none_or(|actor| entry.actor == *actor)
                && query.action.as_ref().is_none_or(|action| entry.action == *action)
                && (targets.is_empty() || entry.target.as_ref().is_some_and(|known| names_one(known, &targets)))
        };
        // Without a condition, what is not an entry is shown too.
        let is_plain = query.from.is_none() && query.to.is_none() && query.actor.is_none() && query.action.is_none();
        let (mut items, mut cursor) = (Vec::new(), query.cursor.unwrap_or(u64::MAX));
        for _ in 0..MAX_LOOK / CHUNK {
            let entries = log.chain.entries_before(cursor, CHUNK.min(MAX_LOOK)).await?;
            let is_last = entries.len() < CHUNK;
            for stored in entries {
                if items.len() == query.limit {
                    return Ok(Page { items, next_cursor: Some(stored.seq.to_string()) });
                }
                cursor = stored.seq.saturating_sub(1);
                let item = Item::from(stored);
                match &item.entry {
                    Some(entry) if entry.time < from => return Ok(Page { items, next_cursor: None }),
                    Some(entry) if is_wanted(entry) => items.push(item),
                    None if is_plain && targets.is_empty() => items.push(item),
                    _ => {}
                }
            }
            if is_last || cursor == 0 {
                return Ok(Page { items, next_cursor: None });
            }
        }
        Ok(Page { items, next_cursor: Some(cursor.to_string()) })
    }

    /// Verifies a page of entries.
    ///
    /// # Errors
    /// [`AuditError::Off`], [`AuditError::Redis`].
    pub(super) async fn verify(&self, from: Option<u64>) -> Result<AuditVerification, AuditError> {
        let log = self.require_log()?;
        let mut verifier = log.chain.verifier(from, Vec::new()).await?;
        let is_end = log.chain.verify(&mut verifier, VERIFIED, |_| ()).await?;
        let end = log.chain.head().await?;
        Ok(AuditVerification {
            checked: verifier.checked(),
            next: if is_end || verifier.is_broken() { None } else { Some(verifier.position()) },
            first_break: verifier.first_break(),
            acknowledged: verifier.acknowledged().to_vec(),
            checkpoint: log.chain.checkpoint(&end.head, end.now),
        })
    }
}

impl Log {
    /// How a target may be written in entries.
    fn targets(&self, plain: &str) -> Vec<String> {
        let pseudonyms = self.chain.ring.pseudonyms(plain).map(|name| format!("hmac:{name}"));
        std::iter::once(plain.to_owned()).chain(pseudonyms).collect()
    }
}

/// Whether a target, such as `limiter=api key=hmac:..`, has one of the values.
fn names_one(target: &str, values: &[String]) -> bool {
    target
        .split(' ')
        .filter_map(|pair| pair.split_once('='))
        .any(|(_, value)| values.iter().any(|wanted| wanted == value))
}

/// The entry with details of a bounded size.
fn trimmed(mut entry: Entry) -> Entry {
    let size = serde_json::to_vec(&entry.details).map_or(0, |text| text.len());
    if size > MAX_DETAILS {
        entry.details = Map::from_iter([("omitted_bytes".to_owned(), Value::from(size))]);
    }
    entry
}

/// The text of an exported entry.
pub(super) fn line(stored: &StoredEntry) -> String {
    // Strings and numbers always serialise.
    serde_json::to_string(stored).unwrap_or_default() + "\n"
}
