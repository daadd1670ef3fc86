//! The frames of the last ten minutes, made once for all viewers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::future::join_all;
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::frame::{LiveFrame, Moment};
use super::totals::Totals;
use crate::clock::UnixMillis;
use crate::config::http::HttpConfig;
use crate::deps::Deps;
use crate::features::feature::StartError;
use crate::http::slots::Slots;
use crate::redis::Redis;

/// The time between two frames.
const STEP: Duration = Duration::from_secs(1);
/// The frames that a viewer sees when it opens the page: ten minutes.
const KEPT: usize = 600;
/// The most open streams of a replica.
const MAX_VIEWERS: usize = 100;
/// The most frames that wait for a viewer. One that is further behind does not read, and is disconnected.
const WAITING: usize = 32;
/// The most frames of a stream: ten minutes. Frames are so short that the kernel takes many of them for a viewer that does
/// not read; this way it holds its place no longer than that.
const LONGEST: usize = 600;
/// Tells a viewer to open the next stream.
const AGAIN: &[u8] = b"event: again\ndata: {}\n\n";

#[derive(Debug)]
pub(super) struct Live {
    pub(super) deps: Deps,
    pub(super) frames: Frames,
    pub(super) viewers: Slots,
    pub(super) started: UnixMillis,
    /// The longest time in which a viewer takes nothing.
    pub(super) idle: Duration,
}

/// The state that handlers share.
pub(super) type Shared = Arc<Live>;

impl Live {
    /// # Errors
    /// A section of the configuration that cannot be read.
    pub(super) fn new(deps: &Deps) -> Result<Self, StartError> {
        let idle = deps.config.section::<HttpConfig>()?.body_idle_timeout.duration();
        let (frames, viewers) = (Frames::new(), Slots::new(MAX_VIEWERS));
        Ok(Self { deps: deps.clone(), frames, viewers, started: deps.clock.now(), idle })
    }
}

/// The newest frames as events, and those who wait for the next one.
#[derive(Debug)]
pub(super) struct Frames {
    /// Oldest first.
    ring: Mutex<VecDeque<Bytes>>,
    viewers: broadcast::Sender<Bytes>,
}

impl Frames {
    fn new() -> Self {
        Self { ring: Mutex::default(), viewers: broadcast::Sender::new(WAITING) }
    }

    /// The frames so far as one text, and those after them.
    pub(super) fn follow(&self) -> (Vec<u8>, Viewing) {
        let ring = self.ring();
        (ring.iter().flatten().copied().collect(), Viewing { frames: self.viewers.subscribe(), left: LONGEST })
    }

    fn has_viewers(&self) -> bool {
        self.viewers.receiver_count() > 0
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an event, and sends it to all viewers.
    fn push(&self, event: Bytes) {
        // Held while the event is sent, so that a new viewer neither misses an event nor receives it twice.
        let mut ring = self.ring();
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(event.clone());
        // Without viewers there is no receiver.
        let _ = self.viewers.send(event);
    }
}

/// What is left of a viewer's stream.
#[derive(Debug)]
pub(super) struct Viewing {
    frames: broadcast::Receiver<Bytes>,
    left: usize,
}

impl Viewing {
    /// The next frame, the last one with [`AGAIN`]; `None` after it, and for a viewer that has missed frames.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.left = self.left.checked_sub(1)?;
        let frame = self.frames.recv().await.ok()?;
        Some(if self.left == 0 { [&frame, AGAIN].concat().into() } else { frame })
    }
}

/// Makes a frame every second until the service stops.
pub(super) async fn run(live: Shared, stop: CancellationToken) {
    let deps = &live.deps;
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Moment> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let reasons = deps.reasons();
        let now = Moment { totals: Totals::of(&deps.metrics.gather()), status: deps.status(&reasons) };
        if let Some(before) = &before {
            let frame = LiveFrame::between(before, &now, deps.clock.now(), &reasons);
            // Texts and finite numbers always serialise.
            let data = serde_json::to_string(&frame).unwrap_or_default();
            live.frames.push(format!("event: frame\ndata: {data}\n\n").into());
        }
        before = Some(now);
        if live.frames.has_viewers() {
            // While the service is at rest, a stopped Redis would be noticed later than viewers expect.
            join_all(deps.redis.distinct().map(Redis::ping)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ten_minutes_are_kept_and_a_viewer_that_does_not_read_is_behind() {
        let frames = Frames::new();
        for second in 0..=KEPT {
            frames.push(format!("{second},").into());
        }
        let (kept, mut viewer) = frames.follow();
        let kept = String::from_utf8(kept).expect("text");
        assert!(kept.starts_with("1,2,3,") && kept.ends_with("599,600,"), "{kept}");
        frames.push("next".into());
        assert_eq!(viewer.next().await.expect("a frame"), "next");
        for _ in 0..=WAITING {
            frames.push("more".into());
        }
        assert_eq!(viewer.next().await, None, "the stream of this viewer ends");
    }

    #[tokio::test]
    async fn a_stream_ends_after_ten_minutes_and_tells_the_viewer_to_return() {
        let frames = Frames::new();
        let (_, mut viewer) = frames.follow();
        for _ in 1..LONGEST {
            frames.push("frame".into());
            assert_eq!(viewer.next().await.expect("a frame"), "frame");
        }
        frames.push("last,".into());
        assert_eq!(viewer.next().await.expect("the last frame"), "last,event: again\ndata: {}\n\n");
        frames.push("more".into());
        assert_eq!(viewer.next().await, None);
    }
}
