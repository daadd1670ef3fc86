//! Keys of which nothing is left: refused from memory until something comes back.
//!
//! While nothing is left of a limit, nobody can take anything, so nothing about it changes until more comes back by
//! itself: an answer of Redis holds until then. Only an admin can change that. What admins do leaves a mark in Redis,
//! and whoever sees a new one forgets all that he knows (`watch.rs`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::asking::Ask;
use super::decision::Decision;
use super::rule::Standing;
use super::slots::{Entry, Slots};
use crate::clock::Clock;

#[derive(Debug)]
pub(super) struct Blocked {
    keys: Slots<Refusal>,
    /// Refusals that came in: a service that refuses nobody need not look.
    learnt: AtomicU64,
    /// How often all was forgotten.
    generation: AtomicU64,
    longest: Duration,
    clock: Clock,
}

/// When Redis was asked, and what was known then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    at: Duration,
    generation: u64,
}

/// A refusal, on this process's clock.
#[derive(Clone, Copy, Debug, Default)]
struct Refusal {
    cost: u64,
    /// When the whole limit is there again, when more than nothing is, and when the cost fits in.
    reset: Duration,
    more: Duration,
    retry: Duration,
}

impl Blocked {
    /// Remembers about `capacity` keys, none for longer than `longest`.
    pub(super) fn new(capacity: usize, longest: Duration, clock: &Clock) -> Self {
        Self {
            keys: Slots::new(capacity),
            learnt: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            longest,
            clock: clock.clone(),
        }
    }

    /// The refusal of a call, if it is known.
    pub(super) fn recall(&self, ask: &Ask) -> Option<Decision> {
        if self.learnt.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = self.clock.elapsed();
        let refusal = self.keys.get(&ask.name(), now)?.value;
        // How long another cost has to wait is Redis's to say.
        (refusal.cost == ask.cost).then(|| {
            let until = |at: Duration| microseconds(at.saturating_sub(now));
            let standing = Standing {
                fits: false,
                is_new: false,
                remaining: 0,
                reset: until(refusal.reset),
                more: until(refusal.more),
                retry: until(refusal.retry),
            };
            Decision::new(&ask.limiter, standing)
        })
    }

    /// To be called before Redis is asked.
    pub(super) fn asking(&self) -> Asked {
        Asked { at: self.clock.elapsed(), generation: self.generation.load(Ordering::SeqCst) }
    }

    /// Keeps a refusal of Redis's, if nothing is left.
    ///
    /// The decision fell between the question and now: it is kept for less than its time from the question on, and tells
    /// times from now on, so that nobody is refused too long or sent back too early.
    pub(super) fn learn(&self, ask: &Ask, asked: Asked, decision: &Decision) {
        if decision.allowed || decision.remaining > 0 {
            return;
        }
        let now = self.clock.elapsed();
        let after = |ms: u64| now + Duration::from_millis(ms);
        let value = Refusal {
            cost: ask.cost,
            reset: after(decision.reset_ms),
            more: after(decision.more_ms),
            retry: after(decision.retry_after_ms.unwrap_or(decision.more_ms)),
        };
        // Milliseconds were rounded up.
        let certain = Duration::from_millis(decision.more_ms.saturating_sub(1));
        let ends = asked.at + certain.min(self.longest);
        self.keys.change(&ask.name(), now, |entry| {
            // Within the entry's lock, which `clear` takes after it has raised the generation.
            if self.generation.load(Ordering::SeqCst) == asked.generation {
                *entry = Some(Entry { value, ends });
                self.learnt.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Forgets everything: an admin changed something.
    pub(super) fn clear(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.learnt.swap(0, Ordering::Relaxed) > 0 {
            self.keys.clear();
        }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
