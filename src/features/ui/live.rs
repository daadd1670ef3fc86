//! The frames of the last ten minutes, made once for all viewers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::frame::{LiveFrame, Moment};
use super::totals::Totals;
use crate::deps::Deps;
use crate::http::slots::Slots;

/// The time between two frames.
const STEP: Duration = Duration::from_secs(1);
/// The frames that a viewer sees when it opens the page: ten minutes.
const KEPT: usize = 600;
/// The most open streams of a replica.
const MAX_VIEWERS: usize = 100;
/// The most frames that wait for a viewer. One that is further behind does not read, and is disconnected.
const WAITING: usize = 32;

#[derive(Debug)]
pub(super) struct Live {
    pub(super) deps: Deps,
    pub(super) frames: Frames,
    pub(super) viewers: Slots,
}

/// The state that handlers share.
pub(super) type Shared = Arc<Live>;

impl Live {
    pub(super) fn new(deps: &Deps) -> Self {
        Self { deps: deps.clone(), frames: Frames::new(), viewers: Slots::new(MAX_VIEWERS) }
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

    /// The frames so far as one text, and every frame after them.
    pub(super) fn follow(&self) -> (Vec<u8>, broadcast::Receiver<Bytes>) {
        let ring = self.ring();
        (ring.iter().flatten().copied().collect(), self.viewers.subscribe())
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
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    #[test]
    fn ten_minutes_are_kept_and_a_viewer_that_does_not_read_is_behind() {
        let frames = Frames::new();
        for second in 0..=KEPT {
            frames.push(format!("{second},").into());
        }
        let (kept, mut viewer) = frames.follow();
        let kept = String::from_utf8(kept).expect("text");
        assert!(kept.starts_with("1,2,3,") && kept.ends_with("599,600,"), "{kept}");
        frames.push("next".into());
        assert_eq!(viewer.try_recv().expect("a frame"), "next");
        for _ in 0..=WAITING {
            frames.push("more".into());
        }
        assert!(matches!(viewer.try_recv(), Err(TryRecvError::Lagged(_))), "the stream of this viewer ends");
    }
}
