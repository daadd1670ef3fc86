//! Series that wait for work behind the writers' backs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Series that may wait; the next write of a further one notes it again.
const WAITING: usize = 10_000;

/// Each series once, by its name, however often it is noted.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Queue<V>(Arc<Inner<V>>);

#[derive(Debug)]
struct Inner<V> {
    series: Mutex<BTreeMap<String, V>>,
    added: Notify,
}

impl<V> Clone for Queue<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> Default for Queue<V> {
    fn default() -> Self {
        Self(Arc::new(Inner { series: Mutex::default(), added: Notify::new() }))
    }
}

impl<V> Queue<V> {
    /// Adds a series, unless it waits already.
    pub(in crate::features::timeseries) fn note(&self, name: &str, value: impl FnOnce() -> V) {
        let mut series = self.series();
        if series.len() < WAITING && !series.contains_key(name) {
            series.insert(name.to_owned(), value());
            drop(series);
            self.0.added.notify_one();
        }
    }

    /// Takes some of those that wait.
    pub(in crate::features::timeseries) fn take(&self, limit: usize) -> Vec<V> {
        let mut series = self.series();
        std::iter::from_fn(|| series.pop_first()).take(limit).map(|(_, value)| value).collect()
    }

    /// Resolves when a series was added.
    pub(in crate::features::timeseries) async fn added(&self) {
        self.0.added.notified().await;
    }

    fn series(&self) -> MutexGuard<'_, BTreeMap<String, V>> {
        self.0.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
