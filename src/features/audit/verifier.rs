//! Verifies entries one after the other, whether they come from Redis or from exported files.

use super::key_ring::KeyRing;
use super::model::{AuditCheckpoint, Break, BreakKind, Entry, StoredEntry};
use super::scripts::Head;
use crate::clock::UnixMillis;

/// The action of an entry that acknowledges a break.
pub(super) const REANCHOR: &str = "audit.reanchor";

/// How far the clocks of a former and of the present Redis may differ, milliseconds.
const TOLERANCE: i64 = 5 * 60_000;

#[derive(Debug)]
pub(super) struct Verifier {
    ring: KeyRing,
    checkpoints: Vec<AuditCheckpoint>,
    now: UnixMillis,
    /// The last entry that is whole.
    last: Head,
    /// The last entry that was seen.
    seen: u64,
    checked: u64,
    broken: Option<Break>,
    acknowledged: Vec<Break>,
}

impl Verifier {
    /// `now` is the time of Redis; entries that are newer are wrong.
    pub(super) fn new(ring: KeyRing, checkpoints: Vec<AuditCheckpoint>, now: UnixMillis) -> Self {
        let (last, acknowledged) = (Head::default(), Vec::new());
        Self { ring, checkpoints, now, last, seen: 0, checked: 0, broken: None, acknowledged }
    }

    /// Begins after the entries that the mark says were exported.
    pub(super) fn begin_after(&mut self, base: &AuditCheckpoint) {
        let AuditCheckpoint { origin, seq, hash, time, signed } = base;
        self.last = Head { seq: *seq, hash: hash.clone() };
        self.seen = *seq;
        if !self.ring.verify(&AuditCheckpoint::text(origin, *seq, hash, *time), signed) {
            self.fail(*seq, BreakKind::Checkpoint);
        }
    }

    /// Begins after an entry of an earlier page, which was verified there.
    pub(super) fn skip_to(&mut self, entry: &StoredEntry) {
        self.last = Head { seq: entry.seq, hash: entry.hash.clone() };
        self.seen = entry.seq;
    }

    /// The number of the next entry that must exist.
    pub(super) fn next(&self) -> u64 {
        self.last.seq + 1
    }

    /// The number from which entries are read.
    pub(super) fn position(&self) -> u64 {
        self.seen + 1
    }

    pub(super) fn checked(&self) -> u64 {
        self.checked
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// The first break that is not acknowledged.
    pub(super) fn first_break(&self) -> Option<Break> {
        self.broken
    }

    pub(super) fn acknowledged(&self) -> &[Break] {
        &self.acknowledged
    }

    /// Verifies the next entry.
    pub(super) fn feed(&mut self, stored: &StoredEntry) {
        self.seen = self.seen.max(stored.seq);
        let Some(found) = self.broken else {
            match self.judge(stored) {
                Err(kind) => self.fail(if kind == BreakKind::Gap { self.next() } else { stored.seq }, kind),
                Ok(()) => self.accept(stored),
            }
            // The entry itself may acknowledge the break before it.
            if let Some(found) = self.broken {
                self.acknowledge(found, stored);
            }
            return;
        };
        self.acknowledge(found, stored);
    }

    /// Ends at the newest entry that the service has written.
    pub(super) fn end(&mut self, head: &Head) {
        if self.broken.is_some() {
            return;
        }
        match head.seq.cmp(&self.last.seq) {
            std::cmp::Ordering::Greater => return self.fail(self.next(), BreakKind::Gap),
            std::cmp::Ordering::Equal if head.hash != self.last.hash => return self.fail(head.seq, BreakKind::Link),
            _ => {}
        }
        if self.checkpoints.iter().any(|checkpoint| checkpoint.seq > self.last.seq) {
            self.fail(self.next(), BreakKind::Checkpoint);
        }
    }

    fn fail(&mut self, seq: u64, kind: BreakKind) {
        self.broken = Some(Break { seq, kind });
    }

    fn accept(&mut self, stored: &StoredEntry) {
        self.last = Head { seq: stored.seq, hash: stored.hash.clone() };
        self.checked += 1;
    }

    fn judge(&self, stored: &StoredEntry) -> Result<(), BreakKind> {
        if stored.seq > self.next() {
            return Err(BreakKind::Gap);
        }
        let entry = self.read(stored).ok_or(BreakKind::Hash)?;
        if stored.seq != self.next() || stored.previous != self.last.hash {
            return Err(BreakKind::Link);
        }
        if entry.time > self.now.saturating_add(TOLERANCE) {
            return Err(BreakKind::Future);
        }
        let differs = |known: &AuditCheckpoint| known.seq == stored.seq && known.hash != stored.hash;
        if self.checkpoints.iter().any(differs) {
            return Err(BreakKind::Checkpoint);
        }
        Ok(())
    }

    /// The entry, if its hash is right for its text and the hash that it names as the previous one.
    fn read(&self, stored: &StoredEntry) -> Option<Entry> {
        let hash = self.ring.hash(&stored.key, &stored.previous, &stored.entry)?;
        let entry: Entry = serde_json::from_str(&stored.entry).ok()?;
        Some(entry).filter(|entry| hash == stored.hash && entry.seq == stored.seq)
    }

    /// Continues after an entry that acknowledges the break.
    fn acknowledge(&mut self, found: Break, stored: &StoredEntry) {
        let names_it = |entry: &Entry| {
            entry.action == REANCHOR && entry.details.get("seq").and_then(serde_json::Value::as_u64) == Some(found.seq)
        };
        if self.read(stored).as_ref().is_some_and(names_it) {
            self.broken = None;
            self.acknowledged.push(found);
            self.accept(stored);
        }
    }
}
