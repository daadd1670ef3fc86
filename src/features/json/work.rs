//! The work of one request: how much it may be, and where it runs.
//!
//! A worker serves many requests on one thread. Work that takes more than about a millisecond therefore runs on threads
//! of its own, and only a few requests at a time do such work, so that its memory is bounded as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::lifecycle::offload::{NoThread, Offload};
use crate::lifecycle::permits::{Permit, Permits};

/// The values that the paths of one request may visit: about 20 ms.
const MAX_VISITS: usize = 1_000_000;
/// The values that they may visit on the worker's own thread: about 0.4 ms.
const INLINE_VISITS: usize = 20_000;
/// The longest result that is written on the worker's own thread, bytes.
const INLINE_RESULT: usize = 256 << 10;
/// The longest text that is parsed on the worker's own thread, bytes: less than 1 ms.
pub(super) const INLINE_BYTES: usize = 32 << 10;
/// The batches that may hold documents in memory at the same time; those of one credential, half of them.
const BATCHES: usize = 2;

/// The result would be longer than the limit allows, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the values in one response must have at most {limit} bytes")]
pub(super) struct TooManyBytes {
    pub limit: usize,
}

/// The work that a request may still cause. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct WorkBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    max_visits: usize,
    max_bytes: usize,
    visits: AtomicUsize,
    bytes: AtomicUsize,
}

impl Default for WorkBudget {
    /// A budget for a change, whose result is not longer than a few documents.
    fn default() -> Self {
        Self::new(MAX_VISITS, usize::MAX)
    }
}

impl WorkBudget {
    pub(super) fn new(max_visits: usize, max_bytes: usize) -> Self {
        let (visits, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Budget { max_visits, max_bytes, visits, bytes }))
    }

    /// A budget for a request whose results may have `max_bytes`.
    pub(super) fn of_read(max_bytes: usize) -> Self {
        Self::new(MAX_VISITS, max_bytes)
    }

    /// The part of what is left that may be used on the worker's own thread.
    pub(super) fn inline_part(&self) -> Self {
        let bytes = self.0.max_bytes.saturating_sub(self.0.bytes.load(Ordering::Relaxed));
        Self::new(self.visits_left().min(INLINE_VISITS), bytes.min(INLINE_RESULT))
    }

    /// Spends what was spent of `part`.
    pub(super) fn absorb(&self, part: &Self) {
        self.spend_visits(part.0.visits.load(Ordering::Relaxed));
        self.0.bytes.fetch_add(part.0.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn max_visits(&self) -> usize {
        self.0.max_visits
    }

    pub(super) fn visits_left(&self) -> usize {
        self.0.max_visits.saturating_sub(self.0.visits.load(Ordering::Relaxed))
    }

    pub(super) fn spend_visits(&self, visits: usize) {
        self.0.visits.fetch_add(visits, Ordering::Relaxed);
    }

    /// # Errors
    /// [`TooManyBytes`] if fewer than `bytes` are left.
    pub(super) fn check_bytes(&self, bytes: usize) -> Result<(), TooManyBytes> {
        let limit = self.0.max_bytes;
        let total = self.0.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if total <= limit { Ok(()) } else { Err(TooManyBytes { limit }) }
    }

    /// # Errors
    /// [`TooManyBytes`] if fewer than `bytes` are left; then none are spent.
    pub(super) fn spend_bytes(&self, bytes: usize) -> Result<(), TooManyBytes> {
        self.check_bytes(bytes)?;
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// The limits of work on documents, and the threads for long work.
#[derive(Debug)]
pub(super) struct DocumentWork {
    offload: Offload,
    bodies: Permits,
    batches: Permits,
    /// How long a request waits for a thread.
    patience: Duration,
}

impl DocumentWork {
    pub(super) fn new(offload: Offload, patience: Duration) -> Self {
        Self { offload, bodies: Permits::new(Offload::threads()), batches: Permits::new(BATCHES), patience }
    }

    /// Runs long work on another thread than the worker's.
    ///
    /// # Errors
    /// [`NoThread`] if no thread becomes free in time; nothing was done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoThread> {
        self.offload.run(self.patience, work).await
    }

    /// Waits until a body of this many bytes may be parsed. Its values may be kept as long as the permit, because they can
    /// take 40 times the memory of the text. A short body needs no permit.
    ///
    /// # Errors
    /// [`NoThread`] if that takes too long; nothing was done.
    pub(super) async fn enter_body(&self, bytes: usize) -> Result<Option<Permit>, NoThread> {
        if bytes <= INLINE_BYTES {
            return Ok(None);
        }
        self.bodies.acquire(self.patience).await.map(Some).ok_or(NoThread)
    }

    /// Waits until a batch may hold documents in memory, which it may as long as it keeps the permit.
    ///
    /// # Errors
    /// [`NoThread`] if that takes too long; nothing was done.
    pub(super) async fn enter_batch(&self) -> Result<Permit, NoThread> {
        self.batches.acquire(self.patience).await.ok_or(NoThread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_and_its_part_is_absorbed() {
        let work = WorkBudget::new(30_000, 100);
        let part = work.inline_part();
        assert_eq!((part.visits_left(), part.max_visits()), (INLINE_VISITS, INLINE_VISITS));
        part.spend_visits(20_000);
        part.spend_bytes(60).expect("enough");
        work.clone().absorb(&part);
        assert_eq!(work.visits_left(), 10_000);
        assert_eq!(work.inline_part().visits_left(), 10_000);
        assert!(matches!(work.spend_bytes(41), Err(TooManyBytes { limit: 100 })));
        work.spend_bytes(40).expect("the rejected bytes were not spent");
    }
}
