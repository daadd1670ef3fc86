//! Keeps a run within its share of a core.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use prometheus::Counter;
use tokio::time::{Sleep, sleep};

/// The computing time after which a run pauses: shorter pauses would cost more than they save.
const SLICE: Duration = Duration::from_millis(2);

pin_project! {
    /// Measures the time that a future computes, and pauses it until that is at most `share` of the time that has passed.
    pub(super) struct Paced<F> {
        #[pin]
        inner: F,
        share: f64,
        busy: Duration,
        pause: Option<Pin<Box<Sleep>>>,
        total: Counter,
    }
}

impl<F> Paced<F> {
    pub(super) fn new(inner: F, share: f64, total: Counter) -> Self {
        Self { inner, share, busy: Duration::ZERO, pause: None, total }
    }
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Some(pause) = this.pause {
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            *this.pause = None;
        }
        let started = Instant::now();
        let polled = this.inner.poll(context);
        *this.busy += started.elapsed();
        if polled.is_pending() && *this.busy >= SLICE {
            this.total.inc_by(this.busy.as_secs_f64());
            let rest = this.busy.mul_f64(1.0 / *this.share - 1.0);
            *this.busy = Duration::ZERO;
            let mut pause = Box::pin(sleep(rest));
            // Registers the task for the end of the pause.
            if pause.as_mut().poll(context).is_pending() {
                *this.pause = Some(pause);
            }
        }
        polled
    }
}
