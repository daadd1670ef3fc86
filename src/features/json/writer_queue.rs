//! Queues the writers of one document in this process.
//!
//! Without a queue, concurrent writers of one document would mostly invalidate each other's reads. A writer hands its
//! snapshot of the document over to the next one, which then need not read: on a busy document a change takes one round
//! trip.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::OwnedMutexGuard;

use super::stored::Snapshot;
use crate::lifecycle::deadline::until;
use crate::redis::Key;

/// The queues of all documents that have writers.
#[derive(Debug, Default)]
pub(super) struct WriterQueues(Mutex<HashMap<Key, Arc<Queue>>>);

/// Holds the snapshot that a writer hands over.
type Queue = tokio::sync::Mutex<Option<Snapshot>>;

/// The turn of one writer. The next writer's turn starts when this one is dropped.
#[derive(Debug)]
pub(super) struct WriterTurn<'a> {
    queues: &'a WriterQueues,
    key: &'a Key,
    snapshot: Option<OwnedMutexGuard<Option<Snapshot>>>,
}

impl WriterQueues {
    /// Waits for a turn, first come first served; `None` if the turn does not come before `deadline`.
    pub(super) async fn enter<'a>(&'a self, key: &'a Key, deadline: Instant) -> Option<WriterTurn<'a>> {
        // A writer that stops waiting drops this, too.
        let mut turn = WriterTurn { queues: self, key, snapshot: None };
        let queue = Arc::clone(self.lock().entry(key.clone()).or_default());
        turn.snapshot = match Arc::clone(&queue).try_lock_owned() {
            Ok(free) => Some(free),
            Err(_) => Some(until(deadline, queue.lock_owned()).await?),
        };
        Some(turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Queue>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriterTurn<'_> {
    /// Takes the snapshot of the previous writer.
    pub(super) fn take_snapshot(&mut self) -> Option<Snapshot> {
        self.snapshot.as_mut()?.take()
    }

    /// Hands a snapshot over to the next writer, if there is one.
    pub(super) fn hand_over(&mut self, snapshot: Snapshot) {
        if let Some(slot) = &mut self.snapshot {
            **slot = Some(snapshot);
        }
    }
}

impl Drop for WriterTurn<'_> {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        self.snapshot = None;
        // Only the map refers to the queue: no writer holds or awaits it, and none can enter while the map is locked.
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

    fn far_deadline() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    #[tokio::test]
    async fn a_writer_receives_the_snapshot_of_the_previous_one_and_the_last_writer_removes_the_queue() {
        let (queues, key) = (WriterQueues::default(), key("a"));
        let mut first = queues.enter(&key, far_deadline()).await.expect("a turn");
        assert!(first.take_snapshot().is_none());
        let second = async {
            let mut turn = queues.enter(&key, far_deadline()).await.expect("a turn");
            turn.take_snapshot()
        };
        let hand_over = async {
            tokio::task::yield_now().await;
            first.hand_over(Snapshot { version: 7, ..Snapshot::ABSENT });
            drop(first);
        };
        let (found, ()) = tokio::join!(second, hand_over);
        assert_eq!(found.map(|snapshot| snapshot.version), Some(7));
        assert_eq!(queues.lock().len(), 0);
    }

    #[tokio::test]
    async fn a_writer_that_stops_waiting_leaves_no_queue_behind() {
        let (queues, key) = (WriterQueues::default(), key("a"));
        let turn = queues.enter(&key, far_deadline()).await.expect("a turn");
        assert!(queues.enter(&key, Instant::now() + Duration::from_millis(5)).await.is_none());
        {
            let waiting = queues.enter(&key, far_deadline());
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending());
        }
        assert_eq!(queues.lock().len(), 1);
        drop(turn);
        assert_eq!(queues.lock().len(), 0);
    }

    #[tokio::test]
    async fn documents_do_not_wait_for_each_other() {
        let queues = WriterQueues::default();
        let (one, two) = (key("a"), key("b"));
        let _first = queues.enter(&one, far_deadline()).await.expect("a turn");
        assert!(queues.enter(&two, Instant::now()).await.is_some());
    }
}
