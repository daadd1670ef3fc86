//! Limits of concurrent work, of which one credential never takes everything.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::auth::Principal;
use super::problem::{OVERLOADED, Problem};
use crate::redis::Outcome;
use crate::redis::durability::Durability;

/// Counters of the credentials. Credentials share one if their hashes meet, which a client cannot arrange: the hash has a
/// random key.
const COUNTERS: usize = 4_096;

/// When a client may try again that finds the slots of a kind of streams taken: streams are held for long.
const RETRY_STREAM: Duration = Duration::from_secs(10);

/// A number of slots: requests, streams or bytes. One credential holds at most half of them, rounded up. Without authentication all callers are one,
/// and may hold all.
#[derive(Clone, Debug)]
pub struct Slots(Arc<State>);

#[derive(Debug)]
struct State {
    limit: usize,
    taken: AtomicUsize,
    by_caller: Box<[AtomicUsize]>,
    hasher: RandomState,
}

impl State {
    /// Adds to a counter, unless it would exceed `limit`.
    fn add(counter: &AtomicUsize, count: usize, limit: usize) -> bool {
        let is_within = counter.fetch_add(count, Ordering::Relaxed).saturating_add(count) <= limit;
        if !is_within {
            counter.fetch_sub(count, Ordering::Relaxed);
        }
        is_within
    }
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// All are taken.
    Full,
    /// The credential holds its share, which is this many.
    ShareTaken(usize),
}

impl Slots {
    pub fn new(limit: usize) -> Self {
        let by_caller = std::iter::repeat_with(AtomicUsize::default).take(COUNTERS).collect();
        Self(Arc::new(State { limit, taken: AtomicUsize::new(0), by_caller, hasher: RandomState::new() }))
    }

    /// Takes a slot; it is free again when it is dropped.
    ///
    /// # Errors
    /// [`NoSlot::Full`].
    pub fn take(&self) -> Result<Slot, NoSlot> {
        self.take_many(1)
    }

    /// Takes this many slots; they are free again when they are dropped.
    ///
    /// # Errors
    /// [`NoSlot::Full`].
    pub fn take_many(&self, count: usize) -> Result<Slot, NoSlot> {
        if !State::add(&self.0.taken, count, self.0.limit) {
            return Err(NoSlot::Full);
        }
        Ok(Slot { slots: self.clone(), caller: None, count })
    }

    /// Takes a slot for a caller.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn take_for(&self, caller: &Principal) -> Result<Slot, NoSlot> {
        self.take().and_then(|mut slot| slot.assign(caller).map(|()| slot))
    }

    /// Takes the slot of an open stream for a caller.
    ///
    /// # Errors
    /// `overloaded` (503).
    pub fn take_stream(&self, caller: &Principal) -> Result<Slot, Problem> {
        self.take_for(caller).map_err(|reason| {
            let detail = match reason {
                NoSlot::Full => "this replica has as many of these streams as it may have".to_owned(),
                NoSlot::ShareTaken(share) => {
                    format!("this credential has {share} of these streams, half of a replica's")
                }
            };
            Problem::new(&OVERLOADED).detail(detail).outcome(Outcome::NotApplied).retry_after(RETRY_STREAM)
        })
    }

    fn caller(&self, at: usize) -> Option<&AtomicUsize> {
        self.0.by_caller.get(at % COUNTERS)
    }
}

/// One or several slots that are in use.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    /// The counter of the credential that holds the slots.
    caller: Option<usize>,
    count: usize,
}

impl Slot {
    /// Counts the slots as this caller's.
    ///
    /// # Errors
    /// [`NoSlot::ShareTaken`].
    pub fn assign(&mut self, caller: &Principal) -> Result<(), NoSlot> {
        if caller.is_anonymous() {
            return Ok(());
        }
        let share = self.slots.0.limit.div_ceil(2);
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash select a counter")]
        let at = self.slots.0.hasher.hash_one(&caller.id) as usize;
        let Some(counter) = self.slots.caller(at) else { return Ok(()) };
        if !State::add(counter, self.count, share) {
            return Err(NoSlot::ShareTaken(share));
        }
        self.caller = Some(at);
        Ok(())
    }

    /// Identifies the credential that holds the slot; `None` if callers are not told apart.
    pub fn credential(&self) -> Option<usize> {
        self.caller
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.0.taken.fetch_sub(self.count, Ordering::Relaxed);
        if let Some(counter) = self.caller.and_then(|at| self.slots.caller(at)) {
            counter.fetch_sub(self.count, Ordering::Relaxed);
        }
    }
}

/// What an admitted request holds until it is answered.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// The caller of a guarded route.
    pub caller: Option<Arc<Principal>>,
    /// Its place among the requests in flight.
    pub slot: Option<Slot>,
    /// The memory of its body.
    pub _memory: Option<Slot>,
    /// What it demands of its writes.
    pub durability: Durability,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::auth::Scopes;

    #[test]
    fn one_credential_holds_at_most_half_of_the_slots() {
        let slots = Slots::new(5);
        let caller = |id: &str| Principal::new(id, None, Scopes::default());
        let take = |caller: &Principal| slots.take_for(caller).map_err(|reason| format!("{reason:?}"));
        let (a, b) = (caller("key:a"), caller("key:b"));
        let held: Vec<Slot> = (0..3).map(|_| take(&a).expect("a slot")).collect();
        assert_eq!(take(&a).expect_err("its share is taken"), "ShareTaken(3)");
        let others: Vec<Slot> = (0..2).map(|_| take(&b).expect("a slot")).collect();
        assert_eq!(take(&b).expect_err("no slot is left"), "Full");
        drop(held);
        let again: Vec<Slot> = (0..3).map(|_| take(&a).expect("a slot")).collect();
        drop((others, again));
        let everybody: Vec<Slot> = (0..5).map(|_| take(&Principal::anonymous()).expect("a slot")).collect();
        assert_eq!(everybody.len(), 5);
    }

    #[test]
    fn several_slots_are_taken_and_freed_together() {
        let slots = Slots::new(10);
        let caller = Principal::new("key:a", None, Scopes::default());
        let mut many = slots.take_many(5).expect("slots");
        many.assign(&caller).expect("its share");
        assert_eq!(slots.take_many(6).expect_err("five are left"), NoSlot::Full);
        let mut one = slots.take().expect("a slot");
        assert_eq!(one.assign(&caller).expect_err("its share is taken"), NoSlot::ShareTaken(5));
        drop(many);
        one.assign(&caller).expect("its share is free again");
    }
}
