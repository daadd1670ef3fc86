//! A lane's shared connection: kept up in the background, given out without waiting.
//!
//! Each worker thread has a lane of its own. No request ever connects: one task per lane does, backs off with full
//! jitter while it fails, and meanwhile every request is refused at once (the breaker). A connection that timed out
//! or broke is dropped, never repaired, so that a late answer cannot meet a later question.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool::managed::{Object, PoolError, TimeoutType};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::connection::Channel;
use super::fault::{FaultKind, Outcome, RedisFault};
use super::topology::Connector;
use super::{Pool, Redis};

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// Makes this thread use its own connection from now on; lane 0 belongs to everybody else.
pub fn enter_lane(lane: usize) {
    LANE.set(lane);
}

pub(super) fn current_lane() -> usize {
    LANE.get()
}

/// A connection in use. Whoever sees it fail says so about this one, not about its successor.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) channel: Channel,
    since: Instant,
    /// When it last brought an answer, microseconds after `since`.
    heard: Arc<AtomicU64>,
    broken: CancellationToken,
}

impl Live {
    fn new(channel: Channel) -> Self {
        Self { channel, since: Instant::now(), heard: Arc::default(), broken: CancellationToken::new() }
    }

    pub(super) fn record_reply(&self) {
        self.heard.store(self.age_us(), Ordering::Relaxed);
    }

    /// How long ago it brought an answer, or was made.
    pub(super) fn idle_for(&self) -> Duration {
        Duration::from_micros(self.age_us().saturating_sub(self.heard.load(Ordering::Relaxed)))
    }

    fn age_us(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }
}

/// Whether the shared connection can be used.
#[derive(Clone)]
pub(super) enum LinkState {
    /// There was no time yet to find out, at the start or after a loss.
    Connecting {
        since: Instant,
    },
    Up(Live),
    Down(RedisFault),
}

impl LinkState {
    pub(super) fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }
}

pub(super) struct Link {
    state: watch::Sender<LinkState>,
}

impl Link {
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(LinkState::Connecting { since: Instant::now() }) }
    }

    /// The shared connection, or why there is none.
    ///
    /// Waits only where the connection has been missing for less than `patience`: a loss is then hidden from most
    /// callers, and a Redis that stays away costs nobody more than that.
    pub(super) async fn live(&self, patience: Duration) -> Result<Live, RedisFault> {
        let missing_for = match &*self.state.borrow() {
            LinkState::Up(live) => return Ok(live.clone()),
            LinkState::Down(fault) => return Err(fault.clone()),
            LinkState::Connecting { since } => since.elapsed(),
        };
        let unknown = || RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied);
        let Some(rest) = patience.checked_sub(missing_for) else { return Err(unknown()) };
        let mut changes = self.state.subscribe();
        let settled = changes.wait_for(|state| !matches!(state, LinkState::Connecting { .. }));
        // Boxed: a future is moved as large as its largest branch, and hardly any request waits here.
        match Box::pin(tokio::time::timeout(rest, settled)).await {
            Ok(Ok(state)) => match &*state {
                LinkState::Up(live) => Ok(live.clone()),
                LinkState::Down(fault) => Err(fault.clone()),
                LinkState::Connecting { .. } => Err(unknown()),
            },
            Ok(Err(_)) | Err(_) => Err(unknown()),
        }
    }

    /// Why there is no connection, where that is known.
    pub(super) fn refusal(&self) -> Option<RedisFault> {
        match &*self.state.borrow() {
            LinkState::Down(fault) => Some(fault.clone()),
            LinkState::Connecting { .. } | LinkState::Up(_) => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.borrow().is_up()
    }

    /// How long ago the connection brought an answer, or was made or lost.
    pub(super) fn idle_for(&self) -> Duration {
        match &*self.state.borrow() {
            LinkState::Up(live) => live.idle_for(),
            LinkState::Connecting { since } => since.elapsed(),
            LinkState::Down(_) => Duration::MAX,
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// Has this connection dropped and another one made; the callers still on it get their answers or time out.
    pub(super) fn mark_broken(&self, live: &Live) {
        live.broken.cancel();
        self.state.send_if_modified(|state| {
            let is_this = matches!(state, LinkState::Up(current) if current.broken.is_cancelled());
            if is_this {
                *state = LinkState::Connecting { since: Instant::now() };
            }
            is_this
        });
    }

    /// Keeps the lane connected until `stop`.
    pub(super) async fn maintain(&self, redis: &Redis, lane: usize, stop: CancellationToken) {
        let mut backoff = redis.0.limits.backoff;
        let mut journal = Journal { servers: redis.servers(), lane, last: None };
        loop {
            let connected = tokio::select! {
                () = stop.cancelled() => return,
                connected = redis.connect() => connected,
            };
            match connected {
                Ok(object) => {
                    backoff.reset();
                    journal.connected();
                    let live = Live::new(object.channel.clone());
                    self.state.send_replace(LinkState::Up(live.clone()));
                    let _counted = redis.0.metrics.connected();
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = live.broken.cancelled() => {}
                        () = object.lost.cancelled() => self.mark_broken(&live),
                    }
                    journal.lost();
                    discard(object);
                }
                Err(fault) => {
                    journal.failed(&fault);
                    self.state.send_replace(LinkState::Down(fault));
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(backoff.pause()) => {}
                    }
                }
            }
        }
    }
}

/// Logs a lane's changes, and not each of the many attempts between them.
struct Journal {
    servers: String,
    lane: usize,
    last: Option<String>,
}

impl Journal {
    fn connected(&mut self) {
        tracing::info!(redis = self.servers, lane = self.lane, "connected to redis");
        self.last = None;
    }

    fn lost(&self) {
        tracing::warn!(redis = self.servers, lane = self.lane, "the connection to redis was given up");
    }

    fn failed(&mut self, fault: &RedisFault) {
        let cause = fault.with_causes();
        if self.last.as_ref() != Some(&cause) {
            tracing::warn!(redis = self.servers, lane = self.lane, cause, "redis cannot be used");
            self.last = Some(cause);
        }
    }
}

/// Takes a connection out of a pool within its limits.
pub(super) async fn checkout(pool: &Pool) -> Result<Object<Connector>, RedisFault> {
    // Connecting is rare and its future is large: 20 KB that every caller would carry along.
    Box::pin(pool.get()).await.map_err(|error| match error {
        PoolError::Backend(error) => RedisFault::connecting(error),
        PoolError::Timeout(TimeoutType::Wait) => RedisFault::new(FaultKind::PoolExhausted, Outcome::NotApplied),
        other => RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied).caused_by(other),
    })
}

/// Closes a connection: dropped as it is, it would go back to the pool.
pub(super) fn discard(object: Object<Connector>) {
    drop(Object::take(object));
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &*self.state.borrow() {
            LinkState::Connecting { .. } => "Link(connecting)",
            LinkState::Up(_) => "Link(up)",
            LinkState::Down(_) => "Link(down)",
        })
    }
}
