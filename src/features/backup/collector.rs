//! What goes into a backup: the keys of the service, cut out of all that a server holds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::archive::Writer;
use super::digest::{self, Sum};
use super::model::HoldingCount;
use super::rdb::{RecordHead, Records};
use super::record;
use crate::clock::UnixMillis;
use crate::holdings::Owners;

/// Values up to this size are in the digests.
pub(super) const DIGESTED: usize = 16 << 20;

/// What was counted of a holding.
#[derive(Clone, Debug, Default)]
struct Count {
    keys: u64,
    bytes: u64,
    opaque: u64,
    sum: Sum,
}

/// Receives the records of servers, and writes those of the service.
pub(super) struct Collector {
    pub writer: Writer,
    owners: Owners,
    now: UnixMillis,
    counts: BTreeMap<&'static str, Count>,
    pub foreign: u64,
    pub expired: u64,
    current: Option<Current>,
    /// Keys so far, for those who wait.
    keys: Arc<AtomicU64>,
}

struct Current {
    holding: &'static str,
    key: Vec<u8>,
    /// The value as far as it is digested; `None` if it is too large.
    value: Option<Vec<u8>>,
}

impl Collector {
    pub(super) fn new(writer: Writer, owners: Owners, now: UnixMillis, keys: Arc<AtomicU64>) -> Self {
        let counts = BTreeMap::new();
        Self { writer, owners, now, counts, foreign: 0, expired: 0, current: None, keys }
    }

    /// What was written of each holding.
    pub(super) fn holdings(&self) -> BTreeMap<String, HoldingCount> {
        let count = |Count { keys, bytes, opaque, sum }: &Count| HoldingCount {
            keys: *keys,
            bytes: *bytes,
            opaque: *opaque,
            digest: sum.hex(),
        };
        self.counts.iter().map(|(name, counted)| ((*name).to_owned(), count(counted))).collect()
    }

    /// Takes a whole record.
    pub(super) fn take(&mut self, head: &RecordHead, value: &[u8]) -> io::Result<()> {
        if self.begin(head)? {
            self.value(value)?;
            self.end()?;
        }
        Ok(())
    }
}

impl Records for Collector {
    fn begin(&mut self, head: &RecordHead) -> io::Result<bool> {
        let Some(holding) = self.owners.holding(&head.key) else {
            self.foreign += 1;
            return Ok(false);
        };
        // The state of backups describes this deployment, not the restored one.
        if holding.name == "backup" {
            return Ok(false);
        }
        if head.expires.is_some_and(|expires| expires <= self.now) {
            self.expired += 1;
            return Ok(false);
        }
        self.writer.write(&record::begin(&head.key, head.expires))?;
        self.current = Some(Current { holding: holding.name, key: head.key.clone(), value: Some(Vec::new()) });
        Ok(true)
    }

    fn value(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        // Short pieces make a value easy to put together from entries of limited size.
        for piece in bytes.chunks(1 << 16) {
            self.writer.write(&record::piece(piece.len()))?;
            self.writer.write(piece)?;
        }
        self.counts.entry(current.holding).or_default().bytes += bytes.len() as u64;
        match &mut current.value {
            Some(value) if value.len() + bytes.len() <= DIGESTED => value.extend_from_slice(bytes),
            other => *other = None,
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(Current { holding, key, value }) = self.current.take() else { return Ok(()) };
        self.writer.write(&record::complete())?;
        let count = self.counts.entry(holding).or_default();
        count.keys += 1;
        match value.and_then(|value| digest::of_stored(&key, &value)) {
            Some(digest) => count.sum.add(&digest),
            None => count.opaque += 1,
        }
        self.keys.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
