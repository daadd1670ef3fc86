//! How code that finds much work tells the middleware, which then limits how many such requests of a caller run at a time.
//!
//! The size of what a request reads is known only when it has been read, far below the middleware. A worker polls one
//! request at a time on one thread, so a flag of the thread is a flag of the request that is being polled.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

/// How long a computation keeps its thread to itself.
const SLICE: Duration = Duration::from_millis(1);

thread_local! {
    static NOTED: Cell<bool> = const { Cell::new(false) };
    static IDLE: Cell<bool> = const { Cell::new(false) };
}

/// Says that the request that is being polled does much work.
pub fn note() {
    NOTED.set(true);
}

/// Whether much work was noted since the last call.
pub fn take() -> bool {
    NOTED.take()
}

/// Waits for something that may take long and is no work of this request, such as a change that another client makes. The
/// request needs no turn meanwhile, and gets one again before it goes on.
pub async fn idle<T>(wait: impl Future<Output = T>) -> T {
    let mut wait = pin!(wait);
    poll_fn(|cx| {
        let polled = wait.as_mut().poll(cx);
        if polled.is_pending() {
            IDLE.set(true);
        }
        polled
    })
    .await
}

/// Whether the request that was polled since the last call waits in [`idle`].
pub fn take_idle() -> bool {
    IDLE.take()
}

/// The time since which a computation has kept its thread to itself.
#[derive(Debug)]
pub struct Slice(Instant);

impl Slice {
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Lets other requests of the thread run if the computation has kept it for a millisecond.
    pub async fn pause_if_over(&mut self) {
        if self.0.elapsed() >= SLICE {
            tokio::task::yield_now().await;
            *self = Self::begin();
        }
    }
}
