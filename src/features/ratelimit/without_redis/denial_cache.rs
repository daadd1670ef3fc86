//! The denial cache: keys whose limit is used up are refused from memory until something becomes available again.
//!
//! While nothing is left of a limit, no call can take anything, so the state changes only with time: Redis's decision
//! stays valid until then. Only administrators can change the state earlier. They also change a version in Redis, and a
//! replica that sees a new version clears its cache (`redis_probe.rs`). A denial counts only for the rule that refused, and
//! a reload of the limiters clears the cache as well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::check::{Decision, ResolvedCheck, microseconds};
use super::super::strategy::rule::KeyUsage;
use super::expiring_table::{Entry, ExpiringTable};
use crate::clock::Clock;

/// Keys in the cache, at 80 bytes each: at most 8 MB. A used-up key that does not fit costs a call to Redis, as without a cache.
const CAPACITY: usize = 100_000;
/// The longest time for which a denial is kept, in case a key is deleted in Redis by hand.
const MAX_AGE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(in super::super) struct DenialCache {
    keys: ExpiringTable<Denial>,
    /// Denials that were inserted. A service that refuses no call skips the lookup.
    inserted: AtomicU64,
    generation: AtomicU64,
    clock: Clock,
}

/// A refused cost. Times are on the process clock.
#[derive(Clone, Copy, Debug, Default)]
struct Denial {
    cost: u64,
    /// When the whole limit is available again.
    reset: Duration,
    /// When more than nothing is available.
    more: Duration,
    /// When the cost fits.
    retry: Duration,
}

impl DenialCache {
    pub(in super::super) fn new(clock: &Clock) -> Self {
        Self {
            keys: ExpiringTable::new(CAPACITY),
            inserted: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            clock: clock.clone(),
        }
    }

    /// The refusal of a check, if it is known.
    pub(in super::super) fn find(&self, check: &ResolvedCheck) -> Option<Decision> {
        if self.inserted.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = self.clock.elapsed();
        let denial = self.keys.get(&check.rule_id(), now)?.value;
        // Only Redis knows how long a different cost has to wait.
        (denial.cost == check.cost).then(|| {
            let until = |at: Duration| microseconds(at.saturating_sub(now));
            let usage = KeyUsage {
                reset: until(denial.reset),
                more: until(denial.more),
                retry: until(denial.retry),
                ..KeyUsage::default()
            };
            Decision::new(&check.limiter, usage)
        })
    }

    /// How often the cache was cleared. Must be read before Redis is called.
    pub(in super::super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Stores a decision of Redis if it is a refusal and nothing is left. `started` and `generation` were read before Redis
    /// was called.
    ///
    /// Redis decided between `started` and now. The denial is kept for its time counted from `started`, and its times are
    /// reported counted from now, so that no call is refused too long or told to retry too early.
    pub(in super::super) fn insert(
        &self,
        check: &ResolvedCheck,
        started: Duration,
        generation: u64,
        decision: &Decision,
    ) {
        if decision.allowed || decision.remaining > 0 {
            return;
        }
        let now = self.clock.elapsed();
        let after = |ms: u64| now + Duration::from_millis(ms);
        let value = Denial {
            cost: check.cost,
            reset: after(decision.reset_ms),
            more: after(decision.more_ms),
            retry: after(decision.retry_after_ms.unwrap_or(decision.more_ms)),
        };
        // The decision's milliseconds are rounded up.
        let certain = Duration::from_millis(decision.more_ms.saturating_sub(1));
        let ends = started + certain.min(MAX_AGE);
        self.keys.update(&check.rule_id(), now, |entry| {
            // Under the entry's lock, which `clear` takes after it has increased the generation.
            if self.generation() == generation {
                *entry = Some(Entry { value, ends });
                self.inserted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Forgets all denials, because an administrator or a reload changed something.
    pub(in super::super) fn clear(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.inserted.swap(0, Ordering::Relaxed) > 0 {
            self.keys.clear();
        }
    }
}
