//! The clients that wait for locks at this replica, and when each of them should ask Redis again.
//!
//! The queue itself is in Redis. A waiter asks when a message announces its turn. In addition, the first local waiter
//! of each lock asks without a message: when the lease may have ended, and at least every `locks.recheck`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::Notify;

use super::scripts::TURN;
use crate::http::auth::Principal;
use crate::http::slots::{Slot, Slots};
use crate::random::hex;
use crate::redis::News;

/// Redis ends leases and turns on whole milliseconds, so a request in the same millisecond would be too early.
const MARGIN: Duration = Duration::from_millis(1);

/// All waiters of this replica.
#[derive(Debug)]
pub(super) struct LocalWaiters {
    queues: Mutex<LocalQueues>,
    /// The places of waiters.
    places: Slots,
    /// The most waiters of one credential for one lock: half of its queue.
    share: usize,
    /// The longest time in which no waiter of a lock asks Redis, in case a message was lost, another program released the
    /// lock or its key was deleted by hand.
    recheck: Duration,
    waiting: IntGauge,
}

#[derive(Debug, Default)]
struct LocalQueues {
    /// By the name of the lease's key.
    by_lease: HashMap<String, LocalQueue>,
    joined: u64,
}

impl LocalQueues {
    fn waiters_of(&self, credential: Option<usize>, lease: &str) -> usize {
        let waiting = self.by_lease.get(lease).into_iter().flat_map(|queue| queue.waiting.values());
        waiting.filter(|signal| signal.credential == credential).count()
    }
}

/// The local waiters of one lock, in the order in which they joined.
#[derive(Debug)]
struct LocalQueue {
    waiting: BTreeMap<u64, Arc<Signal>>,
    /// When the first of them asks without a message.
    next_check: Instant,
}

impl LocalQueue {
    fn wake_first(&self) {
        if let Some(first) = self.waiting.values().next() {
            first.wake.notify_one();
        }
    }
}

#[derive(Debug)]
struct Signal {
    /// The name in the waiter's ticket.
    name: String,
    /// The waiter's credential; `None` if callers are not told apart.
    credential: Option<usize>,
    /// Whether the waiter should ask now.
    is_due: AtomicBool,
    wake: Notify,
}

impl Signal {
    fn fire(&self) {
        self.is_due.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }
}

impl LocalWaiters {
    /// Waiters of at most `limit` clients, in queues of `queue_limit`.
    pub(super) fn new(limit: usize, queue_limit: usize, recheck: Duration, waiting: IntGauge) -> Arc<Self> {
        let (places, share) = (Slots::new(limit), queue_limit.div_ceil(2));
        Arc::new(Self { queues: Mutex::default(), places, share, recheck, waiting })
    }

    /// Joins the local queue of a lease; `name` is part of the waiter's ticket. `None` if this replica has too many
    /// waiters, or the caller half of what it or the queue may have.
    ///
    /// Join before the first request to Redis, so that no message is missed.
    pub(super) fn join(self: &Arc<Self>, caller: &Principal, lease: &str, name: &str) -> Option<Waiter> {
        let place = self.places.take_for(caller).ok()?;
        let credential = place.credential();
        let mut queues = self.lock();
        if credential.is_some() && queues.waiters_of(credential, lease) >= self.share {
            return None;
        }
        queues.joined += 1;
        let position = queues.joined;
        let (name, is_due) = (name.to_owned(), AtomicBool::new(false));
        let signal = Arc::new(Signal { name, credential, is_due, wake: Notify::new() });
        let queue = queues
            .by_lease
            .entry(lease.to_owned())
            .or_insert_with(|| LocalQueue { waiting: BTreeMap::new(), next_check: Instant::now() + self.recheck });
        queue.waiting.insert(position, Arc::clone(&signal));
        self.waiting.inc();
        Some(Waiter { waiters: Arc::clone(self), lease: lease.to_owned(), position, signal, _place: place })
    }

    /// Handles a message of the wake channel.
    pub(super) fn receive(&self, news: &News<'_>) {
        match news {
            News::Lost | News::Denied(_) | News::Probed => {}
            News::Subscribed(_) => self.wake_all(),
            News::Message { payload, .. } => {
                let text = String::from_utf8_lossy(payload);
                let mut words = text.splitn(3, ' ');
                match (words.next(), words.next(), words.next()) {
                    (Some("turn"), Some(ticket), Some(lease)) => self.start_turn(ticket, lease),
                    (Some("held"), Some(ttl), Some(lease)) => {
                        if let Ok(ms) = ttl.parse() {
                            self.postpone_check(lease, Duration::from_millis(ms));
                        }
                    }
                    _ => tracing::debug!(%text, "unknown message on the wake channel"),
                }
            }
        }
    }

    /// Wakes the waiter whose turn it is. If it waits at another replica, local waiters leave it the time to claim.
    fn start_turn(&self, ticket: &str, lease: &str) {
        let name = ticket.split_once(':').map_or(ticket, |(_, name)| name);
        let own =
            self.lock().by_lease.get(lease).and_then(|queue| queue.waiting.values().find(|s| s.name == name).cloned());
        match own {
            Some(signal) => signal.fire(),
            None => self.postpone_check(lease, TURN),
        }
    }

    /// The lease is taken for `time`, so no waiter needs to ask before.
    fn postpone_check(&self, lease: &str, time: Duration) {
        if let Some(queue) = self.lock().by_lease.get_mut(lease) {
            queue.next_check = Instant::now() + time.min(self.recheck) + MARGIN;
            queue.wake_first();
        }
    }

    /// Wakes all waiters after a new subscription: messages may have been missed, and a Redis that restarted may have
    /// forgotten the queue. Asking restores the queue entries of those that have to wait on.
    fn wake_all(&self) {
        for signal in self.lock().by_lease.values().flat_map(|queue| queue.waiting.values()) {
            signal.fire();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LocalQueues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One waiting client; leaves the local queue when dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    waiters: Arc<LocalWaiters>,
    lease: String,
    position: u64,
    signal: Arc<Signal>,
    _place: Slot,
}

impl Waiter {
    /// Resolves when the waiter should ask Redis again.
    pub(super) async fn woken(&self) {
        loop {
            let notified = self.signal.wake.notified();
            if self.signal.is_due.swap(false, Ordering::SeqCst) {
                return;
            }
            match self.next_check() {
                Some(at) if at <= Instant::now() => return,
                Some(at) => {
                    tokio::select! {
                        () = notified => {}
                        () = tokio::time::sleep_until(at.into()) => {}
                    }
                }
                None => notified.await,
            }
        }
    }

    /// Notes Redis's answer: how long the lease, or the turn of the first waiter, lasts. `None` never ends.
    pub(super) fn note_remaining(&self, remaining: Option<Duration>) {
        self.waiters.postpone_check(&self.lease, remaining.unwrap_or(Duration::MAX));
    }

    /// When to ask without a message. Only the first waiter of a lock does.
    fn next_check(&self) -> Option<Instant> {
        let queues = self.waiters.lock();
        let queue = queues.by_lease.get(&self.lease)?;
        let (first, _) = queue.waiting.first_key_value()?;
        (*first == self.position).then_some(queue.next_check)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut queues = self.waiters.lock();
        self.waiters.waiting.dec();
        let Some(queue) = queues.by_lease.get_mut(&self.lease) else { return };
        queue.waiting.remove(&self.position);
        if queue.waiting.is_empty() {
            queues.by_lease.remove(&self.lease);
        } else {
            // The waiter that is first now has to set its timer.
            queue.wake_first();
        }
    }
}

/// A random name for a ticket, by which a replica recognises its own waiters.
///
/// # Errors
/// If the operating system has no randomness.
pub(super) fn ticket_name() -> Result<String, getrandom::Error> {
    let mut random = [0; 12];
    getrandom::fill(&mut random)?;
    Ok(hex(&random))
}
