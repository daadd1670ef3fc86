//! hyper's header timeout at little cost per request.
//!
//! hyper makes a timer for the head of every request and drops it when the head has arrived, which is almost always
//! immediately. The timers of a connection therefore share one timer of the runtime: it stays set between requests, and
//! when it fires before the current timer is due it is set again.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// Makes the timers of one HTTP/1 connection, of which one runs at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct HeaderTimer(Arc<Mutex<Option<Armed>>>);

/// A timer of the runtime that will wake a task.
#[derive(Debug)]
struct Armed {
    at: Instant,
    sleep: Pin<Box<tokio::time::Sleep>>,
    waker: Waker,
}

impl Timer for HeaderTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeaderSleep { at, armed: Arc::clone(&self.0) })
    }
}

struct HeaderSleep {
    at: Instant,
    armed: Arc<Mutex<Option<Armed>>>,
}

impl Sleep for HeaderSleep {}

impl Future for HeaderSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(timer) = &*armed
            && timer.at <= self.at
            && timer.waker.will_wake(cx.waker())
        {
            if !timer.sleep.is_elapsed() {
                return Poll::Pending;
            }
            if timer.at == self.at {
                return Poll::Ready(());
            }
        }
        let mut sleep = Box::pin(tokio::time::sleep_until(self.at.into()));
        let poll = sleep.as_mut().poll(cx);
        *armed = Some(Armed { at: self.at, sleep, waker: cx.waker().clone() });
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn timers_are_due_in_time_whether_they_move_forward_or_back() {
        let timer = HeaderTimer::default();
        let started = Instant::now();
        let after = |ms| started + Duration::from_millis(ms);
        for ms in [10_000, 50, 60, 80] {
            let mut sleep = timer.sleep_until(after(ms));
            assert!(futures_util::poll!(&mut sleep).is_pending(), "{ms}");
        }
        timer.sleep_until(after(100)).await;
        assert!(started.elapsed() >= Duration::from_millis(100));
        timer.sleep(Duration::from_millis(5)).await;
        assert!(started.elapsed() >= Duration::from_millis(105));
    }
}
