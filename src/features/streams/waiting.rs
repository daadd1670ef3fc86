//! Consumers that wait for events of a group: one of them asks Redis, for all that wait at this replica.
//!
//! A thousand consumers that wait cost as much as one: the others queue for their turn in this process. The one whose turn
//! it is knows since when the group has nothing to deliver, and asks again only when something was announced or is due.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::names::{ShortName, StreamName};
use crate::events::Movements;
use crate::redis::Key;

/// An idle group is asked again after this time, in case an announcement was lost.
const RECHECK: Duration = Duration::from_secs(5);

/// What the consumers of one group at this replica know together.
#[derive(Debug)]
pub(super) struct Turn {
    moved: watch::Receiver<()>,
    /// Until when the group has nothing to deliver, unless something is announced.
    idle_until: Option<Instant>,
}

impl Turn {
    /// Whether the group may have something to deliver.
    pub(super) fn is_due(&mut self) -> bool {
        let has_moved = self.moved.has_changed().unwrap_or(true);
        if has_moved || self.idle_until.is_none_or(|until| until <= Instant::now()) {
            // Seen before the group is asked: what is announced meanwhile counts again.
            self.moved.mark_unchanged();
            self.idle_until = None;
            return true;
        }
        false
    }

    /// Notes that the group has nothing to deliver for a time.
    pub(super) fn rest(&mut self, next_due_ms: Option<u64>) {
        let due = next_due_ms.map_or(RECHECK, |due| Duration::from_millis(due.max(1)));
        self.idle_until = Some(Instant::now() + due.min(RECHECK));
    }

    /// Resolves when the group may have something to deliver.
    pub(super) async fn due(&mut self) {
        let until = self.idle_until.unwrap_or_else(Instant::now);
        tokio::select! {
            // The sender lives as long as the service.
            _ = self.moved.changed() => self.idle_until = None,
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// The turn for which the consumers of a group queue.
pub(super) type SharedTurn = tokio::sync::Mutex<Turn>;

/// The groups whose consumers wait at this replica.
#[derive(Debug)]
pub(super) struct Waiters {
    movements: Arc<Movements>,
    groups: Mutex<HashMap<(StreamName, ShortName), Weak<SharedTurn>>>,
}

impl Waiters {
    pub(super) fn new(movements: Arc<Movements>) -> Self {
        Self { movements, groups: Mutex::default() }
    }

    /// The turn of a group; `moved` is the channel on which its stream is announced.
    pub(super) fn turn(&self, stream: &StreamName, group: &ShortName, moved: &Key) -> Arc<SharedTurn> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (stream.clone(), group.clone());
        if let Some(turn) = groups.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        groups.retain(|_, turn| turn.strong_count() > 0);
        let turn = Turn { moved: self.movements.follow(moved), idle_until: None };
        let turn = Arc::new(SharedTurn::new(turn));
        groups.insert(key, Arc::downgrade(&turn));
        turn
    }

    /// Follows the announcements of a stream.
    pub(super) fn follow(&self, moved: &Key) -> watch::Receiver<()> {
        self.movements.follow(moved)
    }
}
