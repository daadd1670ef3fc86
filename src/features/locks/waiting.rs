//! Who waits at this replica, and when each of them has reason to ask Redis again.
//!
//! The queue itself is in Redis; here is only what wakes its local part. A waiter asks when a message says that it is
//! its turn. Beside that, only the first local waiter of a lock asks by itself: when the lease can have ended, and every
//! `locks.recheck` at least, in case a message was lost or the key was deleted by hand.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::Notify;

use crate::http::auth::api_key::hex;
use crate::redis::News;

/// The waiting callers of this replica.
#[derive(Clone, Debug)]
pub(super) struct Waiters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: Mutex<Lines>,
    limit: usize,
    /// The longest that nobody of a line asks.
    recheck: Duration,
    /// How long another replica's waiter has its turn to itself.
    turn: Duration,
    count: IntGauge,
}

#[derive(Debug, Default)]
struct Lines {
    /// By the name of the lease's key.
    by_lease: HashMap<String, Line>,
    count: usize,
    joined: u64,
}

/// One lock's waiters here, in the order in which they came.
#[derive(Debug)]
struct Line {
    waiting: BTreeMap<u64, Arc<Signal>>,
    /// When the first of them asks by itself.
    next_look: Instant,
}

#[derive(Debug)]
struct Signal {
    /// The name in its ticket.
    name: String,
    is_called: AtomicBool,
    wake: Notify,
}

impl Signal {
    /// Lets its waiter ask.
    fn call(&self) {
        self.is_called.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }
}

impl Waiters {
    pub(super) fn new(limit: usize, recheck: Duration, turn: Duration, count: IntGauge) -> Self {
        Self(Arc::new(Shared { lines: Mutex::default(), limit, recheck, turn, count }))
    }

    /// Joins the line of a lease under a name that the ticket carries; `None` when this replica has too many waiters.
    ///
    /// Joined before Redis is asked, so that no message about it is missed.
    pub(super) fn join(&self, lease: &str, name: &str) -> Option<Waiter> {
        let mut lines = self.lines();
        if lines.count >= self.0.limit {
            return None;
        }
        lines.count += 1;
        lines.joined += 1;
        let place = lines.joined;
        let signal = Arc::new(Signal { name: name.to_owned(), is_called: AtomicBool::new(false), wake: Notify::new() });
        let line = lines
            .by_lease
            .entry(lease.to_owned())
            .or_insert_with(|| Line { waiting: BTreeMap::new(), next_look: Instant::now() + self.0.recheck });
        line.waiting.insert(place, Arc::clone(&signal));
        self.0.count.inc();
        Some(Waiter { waiters: self.clone(), lease: lease.to_owned(), place, signal })
    }

    /// Takes in what the wake channel brings.
    pub(super) fn hear(&self, news: &News) {
        match news {
            News::Subscribed => self.look_everywhere(),
            News::Message(text) => {
                let mut words = text.splitn(3, ' ');
                match (words.next(), words.next(), words.next()) {
                    (Some("turn"), Some(ticket), Some(lease)) => self.turn(ticket, lease),
                    (Some("held"), Some(ttl), Some(lease)) => {
                        if let Ok(ms) = ttl.parse() {
                            self.put_off(lease, Duration::from_millis(ms));
                        }
                    }
                    _ => tracing::debug!(text, "a message that locks do not know"),
                }
            }
        }
    }

    /// Somebody's turn has come: ours asks at once, anybody else's gets its time.
    fn turn(&self, ticket: &str, lease: &str) {
        let name = ticket.split_once(':').map_or(ticket, |(_, name)| name);
        let own =
            self.lines().by_lease.get(lease).and_then(|line| line.waiting.values().find(|s| s.name == name).cloned());
        match own {
            Some(signal) => {
                signal.call();
            }
            None => self.put_off(lease, self.0.turn),
        }
    }

    /// The lease is taken for so long; nobody needs to ask before.
    fn put_off(&self, lease: &str, time: Duration) {
        if let Some(line) = self.lines().by_lease.get_mut(lease) {
            line.next_look = Instant::now() + time.min(self.0.recheck) + MARGIN;
            line.wake_first();
        }
    }

    /// Messages may have been missed, and a Redis that came back may have forgotten the queue: everybody asks, which
    /// puts those who still have to wait back into their places.
    fn look_everywhere(&self) {
        for signal in self.lines().by_lease.values().flat_map(|line| line.waiting.values()) {
            signal.call();
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Redis ends leases and turns on whole milliseconds: asking in the same one would be too early.
const MARGIN: Duration = Duration::from_millis(1);

impl Line {
    fn wake_first(&self) {
        if let Some(first) = self.waiting.values().next() {
            first.wake.notify_one();
        }
    }
}

/// One waiting caller; leaves the line when dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    waiters: Waiters,
    lease: String,
    place: u64,
    signal: Arc<Signal>,
}

impl Waiter {
    /// Resolves when there is reason to ask Redis again.
    pub(super) async fn called(&self) {
        loop {
            let woken = self.signal.wake.notified();
            if self.signal.is_called.swap(false, Ordering::SeqCst) {
                return;
            }
            match self.alarm() {
                Some(at) if at <= Instant::now() => return,
                Some(at) => {
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(at.into()) => {}
                    }
                }
                None => woken.await,
            }
        }
    }

    /// What Redis said: the lease, or the turn of who is in front, lasts this long; `None` is without an end.
    pub(super) fn asked(&self, remaining: Option<Duration>) {
        self.waiters.put_off(&self.lease, remaining.unwrap_or(Duration::MAX));
    }

    /// When to ask unbidden: only the first of a line does.
    fn alarm(&self) -> Option<Instant> {
        let lines = self.waiters.lines();
        let line = lines.by_lease.get(&self.lease)?;
        let (first, _) = line.waiting.first_key_value()?;
        (*first == self.place).then_some(line.next_look)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut lines = self.waiters.lines();
        lines.count -= 1;
        self.waiters.0.count.dec();
        let Some(line) = lines.by_lease.get_mut(&self.lease) else { return };
        line.waiting.remove(&self.place);
        if line.waiting.is_empty() {
            lines.by_lease.remove(&self.lease);
        } else {
            // Who is first now has an alarm to set.
            line.wake_first();
        }
    }
}

/// The name of a ticket, by which its replica knows whose turn it is.
///
/// # Errors
/// When the system has no randomness.
pub(super) fn ticket_name() -> Result<String, getrandom::Error> {
    let mut random = [0; 12];
    getrandom::fill(&mut random)?;
    Ok(hex(&random))
}
