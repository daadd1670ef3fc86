//! The leases and the line of waiters on one Redis.

use std::time::Duration;

use super::config::LocksConfig;
use super::keys::{LeaseKind, LockKeys, wake_channel};
use super::leases::Bid;
use super::model::{Resource, Token};
use super::scripts::{
    Acquire, Acquired, End, Extend, Extended, Force, Forced, Inspect, Inspected, Owned, Release, Terms,
};
use crate::clock::Clock;
use crate::redis::{Redis, RedisFault};

/// The leases of one Redis.
#[derive(Clone, Debug)]
pub(super) struct Store {
    kind: LeaseKind,
    redis: Redis,
    clock: Clock,
    fence_life: Duration,
    turn: Duration,
    queue_limit: usize,
}

impl Store {
    pub(super) fn new(redis: &Redis, kind: LeaseKind, clock: &Clock, config: &LocksConfig) -> Self {
        Self {
            kind,
            redis: redis.clone(),
            clock: clock.clone(),
            fence_life: config.fence_life.duration(),
            turn: config.turn.duration(),
            queue_limit: config.queue_limit,
        }
    }

    pub(super) async fn acquire(&self, bid: &Bid, token: &Token) -> Result<Acquired, RedisFault> {
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
        self.redis.call(&call).await
    }

    pub(super) async fn extend(
        &self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
    ) -> Result<Owned<Extended>, RedisFault> {
        let call = Extend { keys: &self.keys(resource), token, ttl, terms: &self.terms() };
        self.redis.call(&call).await
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

    pub(super) fn keys(&self, resource: &Resource) -> LockKeys {
        LockKeys::new(self.redis.keys(), self.kind, resource)
    }

    pub(super) fn redis(&self) -> &Redis {
        &self.redis
    }

    pub(super) fn terms(&self) -> Terms {
        Terms {
            now: self.clock.redis_arg(),
            fence_life: self.fence_life,
            turn: self.turn,
            channel: wake_channel(self.redis.keys()),
        }
    }
}
