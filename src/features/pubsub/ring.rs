//! The newest messages of a channel.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::delivery::{Delivery, Position, within};
use crate::events::LATEST_BYTES;

/// The most messages of a ring ...
pub(super) const RING: usize = 128;
/// ... and their most bytes. With the largest messages a ring has sixteen of them.
pub(super) const RING_BYTES: usize = 2 << 20;
/// The most bytes of the rings of all channels of this replica.
const ALL_RINGS_BYTES: usize = 24 << 20;
/// The most keys of which the newest message is kept for subscribers that skip messages ...
const LATEST: usize = 1_000;
/// ... and the most bytes of these messages: more than those of a channel that stores the latest ones take in memory.
const LATEST_SIZE: usize = 2 * LATEST_BYTES + (1 << 20);

/// The negative control of the tests that look for lost messages: messages behind a hole are delivered as if nothing were
/// missing. No setting reaches it, and a release build ignores it.
pub static IGNORES_HOLES: AtomicBool = AtomicBool::new(false);

/// The bytes of the rings of all channels.
#[derive(Debug, Default)]
pub(super) struct RingBudget(AtomicUsize);

impl RingBudget {
    /// Whether rings must be emptied.
    pub(super) fn is_exceeded(&self) -> bool {
        self.0.load(Ordering::Relaxed) > ALL_RINGS_BYTES
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The newest messages of a channel, and the newest of each key.
#[derive(Debug)]
pub(super) struct Ring {
    epoch: Box<str>,
    /// The last offset.
    top: u64,
    /// The newest messages, without a hole, ending with `top`.
    messages: VecDeque<Arc<Delivery>>,
    bytes: usize,
    /// The newest message of each key.
    latest: HashMap<Box<str>, Arc<Delivery>>,
    latest_bytes: usize,
    /// The last offset of those that were removed from `latest`; 0 if it is whole.
    forgotten: u64,
    budget: Arc<RingBudget>,
    /// The bytes of the ring in the budget. A message in `messages` and `latest` counts twice.
    counted: usize,
}

/// What a subscriber finds at its position.
#[derive(Debug)]
pub(super) enum Found {
    /// Messages, in order; the position is behind the last one.
    Messages(Vec<Arc<Delivery>>),
    UpToDate,
    /// The messages are no longer in the ring.
    Behind,
    /// The epoch of the position has ended: messages may be missing. The position is before the oldest message of the ring.
    NewEpoch(Position),
}

/// Whether a message could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    Delivered,
    /// It was known.
    Duplicate,
    /// It is kept until the newest messages are read.
    Early,
    /// Messages before it are missing: the newest ones must be read again.
    Hole,
}

impl Ring {
    pub(super) fn new(budget: Arc<RingBudget>) -> Self {
        let (messages, latest) = (VecDeque::new(), HashMap::new());
        let (epoch, top, bytes, latest_bytes, forgotten, counted) = (Box::default(), 0, 0, 0, 0, 0);
        Self { epoch, top, messages, bytes, latest, latest_bytes, forgotten, budget, counted }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.latest.is_empty()
    }

    /// Forgets all messages.
    pub(super) fn empty(&mut self) {
        self.clear_messages();
        if !self.latest.is_empty() {
            self.forgotten = self.top;
        }
        self.clear_latest();
        self.count();
    }

    fn clear_messages(&mut self) {
        self.messages = VecDeque::new();
        self.bytes = 0;
    }

    fn clear_latest(&mut self) {
        self.latest = HashMap::new();
        self.latest_bytes = 0;
    }

    /// Counts the bytes of the ring in the budget.
    fn count(&mut self) {
        let bytes = self.bytes + self.latest_bytes;
        self.budget.0.fetch_add(bytes, Ordering::Relaxed);
        self.budget.0.fetch_sub(self.counted, Ordering::Relaxed);
        self.counted = bytes;
    }

    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.top }
    }

    /// The offset of the oldest message of the ring.
    pub(super) fn first(&self) -> u64 {
        self.messages.front().map_or(self.top + 1, |delivery| delivery.offset)
    }

    pub(super) fn accept(&mut self, delivery: &Arc<Delivery>, is_stored: bool) -> Accepted {
        let is_same_epoch = *delivery.epoch == *self.epoch;
        if is_same_epoch && delivery.offset <= self.top {
            return Accepted::Duplicate;
        }
        let ignores_hole = cfg!(debug_assertions) && IGNORES_HOLES.load(Ordering::Relaxed);
        if !is_same_epoch || (delivery.offset != self.top + 1 && !ignores_hole) {
            if is_stored {
                return Accepted::Hole;
            }
            // What is not stored cannot be read again: subscribers at an older position learn of the gap.
            self.replace(&delivery.epoch, delivery.offset - 1, Vec::new(), false);
        }
        self.push(Arc::clone(delivery));
        Accepted::Delivered
    }

    fn push(&mut self, delivery: Arc<Delivery>) {
        self.top = delivery.offset;
        self.keep_latest(Arc::clone(&delivery));
        self.bytes += delivery.size();
        self.messages.push_back(delivery);
        while self.messages.len() > RING || (self.bytes > RING_BYTES && self.messages.len() > 1) {
            if let Some(oldest) = self.messages.pop_front() {
                self.bytes -= oldest.size();
            }
        }
        self.count();
    }

    fn keep_latest(&mut self, delivery: Arc<Delivery>) {
        self.latest_bytes += delivery.size();
        if let Some(replaced) = self.latest.insert(delivery.key.clone().unwrap_or_default(), delivery) {
            self.latest_bytes -= replaced.size();
        }
        while self.latest.len() > LATEST || (self.latest_bytes > LATEST_SIZE && self.latest.len() > 1) {
            let oldest = self.latest.iter().min_by_key(|(_, delivery)| delivery.offset);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()).and_then(|key| self.latest.remove(&key)) else {
                return;
            };
            self.latest_bytes -= oldest.size();
            self.forgotten = self.forgotten.max(oldest.offset);
        }
    }

    /// Begins again with the newest messages of the log, or the newest of each key if `is_latest`. Only those without a hole
    /// before `top` are of use for subscribers that want all.
    pub(super) fn replace(&mut self, epoch: &str, top: u64, messages: Vec<Arc<Delivery>>, is_latest: bool) {
        if *self.epoch != *epoch || is_latest {
            self.clear_latest();
            self.forgotten = 0;
            self.epoch = epoch.into();
        }
        self.clear_messages();
        for delivery in messages {
            let follows = self.messages.back().is_none_or(|last| last.offset + 1 == delivery.offset);
            if !follows {
                self.clear_messages();
            }
            self.push(delivery);
        }
        if self.messages.back().is_some_and(|last| last.offset != top) {
            self.clear_messages();
        }
        self.top = top;
        self.count();
    }

    /// Whether the ring has later messages of an epoch than those up to `top`.
    pub(super) fn is_ahead_of(&self, epoch: &str, top: u64) -> bool {
        *self.epoch == *epoch && self.top > top
    }

    /// The messages behind a position, up to about `budget` bytes.
    pub(super) fn after(&self, position: &Position, budget: usize) -> Found {
        if *position.epoch != *self.epoch {
            return Found::NewEpoch(Position { epoch: self.epoch.clone(), offset: self.first() - 1 });
        }
        if position.offset >= self.top {
            return Found::UpToDate;
        }
        if position.offset + 1 < self.first() {
            return Found::Behind;
        }
        let known = self.messages.partition_point(|delivery| delivery.offset <= position.offset);
        Found::Messages(within(budget, self.messages.range(known..)).cloned().collect())
    }

    /// The newest message of each key behind a position, in the order of their offsets, and the channel's position.
    pub(super) fn latest_after(&self, position: &Position) -> (Vec<Arc<Delivery>>, Position) {
        let is_new = |delivery: &&Arc<Delivery>| delivery.offset > position.offset || delivery.epoch != position.epoch;
        let mut newest: Vec<_> = self.latest.values().filter(is_new).cloned().collect();
        newest.sort_unstable_by_key(|delivery| delivery.offset);
        (newest, self.position())
    }

    /// The last offset of the messages that [`Self::latest_after`] lacks, if it lacks any behind this position.
    pub(super) fn forgotten_after(&self, position: &Position) -> Option<u64> {
        let is_before = position.epoch != self.epoch || position.offset < self.forgotten;
        (self.forgotten > 0 && is_before).then_some(self.forgotten)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    fn message(offset: u64, size: usize) -> Arc<Delivery> {
        let text = format!(
            "{{\"offset\":{offset},\"epoch\":\"a\",\"timestamp\":1,\"message_type\":\"T\",\"data\":\"{}\"}}",
            "x".repeat(size)
        );
        Arc::new(Delivery::parse(Bytes::from(text)).expect("a message"))
    }

    #[test]
    fn the_bytes_of_a_ring_are_bounded_and_counted() {
        let budget = Arc::new(RingBudget::default());
        let mut ring = Ring::new(Arc::clone(&budget));
        ring.replace("a", 0, Vec::new(), false);
        // Small ones, the largest, one that is larger than a ring, and small ones again.
        for (offset, size) in (1..).zip([vec![10; 200], vec![64 << 10; 40], vec![3 << 20], vec![10; 3]].concat()) {
            assert_eq!(ring.accept(&message(offset, size), true), Accepted::Delivered);
            assert!(ring.bytes <= RING_BYTES || ring.messages.len() == 1, "{} bytes", ring.bytes);
            let sizes: usize = ring.messages.iter().map(|kept| kept.size()).sum();
            // They have no key, so the newest one is the newest of all.
            assert_eq!((ring.bytes, budget.bytes()), (sizes, sizes + message(offset, size).size()));
            assert!(ring.messages.len() <= RING && ring.first() + ring.messages.len() as u64 == offset + 1);
        }
        ring.replace("b", 7, (3..=7).map(|offset| message(offset, 100)).collect(), false);
        assert_eq!((ring.messages.len(), ring.bytes + ring.latest_bytes), (5, budget.bytes()));
        ring.empty();
        assert_eq!((ring.position().offset, budget.bytes()), (7, 0));
        ring.accept(&message(8, 10), true);
        drop(ring);
        assert_eq!(budget.bytes(), 0, "a channel without subscribers takes no memory");
    }

    #[test]
    fn the_newest_messages_of_the_keys_are_bounded_and_counted() {
        let keyed = |offset: u64, size: usize| {
            let mut delivery = Arc::into_inner(message(offset, size)).expect("one owner");
            delivery.key = Some(offset.to_string().into());
            Arc::new(delivery)
        };
        let budget = Arc::new(RingBudget::default());
        let mut ring = Ring::new(Arc::clone(&budget));
        let at = |offset| Position { epoch: "a".into(), offset };
        ring.replace("a", 0, Vec::new(), true);
        for offset in 1..=100 {
            ring.accept(&keyed(offset, 64 << 10), true);
            assert!(budget.bytes() <= RING_BYTES + LATEST_SIZE, "{} bytes", budget.bytes());
        }
        // What was forgotten is before everything that is left.
        let (newest, _) = ring.latest_after(&at(0));
        let first = newest.first().expect("messages").offset;
        assert_eq!((ring.forgotten_after(&at(0)), ring.forgotten_after(&at(first - 1))), (Some(first - 1), None));
        ring.replace("a", 100, (1..=20).map(|offset| keyed(offset, 10)).collect(), true);
        assert_eq!((ring.latest_after(&at(0)).0.len(), ring.forgotten_after(&at(0))), (20, None));
        ring.empty();
        assert_eq!(
            (budget.bytes(), ring.forgotten_after(&at(99)), ring.forgotten_after(&at(100))),
            (0, Some(100), None)
        );
    }
}
