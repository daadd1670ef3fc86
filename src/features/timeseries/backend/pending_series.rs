//! A queue of series that wait for background work.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The most series that wait. A series that does not fit is added again by its next write.
const CAPACITY: usize = 10_000;

/// The most series of one round of work.
const ROUND: usize = 16;

/// The pause after a fault of Redis. No request waits for the work.
const PAUSE: Duration = Duration::from_secs(1);

/// Series that wait for work, each at most once.
#[derive(Debug)]
pub struct PendingSeries<V> {
    by_name: Mutex<BTreeMap<String, V>>,
    added: Notify,
}

impl<V> Default for PendingSeries<V> {
    fn default() -> Self {
        Self { by_name: Mutex::default(), added: Notify::new() }
    }
}

impl<V> PendingSeries<V> {
    /// Adds a series unless it is already waiting.
    pub fn add(&self, name: &str, value: impl FnOnce() -> V) {
        let mut by_name = self.by_name();
        if by_name.len() < CAPACITY && !by_name.contains_key(name) {
            by_name.insert(name.to_owned(), value());
            drop(by_name);
            self.added.notify_one();
        }
    }

    /// Waits for series, then removes and returns those of the next round. Returns `None` when the service stops.
    pub async fn next(&self, stop: &CancellationToken) -> Option<Vec<V>> {
        loop {
            if stop.is_cancelled() {
                return None;
            }
            let series = self.take(ROUND);
            if !series.is_empty() {
                return Some(series);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.added.notified() => {}
            }
        }
    }

    fn take(&self, limit: usize) -> Vec<V> {
        let mut by_name = self.by_name();
        std::iter::from_fn(|| by_name.pop_first()).take(limit).map(|(_, value)| value).collect()
    }

    fn by_name(&self) -> MutexGuard<'_, BTreeMap<String, V>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits after a fault of Redis, or until the service stops.
pub async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(PAUSE) => {}
    }
}
