//! Wakes the connections of one thread, so that a message costs the other threads one wake-up each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::channel::Channel;

/// How many connections are woken before the other tasks of the thread run: 256 wake-ups take some 30 us, while the writes
/// that they cause take milliseconds.
const CHUNK: usize = 256;

/// The channels of one thread that have something new.
#[derive(Debug, Default)]
pub(super) struct Hub {
    dirty: Mutex<Vec<Arc<Channel>>>,
    wake: Notify,
}

impl Hub {
    /// Notes that a channel has something new.
    pub(super) fn note(&self, channel: &Arc<Channel>) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        dirty.push(Arc::clone(channel));
        let is_first = dirty.len() == 1;
        drop(dirty);
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Wakes the subscribers of noted channels; runs on their thread.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
            }
            let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
            for channel in dirty {
                let mut after = None;
                while let Some(last) = channel.wake_subscribers(&self, after, CHUNK) {
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
