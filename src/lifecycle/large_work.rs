//! How code that finds much work tells the middleware, which then limits how many such requests of a caller run at a time.
//!
//! The size of what a request reads is known only when it has been read, far below the middleware. A worker polls one
//! request at a time on one thread, so a flag of the thread is a flag of the request that is being polled.

use std::cell::Cell;

thread_local! {
    static NOTED: Cell<bool> = const { Cell::new(false) };
}

/// Says that the request that is being polled does much work.
pub fn note() {
    NOTED.set(true);
}

/// Whether much work was noted since the last call.
pub fn take() -> bool {
    NOTED.take()
}
