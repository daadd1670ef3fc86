//! The writers of one document in this process, one after the other.
//!
//! Without it, many writers of one document would mostly undo each other's reads. Each leaves the document as it wrote it
//! to the next one, who then needs no read of its own: on a busy document a change is one round trip.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::OwnedMutexGuard;

use crate::lifecycle::deadline::until;
use crate::redis::Key;

/// The queues of all documents that have writers; `T` is what a writer leaves to the next.
#[derive(Debug)]
pub(super) struct Queues<T>(Mutex<HashMap<Key, Arc<Queue<T>>>>);

type Queue<T> = tokio::sync::Mutex<Option<T>>;

/// The turn of one writer; the next one's begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a, T> {
    queues: &'a Queues<T>,
    key: &'a Key,
    left_behind: Option<OwnedMutexGuard<Option<T>>>,
}

impl<T> Default for Queues<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Queues<T> {
    /// Waits for the turn, first come first served; `None` when it has not come by `deadline`.
    pub(super) async fn enter<'a>(&'a self, key: &'a Key, deadline: Instant) -> Option<Turn<'a, T>> {
        // Whoever gives up waiting leaves by this as well.
        let mut turn = Turn { queues: self, key, left_behind: None };
        let queue = Arc::clone(self.lock().entry(key.clone()).or_default());
        turn.left_behind = match Arc::clone(&queue).try_lock_owned() {
            Ok(free) => Some(free),
            Err(_) => Some(until(deadline, queue.lock_owned()).await?),
        };
        Some(turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Queue<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
    }
}

impl<T> Turn<'_, T> {
    /// What the writer before left.
    pub(super) fn take(&mut self) -> Option<T> {
        self.left_behind.as_mut()?.take()
    }

    /// Leaves something to the next writer, if there is one.
    pub(super) fn leave(&mut self, thing: T) {
        if let Some(place) = &mut self.left_behind {
            **place = Some(thing);
        }
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        self.left_behind = None;
        // Only the map knows it: nobody holds it or waits, and nobody can come while the map is locked.
        if queues.get(self.key).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::redis::KeySpace;

    fn key(name: &str) -> Key {
        KeySpace::default().key(name)
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    #[tokio::test]
    async fn a_writer_gets_what_the_one_before_left_and_the_last_one_leaves_nothing() {
        let (queues, key) = (Queues::default(), key("a"));
        let mut first = queues.enter(&key, far()).await.expect("a turn");
        assert_eq!(first.take(), None);
        let second = async {
            let mut turn = queues.enter(&key, far()).await.expect("a turn");
            turn.take()
        };
        let hand_over = async {
            tokio::task::yield_now().await;
            first.leave(7);
            drop(first);
        };
        let (found, ()) = tokio::join!(second, hand_over);
        assert_eq!(found, Some(7));
        assert_eq!(queues.len(), 0);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_no_trace() {
        let (queues, key) = (Queues::<u8>::default(), key("a"));
        let turn = queues.enter(&key, far()).await.expect("a turn");
        assert!(queues.enter(&key, Instant::now() + Duration::from_millis(5)).await.is_none());
        {
            let waiting = queues.enter(&key, far());
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending());
        }
        assert_eq!(queues.len(), 1);
        drop(turn);
        assert_eq!(queues.len(), 0);
    }

    #[tokio::test]
    async fn documents_do_not_wait_for_each_other() {
        let queues = Queues::<u8>::default();
        let (one, two) = (key("a"), key("b"));
        let _first = queues.enter(&one, far()).await.expect("a turn");
        assert!(queues.enter(&two, Instant::now()).await.is_some());
    }
}
