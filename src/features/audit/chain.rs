//! The chain of entries in Redis: append, read, verify.
//!
//! Entry n has `hash(key, hash of entry n-1, text of entry n)`, an HMAC. Without the key an administrator of Redis cannot link
//! entries again. Redis's scripts cannot compute an HMAC, so a replica computes it and one script appends, if the log still
//! ends as the replica expects.

use std::collections::HashMap;

use super::error::AuditError;
use super::key_ring::KeyRing;
use super::keys::AuditKeys;
use super::model::{AuditCheckpoint, Break, Entry, StoredEntry};
use super::scripts::{self, Appended, Head};
use super::verifier::Verifier;
use crate::clock::{Clock, UnixMillis};
use crate::redis::{Effect, Redis, RedisFault};

/// How often a batch is tried while other replicas append before it. Each loss means that another one has succeeded.
const ATTEMPTS: usize = 100;
/// The entries of one read.
pub(super) const CHUNK: usize = 1_000;
/// How far a verification looks for the acknowledgement of a break, entries.
const MAX_LOOK: usize = 100_000;

#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub redis: Redis,
    pub keys: AuditKeys,
    pub ring: KeyRing,
    pub clock: Clock,
}

/// What a replica knows of the log.
#[derive(Debug, Default)]
pub(super) struct Known {
    head: Head,
    /// A batch of which it is not known whether it was appended.
    pending: Option<Pending>,
}

/// A batch of which it is not known whether it was appended.
#[derive(Debug)]
struct Pending {
    /// The number and the hash that its first entry has if it was.
    first: Head,
    /// How many of its entries are tried again; `None` until that is decided.
    kept: Option<usize>,
}

impl Known {
    /// Says how many entries of the batch that has just failed are tried again. Those of an earlier one come before them.
    pub(super) fn will_retry(&mut self, kept: usize) {
        if let Some(pending) = &mut self.pending {
            pending.kept.get_or_insert(kept);
        }
    }
}

/// The end of the log after a batch.
#[derive(Debug)]
pub(super) struct Progress {
    pub head: Head,
    pub now: UnixMillis,
    /// The end of the log that was expected, and where it ended instead, if it has lost entries since.
    pub lost: Option<(u64, u64)>,
}

impl Chain {
    pub(super) fn new(redis: &Redis, ring: KeyRing, clock: &Clock) -> Self {
        Self { redis: redis.clone(), keys: AuditKeys::new(redis.keys()), ring, clock: clock.clone() }
    }

    /// How the log ends, and what time it is for Redis.
    pub(super) async fn head(&self) -> Result<Appended, RedisFault> {
        self.redis.call(scripts::append(&self.keys, &Head::default(), "", &[], &self.clock)).await
    }

    /// Appends entries, whose numbers and times are set here. After an error the same entries must be tried next.
    ///
    /// # Errors
    /// [`AuditError::Redis`], [`AuditError::Contended`].
    pub(super) async fn append(&self, known: &mut Known, entries: &mut Vec<Entry>) -> Result<Progress, AuditError> {
        let found = self.head().await?;
        let went_back =
            found.head.seq < known.head.seq || found.head.seq == known.head.seq && found.head.hash != known.head.hash;
        let lost = if went_back {
            Some((known.head.seq, found.head.seq))
        } else {
            Some((found.head.seq, found.last)).filter(|(head, last)| head != last)
        };
        if let Some(Pending { first, kept }) = &known.pending {
            if self.stored(first.seq).await?.is_some_and(|stored| stored.hash == first.hash) {
                entries.drain(..kept.unwrap_or_default().min(entries.len()));
            }
            known.pending = None;
        }
        let (mut head, mut now) = (found.head, found.now);
        if head.seq < known.head.seq {
            head = known.head.clone();
        }
        for _ in 0..ATTEMPTS {
            if entries.is_empty() {
                known.head = head.clone();
                return Ok(Progress { head, now, lost });
            }
            let texts = self.seal(&head, now, entries);
            let first =
                Head { seq: head.seq + 1, hash: texts.first().map(|(_, hash)| hash.clone()).unwrap_or_default() };
            let call = scripts::append(&self.keys, &head, self.ring.id(), &texts, &self.clock);
            let appended = match self.redis.call(call).await {
                Ok(appended) => appended,
                Err(fault) => {
                    known.pending = Some(Pending { first, kept: None });
                    return Err(fault.into());
                }
            };
            if appended.is_done {
                known.head = appended.head.clone();
                return Ok(Progress { head: appended.head, now: appended.now, lost });
            }
            (head, now) = (appended.head, appended.now);
        }
        Err(AuditError::Contended)
    }

    /// Numbers the entries and computes their texts and hashes.
    fn seal(&self, after: &Head, now: UnixMillis, entries: &mut [Entry]) -> Vec<(String, String)> {
        let mut previous = after.hash.clone();
        let mut sealed = Vec::with_capacity(entries.len());
        for (entry, seq) in entries.iter_mut().zip(after.seq + 1..) {
            (entry.seq, entry.time) = (seq, now);
            // Strings and numbers always serialise.
            let text = serde_json::to_string(entry).unwrap_or_default();
            let hash = self.ring.hash(self.ring.id(), &previous, &text).unwrap_or_default();
            previous.clone_from(&hash);
            sealed.push((text, hash));
        }
        sealed
    }

    /// One entry.
    pub(super) async fn stored(&self, seq: u64) -> Result<Option<StoredEntry>, RedisFault> {
        Ok(self.entries(seq, 1).await?.into_iter().find(|entry| entry.seq == seq))
    }

    /// The next entries from `seq`.
    pub(super) async fn entries(&self, seq: u64, count: usize) -> Result<Vec<StoredEntry>, RedisFault> {
        let command =
            redis::cmd("XRANGE").arg(&self.keys.log).arg(format!("{seq}-0")).arg("+").arg("COUNT").arg(count).take();
        self.read(&command).await
    }

    /// The next entries up to `seq`, newest first.
    pub(super) async fn entries_before(&self, seq: u64, count: usize) -> Result<Vec<StoredEntry>, RedisFault> {
        let command =
            redis::cmd("XREVRANGE").arg(&self.keys.log).arg(format!("{seq}-0")).arg("-").arg("COUNT").arg(count).take();
        self.read(&command).await
    }

    async fn read(&self, command: &redis::Cmd) -> Result<Vec<StoredEntry>, RedisFault> {
        let entries: Vec<(String, HashMap<String, String>)> = self.redis.query(command, Effect::Read).await?;
        let stored = |(id, mut fields): (String, HashMap<String, String>)| {
            let mut field = |name: &str| fields.remove(name).unwrap_or_default();
            // An id that the service did not write is a number that no entry has.
            let seq = id.strip_suffix("-0").and_then(|seq| seq.parse().ok()).unwrap_or_default();
            StoredEntry { seq, entry: field("e"), previous: field("p"), hash: field("h"), key: field("k") }
        };
        Ok(entries.into_iter().map(stored).collect())
    }

    /// The signed mark of the last entry that was exported and removed.
    pub(super) async fn base(&self) -> Result<Option<AuditCheckpoint>, RedisFault> {
        let command = redis::cmd("HGET").arg(&self.keys.base).arg("mark").take();
        let mark: Option<String> = self.redis.query(&command, Effect::Read).await?;
        // A text that is no mark is one without a valid signature.
        Ok(mark.map(|mark| serde_json::from_str(&mark).unwrap_or_else(|_| self.checkpoint(&Head::default(), 0))))
    }

    /// Signs that the log ends, or begins, with an entry.
    pub(super) fn checkpoint(&self, head: &Head, time: UnixMillis) -> AuditCheckpoint {
        let origin = self.keys.log.as_str().to_owned();
        let signed = self.ring.sign(&AuditCheckpoint::text(&origin, head.seq, &head.hash, time));
        AuditCheckpoint { origin, seq: head.seq, hash: head.hash.clone(), time, signed }
    }

    /// A verifier that begins with entry `from`, or with the log.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn verifier(
        &self,
        from: Option<u64>,
        checkpoints: Vec<AuditCheckpoint>,
    ) -> Result<Verifier, RedisFault> {
        let base = self.base().await?;
        let now = self.head().await?.now;
        let mut verifier = Verifier::new(self.ring.clone(), checkpoints, now);
        if let Some(base) = base {
            verifier.begin_after(&base);
        }
        if let Some(from) = from.filter(|from| *from > verifier.next())
            && let Some(before) = self.stored(from - 1).await?
        {
            verifier.skip_to(&before);
        }
        Ok(verifier)
    }

    /// Verifies entries until `limit`, a break that is not acknowledged, or the end. Returns whether it was the end.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn verify(
        &self,
        verifier: &mut Verifier,
        limit: usize,
        shown: impl Fn(u64),
    ) -> Result<bool, RedisFault> {
        let mut read = 0;
        loop {
            let is_over = if verifier.is_broken() { read >= MAX_LOOK } else { read >= limit };
            if is_over {
                return Ok(false);
            }
            let entries = self.entries(verifier.position(), CHUNK).await?;
            if entries.is_empty() {
                break;
            }
            read += entries.len();
            for entry in &entries {
                verifier.feed(entry);
            }
            shown(verifier.checked());
        }
        let head = self.head().await?.head;
        // Entries that were appended since the last read are verified the next time.
        let newest = self.entries_before(u64::MAX, 1).await?.first().map_or(0, |entry| entry.seq);
        if newest < verifier.position() {
            verifier.end(&head);
        }
        Ok(true)
    }

    /// Appends an entry that acknowledges a break, so that the entries after it are verified again.
    ///
    /// # Errors
    /// [`AuditError::Redis`], [`AuditError::Contended`].
    pub(super) async fn reanchor(&self, found: Break) -> Result<u64, AuditError> {
        let mut details = serde_json::Map::new();
        details.insert("seq".to_owned(), found.seq.into());
        details.insert("kind".to_owned(), found.kind.name().into());
        let entry = Entry {
            action: super::verifier::REANCHOR.to_owned(),
            actor: "command line".to_owned(),
            details,
            ..Entry::default()
        };
        Ok(self.append(&mut Known::default(), &mut vec![entry]).await?.head.seq)
    }
}
