//! A lane's shared connection: kept up in the background, given out without waiting.
//!
//! Each worker thread has a lane of its own. No request ever connects: one task per lane does, backs off with full
//! jitter while it fails, and meanwhile every request is refused at once (the breaker). A connection that timed out
//! or broke is dropped, never repaired, so that a late answer cannot meet a later question.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Object, PoolError, TimeoutType};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::connection::Channel;
use super::fault::{Effect, FaultKind, Outcome, RedisFault};
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

/// Whether the shared connection can be used.
#[derive(Clone)]
pub(super) enum LinkState {
    /// The first attempt is under way.
    Connecting,
    Up(Channel),
    Down(RedisFault),
}

pub(super) struct Link {
    state: watch::Sender<LinkState>,
    broken: Notify,
}

impl Link {
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(LinkState::Connecting), broken: Notify::new() }
    }

    /// The shared connection, or why there is none; waits only while a connection attempt is young.
    pub(super) async fn channel(&self, patience: Duration) -> Result<Channel, RedisFault> {
        match &*self.state.borrow() {
            LinkState::Up(channel) => return Ok(channel.clone()),
            LinkState::Down(fault) => return Err(fault.clone().not_applied()),
            LinkState::Connecting => {}
        }
        let mut changes = self.state.subscribe();
        let settled = tokio::time::timeout(patience, changes.wait_for(|state| !matches!(state, LinkState::Connecting)));
        match settled.await {
            Ok(Ok(state)) => match &*state {
                LinkState::Up(channel) => Ok(channel.clone()),
                LinkState::Down(fault) => Err(fault.clone().not_applied()),
                LinkState::Connecting => Err(RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied)),
            },
            Ok(Err(_)) | Err(_) => Err(RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied)),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// Has the connection dropped and made anew.
    pub(super) fn mark_broken(&self) {
        self.broken.notify_one();
        self.state.send_if_modified(|state| {
            let up = matches!(state, LinkState::Up(_));
            if up {
                *state = LinkState::Connecting;
            }
            up
        });
    }

    /// Keeps the lane connected until `stop`.
    pub(super) async fn maintain(&self, redis: &Redis, stop: CancellationToken) {
        let mut backoff = redis.0.limits.backoff;
        loop {
            let attempt = async {
                let object = checkout(&redis.0.pool).await?;
                let mut channel = object.channel.clone();
                redis.prepare(&mut channel).await.map(|()| (object, channel))
            };
            let connected = tokio::select! {
                () = stop.cancelled() => return,
                connected = attempt => connected,
            };
            match connected {
                Ok((object, channel)) => {
                    backoff.reset();
                    let lost = Arc::clone(&object.lost);
                    self.state.send_replace(LinkState::Up(channel));
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.broken.notified() => {}
                        () = lost.notified() => self.mark_broken(),
                    }
                    // Taken out of the pool, so that nobody is given the broken connection.
                    drop(Object::take(object));
                }
                Err(fault) => {
                    self.state.send_replace(LinkState::Down(fault));
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(backoff.next()) => {}
                    }
                }
            }
        }
    }
}

/// Takes a connection out of the pool within its limits.
pub(super) async fn checkout(pool: &Pool) -> Result<Object<Connector>, RedisFault> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => {
            let mut fault = RedisFault::classify(error, Effect::Read);
            if matches!(fault.kind, FaultKind::Timeout | FaultKind::ConnectionLost) {
                fault.kind = FaultKind::Unavailable;
            }
            fault
        }
        PoolError::Timeout(TimeoutType::Wait) => RedisFault::new(FaultKind::PoolExhausted, Outcome::NotApplied),
        other => RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied).caused_by(other),
    })
}

/// Exponential back-off with full jitter: a random time between zero and a bound that doubles.
///
/// Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, bound: min }
    }

    pub(super) fn reset(&mut self) {
        self.bound = self.min;
    }

    pub(super) fn next(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(self.max);
        bound.mul_f64(random_fraction())
    }
}

/// A number in 0.0..1.0; a machine without entropy gets the middle, which only costs it the jitter.
pub(super) fn random_fraction() -> f64 {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(random) / (f64::from(u32::MAX) + 1.0)
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &*self.state.borrow() {
            LinkState::Connecting => "Link(connecting)",
            LinkState::Up(_) => "Link(up)",
            LinkState::Down(_) => "Link(down)",
        })
    }
}

/// A connection of one's own, for commands that block; dropped unless it is given back whole.
#[derive(Debug)]
pub struct Dedicated {
    object: Option<Object<Connector>>,
}

impl Dedicated {
    pub(super) fn new(object: Object<Connector>) -> Self {
        Self { object: Some(object) }
    }

    /// Runs a command that may block for up to `limit`; the connection survives only a complete answer.
    ///
    /// # Errors
    /// The [`RedisFault`] of the command; afterwards the connection is gone.
    pub async fn query<T: redis::FromRedisValue>(
        &mut self,
        command: &redis::Cmd,
        effect: Effect,
        limit: Duration,
    ) -> Result<T, RedisFault> {
        // Taken, so that a cancelled caller leaves no connection behind that still owes an answer.
        let Some(mut object) = self.object.take() else {
            return Err(RedisFault::new(FaultKind::ConnectionLost, Outcome::NotApplied));
        };
        let packet = super::connection::Packet::Command(command);
        let answered = tokio::time::timeout(limit, object.channel.send(packet)).await;
        let value = match answered {
            Ok(answer) => {
                answer.and_then(redis::Value::extract_error).map_err(|error| RedisFault::classify(error, effect))
            }
            Err(_) => Err(RedisFault::timeout(effect)),
        };
        match value {
            Err(fault) if fault.breaks_connection() => {
                drop(Object::take(object));
                Err(fault)
            }
            Err(fault) => {
                self.object = Some(object);
                Err(fault)
            }
            Ok(value) => {
                self.object = Some(object);
                T::from_redis_value(value).map_err(|error| RedisFault::bad_reply(error, effect))
            }
        }
    }
}
