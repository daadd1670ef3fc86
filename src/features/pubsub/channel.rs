//! One channel at this replica: its newest messages, and who listens.
//!
//! The ring of newest messages is the queue of every subscriber: a subscriber has only a position in it, so a slow client
//! costs no memory and delays no client. A subscriber behind the ring reads the log in Redis, or learns of a gap.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::delivery::{Delivery, Position};
use super::hub::{Hub, LocalSubscribers, Registration};
use super::log_page::{LogPage, PAGE_LIFE};
use super::presence_digest::PresenceFeed;
use super::ring::{Accepted, Found, RING, Ring, RingBudget};
use crate::events::{ChannelName, Keep, Namespace};

/// A channel with subscribers at this replica.
#[derive(Debug)]
pub(super) struct Channel {
    pub name: ChannelName,
    /// A reload of the configuration replaces them.
    rules: ArcSwap<Namespace>,
    state: Mutex<State>,
    loaded: Notify,
    /// One subscriber reads the log at a time; those that follow find its page in `pages`.
    pub log_reads: tokio::sync::Mutex<Option<LogPage>>,
    pub presence: PresenceFeed,
}

/// Whether the channel receives messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The newest messages are not read yet, or have to be read again. Messages that arrive meanwhile are kept.
    Loading,
    Live,
    /// Redis denies the service this channel.
    Denied,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    ring: Ring,
    /// Messages that arrived while loading, in their order.
    early: Vec<Arc<Delivery>>,
    /// By thread.
    subscribers: Vec<(Arc<Hub>, Arc<LocalSubscribers>)>,
    next_id: u64,
    /// When a client last used the ring.
    used: Instant,
    /// Since when no client listens.
    idle_since: Option<Instant>,
}

impl Channel {
    pub(super) fn new(name: ChannelName, namespace: Arc<Namespace>, budget: Arc<RingBudget>) -> Self {
        let state = State {
            phase: Phase::Loading,
            ring: Ring::new(budget),
            early: Vec::new(),
            subscribers: Vec::new(),
            next_id: 0,
            used: Instant::now(),
            idle_since: Some(Instant::now()),
        };
        let (loaded, log_reads) = (Notify::new(), tokio::sync::Mutex::default());
        let (rules, presence) = (ArcSwap::new(namespace), PresenceFeed::default());
        Self { name, rules, state: Mutex::new(state), loaded, log_reads, presence }
    }

    /// The rules of the channel.
    pub(super) fn namespace(&self) -> Arc<Namespace> {
        self.rules.load_full()
    }

    /// What the channel stores.
    pub(super) fn keep(&self) -> Keep {
        self.rules.load().keep
    }

    /// Replaces the rules. Returns whether the channel stores something else now, so that it must be read again.
    pub(super) fn set_namespace(&self, namespace: Arc<Namespace>) -> bool {
        let keep = namespace.keep;
        self.rules.swap(namespace).keep != keep
    }

    /// Takes a message from Redis.
    pub(super) fn accept(&self, delivery: Arc<Delivery>) -> Accepted {
        let mut state = self.lock();
        if state.phase == Phase::Loading {
            // The newest messages are read after these arrived, so the oldest of them are not needed.
            if state.early.len() == RING {
                state.early.remove(0);
            }
            state.early.push(delivery);
            return Accepted::Early;
        }
        let accepted = state.ring.accept(&delivery, self.keep() != Keep::None);
        match accepted {
            Accepted::Hole => {
                state.phase = Phase::Loading;
                state.early.push(delivery);
            }
            Accepted::Delivered => state.note_news(),
            Accepted::Duplicate | Accepted::Early => {}
        }
        accepted
    }

    /// Takes the newest messages that are stored, oldest first. Returns whether the channel is complete; otherwise they must be
    /// read again.
    pub(super) fn load(&self, epoch: &str, top: u64, messages: Vec<Arc<Delivery>>) -> bool {
        let mut state = self.lock();
        if !state.ring.is_ahead_of(epoch, top) {
            state.ring.replace(epoch, top, messages, self.keep() == Keep::Latest);
        }
        state.phase = Phase::Live;
        let is_stored = self.keep() != Keep::None;
        let early = std::mem::take(&mut state.early);
        for (at, delivery) in early.iter().enumerate() {
            if state.ring.accept(delivery, is_stored) == Accepted::Hole {
                state.phase = Phase::Loading;
                state.early = early.get(at..).unwrap_or_default().to_vec();
                return false;
            }
        }
        state.note_news();
        drop(state);
        self.loaded.notify_waiters();
        true
    }

    /// Takes no messages until the newest ones are read again.
    pub(super) fn reload(&self) {
        self.lock().phase = Phase::Loading;
    }

    /// Whether the channel receives messages.
    pub(super) fn is_live(&self) -> bool {
        self.lock().phase == Phase::Live
    }

    /// Resolves when the channel receives messages, with its position; with `None` if Redis denies it.
    pub(super) async fn live(&self) -> Option<Position> {
        loop {
            let loaded = self.loaded.notified();
            {
                let state = self.lock();
                match state.phase {
                    Phase::Live => return Some(state.ring.position()),
                    Phase::Denied => return None,
                    Phase::Loading => {}
                }
            }
            loaded.await;
        }
    }

    /// Ends the wait of subscribers, unless the channel receives messages. Returns whether it did not.
    pub(super) fn deny(&self) -> bool {
        let mut state = self.lock();
        if state.phase == Phase::Live {
            return false;
        }
        state.phase = Phase::Denied;
        drop(state);
        self.loaded.notify_waiters();
        true
    }

    /// Adds a subscriber of the thread of `hub`. Returns the number with which it is removed.
    pub(super) fn join(&self, hub: &Arc<Hub>, registration: Arc<Registration>) -> u64 {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.idle_since = None;
        state.used = Instant::now();
        let known = state.subscribers.iter().find(|(known, _)| Arc::ptr_eq(known, hub));
        let local = known.map_or_else(Arc::default, |(_, local)| Arc::clone(local));
        if known.is_none() {
            state.subscribers.push((Arc::clone(hub), Arc::clone(&local)));
        }
        local.add(id, registration);
        id
    }

    pub(super) fn leave(&self, hub: &Arc<Hub>, id: u64) {
        let mut state = self.lock();
        if let Some((_, local)) = state.subscribers.iter().find(|(known, _)| Arc::ptr_eq(known, hub)) {
            local.remove(id);
        }
        state.subscribers.retain(|(_, local)| local.len() > 0);
        if state.subscribers.is_empty() {
            state.idle_since = Some(Instant::now());
        }
    }

    /// Whether no client has listened for this time.
    pub(super) fn is_idle(&self, time: Duration) -> bool {
        self.lock().idle_since.is_some_and(|since| since.elapsed() >= time)
    }

    /// The number of subscribers at this replica.
    pub(super) fn subscribers(&self) -> usize {
        self.lock().subscribers.iter().map(|(_, local)| local.len()).sum()
    }

    /// Forgets the page of the log that was read, once it serves no subscriber any more.
    pub(super) fn forget_page(&self) {
        if let Ok(mut page) = self.log_reads.try_lock()
            && page.as_ref().is_some_and(|page| page.at.elapsed() >= PAGE_LIFE)
        {
            *page = None;
        }
    }

    /// Wakes every subscriber.
    pub(super) fn wake_all(&self) {
        self.lock().note_news();
    }

    /// When a client last found messages in the ring or joined, unless the ring is empty.
    pub(super) fn ring_used(&self) -> Option<Instant> {
        let state = self.lock();
        (!state.ring.is_empty()).then_some(state.used)
    }

    /// Forgets the messages of the ring. Clients that are behind read the log.
    pub(super) fn empty_ring(&self) {
        self.lock().ring.empty();
    }

    /// The messages behind a position, up to about `budget` bytes.
    pub(super) fn after(&self, position: &Position, budget: usize) -> Found {
        let mut state = self.lock();
        let found = state.ring.after(position, budget);
        if matches!(found, Found::Messages(_)) {
            state.used = Instant::now();
        }
        found
    }

    /// The offset of the oldest message of the ring; one more than the last offset if the ring is empty.
    pub(super) fn first_offset(&self) -> u64 {
        self.lock().ring.first()
    }

    /// The newest message of each key behind a position, in the order of their offsets, and the channel's position.
    pub(super) fn latest_after(&self, position: &Position) -> (Vec<Arc<Delivery>>, Position) {
        self.lock().ring.latest_after(position)
    }

    /// The last offset of the messages that [`Self::latest_after`] lacks, if it lacks any behind this position.
    pub(super) fn forgotten_after(&self, position: &Position) -> Option<u64> {
        self.lock().ring.forgotten_after(position)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_news(&self) {
        for (hub, local) in &self.subscribers {
            hub.note(local);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;
    use crate::config::Config;
    use crate::events::PubSubConfig;

    fn channel(name: &str) -> Arc<Channel> {
        let config = Config::with_overrides("").and_then(|config| config.section::<PubSubConfig>()).expect("valid");
        let name = ChannelName::parse(name).expect("a name");
        let namespace = config.namespaces.into_iter().find(|rule| rule.pattern.matches(&name)).expect("a namespace");
        Arc::new(Channel::new(name, Arc::new(namespace), Arc::default()))
    }

    fn message(epoch: &str, offset: u64) -> Arc<Delivery> {
        let text = format!(
            "{{\"offset\":{offset},\"epoch\":\"{epoch}\",\"timestamp\":1,\"message_type\":\"T\",\"data\":1,\"key\":\"k{}\"}}",
            offset % 2
        );
        Arc::new(Delivery::parse(Bytes::from(text)).expect("a message"))
    }

    fn offsets(found: Found) -> Vec<u64> {
        match found {
            Found::Messages(messages) => messages.iter().map(|message| message.offset).collect(),
            other => panic!("messages, not {other:?}"),
        }
    }

    fn at(epoch: &str, offset: u64) -> Position {
        Position { epoch: epoch.into(), offset }
    }

    #[test]
    fn a_hole_is_read_from_the_log_before_later_messages_are_delivered() {
        let channel = channel("market:events");
        assert!(channel.load("a", 1, vec![message("a", 1)]));
        assert_eq!(channel.accept(message("a", 2)), Accepted::Delivered);
        assert_eq!(channel.accept(message("a", 2)), Accepted::Duplicate);
        assert_eq!(channel.accept(message("a", 5)), Accepted::Hole);
        assert_eq!(channel.accept(message("a", 6)), Accepted::Early);
        assert_eq!(offsets(channel.after(&at("a", 0), usize::MAX)), [1, 2]);
        assert!(channel.load("a", 5, (1..=5).map(|offset| message("a", offset)).collect()));
        assert_eq!(offsets(channel.after(&at("a", 2), usize::MAX)), [3, 4, 5, 6]);
    }

    #[test]
    fn a_new_epoch_and_a_position_before_the_ring_are_noticed() {
        let channel = channel("market:events");
        assert!(channel.load("a", 500, (373..=500).map(|offset| message("a", offset)).collect()));
        assert!(matches!(channel.after(&at("a", 371), usize::MAX), Found::Behind));
        assert_eq!(offsets(channel.after(&at("a", 372), 1)), [373]);
        assert!(matches!(channel.after(&at("a", 500), usize::MAX), Found::UpToDate));
        assert_eq!(channel.accept(message("b", 501)), Accepted::Hole);
        assert!(channel.load("b", 501, vec![message("b", 501)]));
        assert!(matches!(channel.after(&at("a", 500), usize::MAX), Found::NewEpoch(now) if now == at("b", 500)));
    }

    #[test]
    fn of_the_latest_messages_only_the_newest_of_each_key_are_kept() {
        let channel = channel("market:prices");
        assert!(channel.load("a", 3, Vec::new()));
        assert_eq!(channel.accept(message("a", 4)), Accepted::Delivered);
        assert_eq!(channel.accept(message("a", 7)), Accepted::Hole);
        assert!(channel.load("a", 7, vec![message("a", 4), message("a", 7)]));
        assert!(matches!(channel.after(&at("a", 4), usize::MAX), Found::Behind));
        assert_eq!(offsets(channel.after(&at("a", 6), usize::MAX)), [7]);
        assert_eq!(channel.accept(message("a", 8)), Accepted::Delivered);
        let (newest, position) = channel.latest_after(&at("a", 0));
        assert_eq!(newest.iter().map(|message| message.offset).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(position, at("a", 8));
    }
}
