//! A queue of series that wait for background work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The most series that wait. A series that does not fit is added again by its next write.
const CAPACITY: usize = 10_000;

/// Series that wait for work, each at most once.
#[derive(Debug)]
pub struct PendingSeries<V>(Arc<Inner<V>>);

#[derive(Debug)]
struct Inner<V> {
    by_name: Mutex<BTreeMap<String, V>>,
    added: Notify,
}

impl<V> Clone for PendingSeries<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> Default for PendingSeries<V> {
    fn default() -> Self {
        Self(Arc::new(Inner { by_name: Mutex::default(), added: Notify::new() }))
    }
}

impl<V> PendingSeries<V> {
    /// Adds a series unless it is already waiting.
    pub fn add(&self, name: &str, value: impl FnOnce() -> V) {
        let mut by_name = self.by_name();
        if by_name.len() < CAPACITY && !by_name.contains_key(name) {
            by_name.insert(name.to_owned(), value());
            drop(by_name);
            self.0.added.notify_one();
        }
    }

    /// Removes and returns up to `limit` series.
    pub fn take(&self, limit: usize) -> Vec<V> {
        let mut by_name = self.by_name();
        std::iter::from_fn(|| by_name.pop_first()).take(limit).map(|(_, value)| value).collect()
    }

    /// Resolves when a series is added.
    pub async fn added(&self) {
        self.0.added.notified().await;
    }

    fn by_name(&self) -> MutexGuard<'_, BTreeMap<String, V>> {
        self.0.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
