//! Request bodies must arrive at a minimum rate, so that a slow client does not hold resources for long.
//!
//! A body has an allowance of waiting time. Waiting uses it up and every byte that arrives restores some of it, never
//! beyond its initial value. A body whose allowance is used up ends with [`TooSlow`]. Time in which the handler does not
//! read does not count.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::gzip_body::TooCompressed;
use super::problem::{self, Problem};
use crate::redis::Outcome;

/// How fast a body must arrive.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest pause.
    pub idle: Duration,
    /// Bytes per second over longer times.
    pub rate: u64,
}

/// Whether a handler is waiting for the client to send more of its body.
#[derive(Clone, Debug, Default)]
pub struct AwaitsBody(Arc<AtomicBool>);

impl AwaitsBody {
    pub fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, waiting: bool) {
        self.0.store(waiting, Ordering::Relaxed);
    }
}

/// The client sent too little in the time that it had.
#[derive(Clone, Copy, Debug)]
pub struct TooSlow(Pace);

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pace { idle, rate } = self.0;
        write!(
            f,
            "the body paused for more than {} ms or arrived at less than {rate} bytes per second",
            idle.as_millis()
        )
    }
}

impl Error for TooSlow {}

/// The problem of a body that ended with `error` before it was complete.
pub fn incomplete(error: axum::Error) -> Problem {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(slow) = inner.downcast_ref::<TooSlow>() {
            return Problem::new(&problem::REQUEST_TIMEOUT).detail(slow).outcome(Outcome::NotApplied);
        }
        if let Some(large) = inner.downcast_ref::<TooCompressed>() {
            return Problem::new(&problem::BODY_TOO_LARGE).detail(large).outcome(Outcome::NotApplied);
        }
        cause = inner.source();
    }
    Problem::new(&problem::BODY_INCOMPLETE).outcome(Outcome::NotApplied).caused_by(error)
}

/// A body that must arrive at a minimum rate.
struct PacedBody {
    body: Body,
    pace: Pace,
    allowance: Duration,
    /// Since when the handler waits, and the end of the allowance.
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
    awaits: AwaitsBody,
}

/// Ends `body` if it arrives too slowly.
pub fn paced(body: Body, pace: Pace) -> (Body, AwaitsBody) {
    let awaits = AwaitsBody::default();
    let body = PacedBody { body, pace, allowance: pace.idle, wait: None, awaits: awaits.clone() };
    (Body::new(body), awaits)
}

impl PacedBody {
    /// Ends a pause after which `length` bytes have arrived.
    fn received(&mut self, length: usize) {
        self.awaits.set(false);
        let waited = self.wait.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
        self.allowance = self.pace.allowance(self.allowance, waited, length);
    }
}

impl Pace {
    /// The allowance after `length` bytes that arrived after `waited`.
    fn allowance(self, before: Duration, waited: Duration, length: usize) -> Duration {
        let micros = u64::try_from(length).unwrap_or(u64::MAX).saturating_mul(1_000_000) / self.rate.max(1);
        before.saturating_sub(waited).saturating_add(Duration::from_micros(micros)).min(self.idle)
    }
}

impl http_body::Body for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let length = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
            self.received(length);
            return Poll::Ready(frame);
        }
        self.awaits.set(true);
        let allowance = self.allowance;
        let (_, end) = self.wait.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + allowance)))
        });
        ready!(end.as_mut().poll(cx));
        self.awaits.set(false);
        Poll::Ready(Some(Err(axum::Error::new(TooSlow(self.pace)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { idle: Duration::from_secs(10), rate: 1_000 };

    /// How many pieces of `size` bytes arrive if each takes `millis`; at most 1,000.
    fn pieces(size: usize, millis: u64, mut allowance: Duration) -> usize {
        let waited = Duration::from_millis(millis);
        (0..1_000)
            .take_while(|_| {
                let is_in_time = waited < allowance;
                allowance = PACE.allowance(allowance, waited, size);
                is_in_time
            })
            .count()
    }

    #[test]
    fn a_body_may_pause_but_not_drip() {
        assert_eq!(pieces(1_000, 1_000, PACE.idle), 1_000, "at the rate");
        assert_eq!(pieces(9_000, 9_000, PACE.idle), 1_000, "at the rate, with long pauses");
        assert_eq!(pieces(1, 1_000, PACE.idle), 10, "one byte per second");
        assert_eq!(pieces(100_000, 10_000, PACE.idle), 0, "a longer pause than allowed");
        // A fast beginning does not pay for a slow rest.
        assert_eq!(PACE.allowance(PACE.idle, Duration::ZERO, 1 << 30), PACE.idle);
    }
}
