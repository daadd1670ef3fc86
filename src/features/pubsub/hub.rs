//! Wakes the connections of one thread, so that a message costs the other threads one wake-up each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How many connections are woken before the other tasks of the thread run: 256 wake-ups take some 30 us, while the writes
/// that they cause take milliseconds.
const CHUNK: usize = 256;

/// The subscribers of one channel on one thread.
#[derive(Debug, Default)]
pub(super) struct LocalSubscribers(Mutex<BTreeMap<u64, Arc<Registration>>>);

impl LocalSubscribers {
    pub(super) fn add(&self, id: u64, registration: Arc<Registration>) {
        self.lock().insert(id, registration);
    }

    pub(super) fn remove(&self, id: u64) {
        self.lock().remove(&id);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Wakes at most [`CHUNK`] subscribers behind `after`. Returns the last one if there may be more.
    fn wake(&self, after: Option<u64>) -> Option<u64> {
        let subscribers = self.lock();
        let (mut last, mut count) = (None, 0);
        for (id, registration) in subscribers.range(after.map_or(0, |after| after + 1)..).take(CHUNK) {
            registration.notify();
            (last, count) = (Some(*id), count + 1);
        }
        last.filter(|_| count == CHUNK)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Registration>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscribers of one thread whose channels have something new.
#[derive(Debug, Default)]
pub(super) struct Hub {
    due: Mutex<Vec<Arc<LocalSubscribers>>>,
    wake: Notify,
}

impl Hub {
    /// Notes that the channel of the subscribers has something new.
    pub(super) fn note(&self, subscribers: &Arc<LocalSubscribers>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.push(Arc::clone(subscribers));
        let is_first = due.len() == 1;
        drop(due);
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Wakes the noted subscribers; runs on their thread.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
            }
            let due = std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner));
            for subscribers in due {
                let mut after = None;
                while let Some(last) = subscribers.wake(after) {
                    after = Some(last);
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// Wakes the task of one connection.
#[derive(Debug, Default)]
pub(super) struct Signal {
    wake: Notify,
}

impl Signal {
    pub(super) fn fire(&self) {
        self.wake.notify_one();
    }

    /// Resolves after [`Signal::fire`].
    pub(super) async fn fired(&self) {
        self.wake.notified().await;
    }
}

/// One subscription as its channel sees it.
#[derive(Debug)]
pub(super) struct Registration {
    signal: Arc<Signal>,
    has_news: AtomicBool,
}

impl Registration {
    pub(super) fn new(signal: Arc<Signal>) -> Self {
        Self { signal, has_news: AtomicBool::new(false) }
    }

    /// Tells the connection that the channel has something new, unless it knows.
    pub(super) fn notify(&self) {
        if !self.has_news.swap(true, Ordering::AcqRel) {
            self.signal.fire();
        }
    }

    /// Whether the channel has something new since the last call.
    pub(super) fn take_news(&self) -> bool {
        self.has_news.load(Ordering::Relaxed) && self.has_news.swap(false, Ordering::AcqRel)
    }
}
