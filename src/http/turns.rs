//! Operations that take much memory or time: a few of each credential run at a time, and its further ones wait.

use std::future::poll_fn;
use std::hash::{BuildHasher, Hash, RandomState};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::auth::Principal;
use super::paced_body::AwaitsBody;
use super::problem::{OVERLOADED, Problem};
use super::route_table::OperationId;
use crate::lifecycle::deadline::until;
use crate::lifecycle::large_work;
use crate::redis::Outcome;

/// The fewest and the most such requests of one credential that run at a time: enough to hide the latency of Redis, and few
/// enough that their results fit into memory and other requests find a free moment on the worker. More than the machine has
/// cores would take more memory and no less time.
const AT_A_TIME: RangeInclusive<usize> = 2..=4;

/// An operation that did much work for a caller is expected to do so again for this long.
const LARGE: Duration = Duration::from_secs(60);
/// An operation that a caller has not used yet may do much work for this long.
const UNKNOWN: Duration = Duration::from_secs(1);

/// Credentials share turns if their hashes meet, which a client cannot arrange: the hash has a random key.
const COUNTERS: usize = 1_024;

/// The turns of all credentials. Without authentication all callers are one.
#[derive(Debug)]
pub struct Turns {
    /// How many requests of a caller have their turn at a time.
    at_a_time: usize,
    by_caller: Box<[Semaphore]>,
    /// Until when the requests of a caller for an operation wait for their turn, milliseconds since `created`; 0 if it has
    /// not used the operation.
    until: Box<[AtomicU64]>,
    created: Instant,
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let at_a_time = cores.clamp(*AT_A_TIME.start(), *AT_A_TIME.end());
        let by_caller = std::iter::repeat_with(|| Semaphore::new(at_a_time)).take(COUNTERS).collect();
        let until = std::iter::repeat_with(AtomicU64::default).take(COUNTERS).collect();
        Self { at_a_time, by_caller, until, created: Instant::now(), hasher: RandomState::new() }
    }
}

impl Turns {
    /// Waits for the caller's turn, which lasts until the permit is dropped.
    pub async fn wait(&self, caller: &Principal) -> Option<SemaphorePermit<'_>> {
        self.by_caller.get(self.index(&caller.id))?.acquire().await.ok()
    }

    /// Whether an operation whose requests are usually small is expected to do much work for this caller. While it is
    /// unknown, a request waits only if it `may_wait`.
    pub fn are_needed(&self, caller: &Principal, operation: OperationId, may_wait: bool, now: Instant) -> bool {
        let Some(until) = self.until(caller, operation) else { return false };
        match until.load(Ordering::Relaxed) {
            0 if !may_wait => false,
            0 => {
                until.store(self.millis(now + UNKNOWN), Ordering::Relaxed);
                true
            }
            until => self.millis(now) < until,
        }
    }

    /// Expects that the operation does much work for this caller, because it just did.
    pub fn expect_large(&self, caller: &Principal, operation: OperationId, now: Instant) {
        if let Some(until) = self.until(caller, operation) {
            until.store(self.millis(now + LARGE), Ordering::Relaxed);
        }
    }

    fn until(&self, caller: &Principal, operation: OperationId) -> Option<&AtomicU64> {
        self.until.get(self.index((&caller.id, operation)))
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.created).as_millis()).unwrap_or(u64::MAX)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash select a counter")]
    fn index(&self, of: impl Hash) -> usize {
        self.hasher.hash_one(of) as usize % COUNTERS
    }
}

/// Calls `next` in the caller's turn. If the turn has not come by `patience`, the response is `overloaded` (503).
///
/// While the request waits for its body or for a change, it leaves the turn to others and does not run.
pub async fn in_turn(
    turns: Arc<Turns>,
    caller: Arc<Principal>,
    patience: Instant,
    awaits_body: Option<AwaitsBody>,
    next: impl FnOnce() -> BoxFuture<'static, Response>,
) -> Response {
    let Some(mut turn) = until(patience, turns.wait(&caller)).await else {
        let running = turns.at_a_time;
        let detail = format!("this credential has {running} large requests running, and further ones waited too long");
        let problem = Problem::new(&OVERLOADED).detail(detail).outcome(Outcome::NotApplied);
        return problem.retry_after(Duration::from_secs(1)).into_response();
    };
    let mut request = next();
    loop {
        let working = poll_fn(|cx| {
            large_work::take_idle();
            match request.poll_unpin(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending if is_idle(awaits_body.as_ref()) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(response) = working.await {
            return response;
        }
        drop(turn);
        // What the request waits for wakes this task.
        let mut is_woken = false;
        poll_fn(|_| if std::mem::replace(&mut is_woken, true) { Poll::Ready(()) } else { Poll::Pending }).await;
        turn = turns.wait(&caller).await;
    }
}

fn is_idle(awaits_body: Option<&AwaitsBody>) -> bool {
    large_work::take_idle() || awaits_body.is_some_and(AwaitsBody::is_waiting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::auth::Scopes;

    #[test]
    fn an_operation_takes_turns_while_it_is_unknown_and_after_much_work() {
        let turns = Turns::default();
        let (caller, other) =
            (Principal::new("a", None, Scopes::default()), Principal::new("b", None, Scopes::default()));
        let start = Instant::now();
        let is_needed =
            |caller, operation, after| turns.are_needed(caller, OperationId(operation), true, start + after);
        assert!(is_needed(&caller, 1, Duration::ZERO), "the operation is unknown");
        assert!(is_needed(&caller, 1, UNKNOWN / 2));
        assert!(!is_needed(&caller, 1, UNKNOWN));
        turns.expect_large(&caller, OperationId(1), start + UNKNOWN);
        assert!(is_needed(&caller, 1, LARGE));
        assert!(!is_needed(&caller, 1, UNKNOWN + LARGE));
        for (caller, operation) in [(&caller, 2), (&other, 1)] {
            assert!(is_needed(caller, operation, LARGE), "unknown");
            assert!(!is_needed(caller, operation, LARGE + UNKNOWN), "only one operation of one caller did much work");
        }
    }
}
