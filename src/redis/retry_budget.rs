//! Limits retries to a tenth of the exchanges, so that an outage is not answered with more load.
//!
//! Whatever is sent again counts, also what a node of a cluster has redirected: a node that sends clients to one that is away
//! would otherwise double the load. A call that is repeated with the text of its script does not count, which happens once
//! after a server has lost its scripts.

use std::sync::atomic::{AtomicU32, Ordering};

/// So many exchanges pay for one retry.
const EXCHANGES: u32 = 10;
/// The retries that exchanges can save up, and the budget at the start. It hides the errors of a short disturbance from callers
/// of a quiet service, and is small beside a tenth of the exchanges of a busy one.
const RESERVE: u32 = 10;

/// The budget of one lane, in exchanges.
#[derive(Debug)]
pub(super) struct RetryBudget(AtomicU32);

impl RetryBudget {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(RESERVE * EXCHANGES))
    }

    /// Counts an exchange that is sent, once however often it is tried again.
    pub(super) fn earn(&self) {
        let saved = self.0.load(Ordering::Relaxed);
        // One thread uses a lane. A retry that is paid for at the same time elsewhere costs nothing at worst.
        if saved < RESERVE * EXCHANGES {
            self.0.store(saved + 1, Ordering::Relaxed);
        }
    }

    /// Pays for a retry; returns whether that was possible.
    pub(super) fn pay(&self) -> bool {
        let pay = |saved: u32| saved.checked_sub(EXCHANGES);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_tenth_of_the_exchanges_beyond_the_reserve() {
        let budget = RetryBudget::new();
        assert_eq!((0..1_000).filter(|_| budget.pay()).count(), 10, "the reserve");
        let retries = |exchanges: u32| {
            let tried = (0..exchanges).filter(|_| {
                budget.earn();
                budget.pay()
            });
            tried.count()
        };
        assert_eq!(retries(1_000), 100);
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!((0..1_000).filter(|_| budget.pay()).count(), 10, "more is not saved");
    }
}
