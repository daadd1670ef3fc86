//! Operations that take much memory or time: a few of each credential run at a time, and its further ones wait.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::auth::Principal;
use super::problem::{OVERLOADED, Problem};
use crate::lifecycle::deadline::until;
use crate::redis::Outcome;

/// How many such requests of one credential run at a time: enough to hide the latency of Redis, and few enough that their
/// results fit into memory and other requests find a free moment on the worker.
const AT_A_TIME: usize = 4;

/// Credentials share turns if their hashes meet, which a client cannot arrange: the hash has a random key.
const COUNTERS: usize = 1_024;

/// The turns of all credentials. Without authentication all callers are one.
#[derive(Debug)]
pub struct Turns {
    by_caller: Box<[Semaphore]>,
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        let by_caller = std::iter::repeat_with(|| Semaphore::new(AT_A_TIME)).take(COUNTERS).collect();
        Self { by_caller, hasher: RandomState::new() }
    }
}

impl Turns {
    /// Waits for the caller's turn, which lasts until the permit is dropped.
    pub async fn wait(&self, caller: &Principal) -> Option<SemaphorePermit<'_>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash select a counter")]
        let at = self.hasher.hash_one(&caller.id) as usize % COUNTERS;
        self.by_caller.get(at)?.acquire().await.ok()
    }
}

/// Calls `next` in the caller's turn. If the turn has not come by `patience`, the response is `overloaded` (503).
pub async fn in_turn(
    turns: Arc<Turns>,
    caller: Arc<Principal>,
    patience: Instant,
    next: impl FnOnce() -> BoxFuture<'static, Response>,
) -> Response {
    let Some(_turn) = until(patience, turns.wait(&caller)).await else {
        let detail =
            format!("this credential has {AT_A_TIME} large requests running, and further ones waited too long");
        let problem = Problem::new(&OVERLOADED).detail(detail).outcome(Outcome::NotApplied);
        return problem.retry_after(Duration::from_secs(1)).into_response();
    };
    next().await
}
