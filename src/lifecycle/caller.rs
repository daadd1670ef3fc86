//! Which credential the work that is done now belongs to.
//!
//! The middleware knows the credential, and limits far below it need it. A worker polls one request at a time on one
//! thread, so a cell of the thread belongs to the request that is being polled.

use std::cell::Cell;

thread_local! {
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Makes one poll of a request of this credential; `None` is a request without one.
pub fn during<T>(credential: Option<usize>, poll: impl FnOnce() -> T) -> T {
    let outer = CURRENT.replace(credential);
    let result = poll();
    CURRENT.set(outer);
    result
}

/// The credential of the request that is being polled; `None` outside of requests and without authentication.
pub(super) fn current() -> Option<usize> {
    CURRENT.get()
}
