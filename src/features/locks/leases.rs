//! Where leases are kept: the one place that speaks to Redis about them.

use std::time::Duration;

use super::config::LocksConfig;
use super::keys::{LockKeys, wake_channel};
use super::model::{Resource, Token, Votes};
use super::scripts::{
    Acquire, Acquired, End, Extend, Extended, Force, Forced, Inspect, Inspected, Owned, Patience, Place, Release, Terms,
};
use crate::clock::Clock;
use crate::redis::{Redis, RedisFault};

/// The leases of the state role's Redis.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    redis: Redis,
    clock: Clock,
    fence_life: Duration,
    turn: Duration,
    queue_limit: usize,
}

/// One attempt to get a lease.
#[derive(Clone, Debug)]
pub(super) struct Bid {
    pub resource: Resource,
    pub ttl: Duration,
    /// Empty when the holder gives no name.
    pub owner: String,
    /// JSON, or empty.
    pub metadata: String,
    pub patience: Patience,
    /// How long its caller waits yet.
    pub wait: Duration,
}

/// What an attempt came to.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Granted { fence: u64, ends: End, votes: Votes },
    Held { remaining: Option<Duration> },
    Waiting { remaining: Option<Duration>, place: Place },
    QueueFull,
}

impl Leases {
    pub(super) fn new(redis: &Redis, clock: &Clock, config: &LocksConfig) -> Self {
        Self {
            redis: redis.clone(),
            clock: clock.clone(),
            fence_life: config.fence_life.duration(),
            turn: config.turn.duration(),
            queue_limit: config.queue_limit,
        }
    }

    /// The name under which a lock's waiters are called.
    pub(super) fn line(&self, resource: &Resource) -> String {
        self.keys(resource).lease.as_str().to_owned()
    }

    pub(super) async fn acquire(&self, bid: &Bid, token: &Token) -> Result<Answer, RedisFault> {
        let call = Acquire {
            keys: &self.keys(&bid.resource),
            token,
            ttl: bid.ttl,
            owner: &bid.owner,
            metadata: &bid.metadata,
            patience: &bid.patience,
            wait: bid.wait,
            queue_limit: self.queue_limit,
            terms: &self.terms(),
        };
        Ok(match self.redis.call(&call).await? {
            Acquired::Granted { fence, ends } => Answer::Granted { fence, ends, votes: SINGLE },
            Acquired::Held { remaining } => Answer::Held { remaining },
            Acquired::Waiting { remaining, place } => Answer::Waiting { remaining, place },
            Acquired::QueueFull => Answer::QueueFull,
        })
    }

    pub(super) async fn extend(
        &self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
    ) -> Result<(Owned<Extended>, Votes), RedisFault> {
        let call = Extend { keys: &self.keys(resource), token, ttl, terms: &self.terms() };
        Ok((self.redis.call(&call).await?, SINGLE))
    }

    pub(super) async fn release(
        &self,
        resource: &Resource,
        token: &Token,
        ticket: Option<&str>,
    ) -> Result<Owned<Option<End>>, RedisFault> {
        self.redis.call(&Release { keys: &self.keys(resource), token, ticket, terms: &self.terms() }).await
    }

    pub(super) async fn force(&self, resource: &Resource) -> Result<Forced, RedisFault> {
        self.redis.call(&Force { keys: &self.keys(resource), terms: &self.terms() }).await
    }

    pub(super) async fn inspect(&self, resource: &Resource) -> Result<Inspected, RedisFault> {
        self.redis.call(&Inspect { keys: &self.keys(resource) }).await
    }

    /// The same for many, in one round trip.
    pub(super) async fn inspect_all(&self, resources: &[Resource]) -> Result<Vec<Inspected>, RedisFault> {
        let keys: Vec<LockKeys> = resources.iter().map(|resource| self.keys(resource)).collect();
        let calls: Vec<Inspect<'_>> = keys.iter().map(|keys| Inspect { keys }).collect();
        self.redis.call_all(&calls).await?.into_iter().collect()
    }

    fn keys(&self, resource: &Resource) -> LockKeys {
        LockKeys::new(self.redis.keys(), resource)
    }

    fn terms(&self) -> Terms {
        Terms {
            now: self.clock.redis_arg(),
            fence_life: self.fence_life,
            turn: self.turn,
            channel: wake_channel(self.redis.keys()),
        }
    }
}

/// One node, and it agreed.
const SINGLE: Votes = Votes { granted: 1, total: 1 };
