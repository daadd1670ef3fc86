//! The shared connection of a lane: kept open in the background and available without waiting.
//!
//! Each worker thread has its own lane. No request ever connects: one task per lane does, and backs off with full jitter
//! while that fails. In the meantime every request is rejected immediately (the breaker). A connection that timed out or
//! broke is dropped and never repaired, so that a late reply cannot be taken for the reply to a later command. One that
//! carried a large packet is replaced, since its buffers keep their largest size.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool::managed::{Object, PoolError, TimeoutType};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::connection::Channel;
use super::fault::{FaultKind, Outcome, RedisFault};
use super::retry_budget::RetryBudget;
use super::topology::Connector;
use super::{Pool, Redis};

/// The buffers of a connection keep the size of the largest packet. Above this size, bytes, it is replaced.
const LARGE_PACKET: usize = 256 << 10;
/// How long such a connection serves: the cost of a new one, which loads the scripts, is small beside this.
const LARGE_PACKET_AGE: Duration = Duration::from_secs(5);

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// Makes this thread use the connection of a lane. Lane 0 serves all threads that have entered none.
pub fn enter_lane(lane: usize) {
    LANE.set(lane);
}

pub(super) fn current_lane() -> usize {
    LANE.get()
}

/// A connection in use. A failure is reported for this connection and not for its successor.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) channel: Channel,
    condition: Arc<ConnectionCondition>,
}

/// What the users of a connection know about it.
struct ConnectionCondition {
    since: Instant,
    /// When the last reply arrived, microseconds after `since`.
    last_reply_us: AtomicU64,
    is_broken: AtomicBool,
    broken: Notify,
    carried_large_packet: AtomicBool,
    large_packet: Notify,
}

impl Live {
    fn new(channel: Channel) -> Self {
        let condition = ConnectionCondition {
            since: Instant::now(),
            last_reply_us: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
            broken: Notify::new(),
            carried_large_packet: AtomicBool::new(false),
            large_packet: Notify::new(),
        };
        Self { channel, condition: Arc::new(condition) }
    }

    pub(super) fn record_reply(&self, now: Instant) {
        self.condition.last_reply_us.store(self.age_us(now), Ordering::Relaxed);
    }

    /// Learns the size of a packet or of a reply, bytes.
    pub(super) fn record_size(&self, bytes: usize) {
        if bytes > LARGE_PACKET && !self.condition.carried_large_packet.swap(true, Ordering::Relaxed) {
            self.condition.large_packet.notify_one();
        }
    }

    /// Resolves when the buffers of the connection have grown and it has served for a while.
    async fn overgrown(&self) {
        self.condition.large_packet.notified().await;
        tokio::time::sleep(LARGE_PACKET_AGE.saturating_sub(self.age())).await;
    }

    /// The time since the last reply, or since the connection was made.
    pub(super) fn idle_for(&self) -> Duration {
        let last_reply_us = self.condition.last_reply_us.load(Ordering::Relaxed);
        Duration::from_micros(self.age_us(Instant::now()).saturating_sub(last_reply_us))
    }

    fn age_us(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.condition.since);
        age.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(age.subsec_micros()))
    }

    pub(super) fn age(&self) -> Duration {
        self.condition.since.elapsed()
    }

    fn is_broken(&self) -> bool {
        self.condition.is_broken.load(Ordering::SeqCst)
    }

    fn set_broken(&self) {
        self.condition.is_broken.store(true, Ordering::SeqCst);
        self.condition.broken.notify_one();
    }

    /// Resolves when the connection is broken. Only the task that maintains the lane waits for it.
    async fn broken(&self) {
        while !self.is_broken() {
            self.condition.broken.notified().await;
        }
    }
}

/// Whether the shared connection can be used.
#[derive(Clone)]
pub(super) enum LinkState {
    /// Not known yet, at the start or after a loss.
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
    pub(super) retry_budget: RetryBudget,
}

impl Link {
    pub(super) fn new() -> Self {
        let state = watch::Sender::new(LinkState::Connecting { since: Instant::now() });
        Self { state, retry_budget: RetryBudget::new() }
    }

    /// The shared connection, or why there is none.
    ///
    /// Waits only if the connection has been missing for less than `patience`. That hides a loss from most callers, and
    /// limits what an unavailable Redis costs each of them.
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
        // Boxed: a future is as large as its largest branch, and few requests wait here.
        match Box::pin(tokio::time::timeout(rest, settled)).await {
            Ok(Ok(state)) => match &*state {
                LinkState::Up(live) => Ok(live.clone()),
                LinkState::Down(fault) => Err(fault.clone()),
                LinkState::Connecting { .. } => Err(unknown()),
            },
            Ok(Err(_)) | Err(_) => Err(unknown()),
        }
    }

    /// Why there is no connection, if that is known.
    pub(super) fn refusal(&self) -> Option<RedisFault> {
        match &*self.state.borrow() {
            LinkState::Down(fault) => Some(fault.clone()),
            LinkState::Connecting { .. } | LinkState::Up(_) => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.borrow().is_up()
    }

    /// The time since the connection brought a reply, was made or was lost.
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

    /// Replaces this connection by a new one. Commands that still use it receive their replies or time out.
    pub(super) fn mark_broken(&self, live: &Live) {
        live.set_broken();
        self.state.send_if_modified(|state| {
            let is_this = matches!(state, LinkState::Up(current) if current.is_broken());
            if is_this {
                *state = LinkState::Connecting { since: Instant::now() };
            }
            is_this
        });
    }

    /// Keeps the lane connected until `stop`.
    pub(super) async fn maintain(&self, redis: &Redis, lane: usize, stop: CancellationToken) {
        let mut backoff = redis.0.limits.backoff;
        let mut journal = Journal { servers: redis.servers(), lane, last: None, replaces: false };
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
                        () = live.broken() => journal.lost(),
                        () = object.lost.cancelled() => {
                            self.mark_broken(&live);
                            journal.lost();
                        }
                        // It serves until its successor does, and then until its last command has a reply.
                        () = live.overgrown() => journal.replaces(),
                    }
                    discard(object);
                }
                Err(fault) => {
                    journal.failed(&fault);
                    // A connection that should only be replaced goes on serving.
                    self.state.send_if_modified(|state| {
                        let is_down = !state.is_up();
                        if is_down {
                            *state = LinkState::Down(fault);
                        }
                        is_down
                    });
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(backoff.pause()) => {}
                    }
                }
            }
        }
    }
}

/// Logs when the condition of a lane changes, but not each of the attempts in between.
struct Journal {
    servers: String,
    lane: usize,
    last: Option<String>,
    replaces: bool,
}

impl Journal {
    fn connected(&mut self) {
        if std::mem::take(&mut self.replaces) && self.last.is_none() {
            tracing::debug!(
                redis = self.servers,
                lane = self.lane,
                "replaced a connection to Redis with large buffers"
            );
        } else {
            tracing::info!(redis = self.servers, lane = self.lane, "connected to Redis");
        }
        self.last = None;
    }

    fn replaces(&mut self) {
        self.replaces = true;
    }

    fn lost(&self) {
        tracing::warn!(redis = self.servers, lane = self.lane, "lost the connection to Redis");
    }

    fn failed(&mut self, fault: &RedisFault) {
        let cause = fault.with_causes();
        if self.last.as_ref() != Some(&cause) {
            tracing::warn!(redis = self.servers, lane = self.lane, cause, "cannot connect to Redis");
            self.last = Some(cause);
        }
    }
}

/// Takes a connection out of a pool within its limits.
pub(super) async fn checkout(pool: &Pool) -> Result<Object<Connector>, RedisFault> {
    // Boxed: connecting is rare, and its future takes 20 KB in the future of every caller.
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
