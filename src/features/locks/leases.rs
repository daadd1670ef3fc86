//! The leases and the queues of waiters on one Redis.

use std::time::Duration;

use super::acquire::{AcquireOutcome, AcquireSpec, WaitMode};
use super::config::LocksConfig;
use super::keys::{LockKeys, wake_channel};
use super::model::{Resource, Token};
use super::scripts::{
    Acquire, CommonArguments, Extend, Extension, ForceRelease, ForcedRelease, Inspect, Inspection, Ownership, Release,
};
use crate::clock::Clock;
use crate::redis::{Redis, RedisFault};

#[derive(Clone, Debug)]
pub(super) struct Leases {
    key_prefix: &'static str,
    redis: Redis,
    clock: Clock,
    fence_ttl: Duration,
    queue_limit: usize,
}

impl Leases {
    /// `key_prefix`: see [`LockKeys::new`].
    pub(super) fn new(redis: &Redis, key_prefix: &'static str, clock: &Clock, config: &LocksConfig) -> Self {
        Self {
            key_prefix,
            redis: redis.clone(),
            clock: clock.clone(),
            fence_ttl: config.fence_ttl(),
            queue_limit: config.queue_limit,
        }
    }

    pub(super) async fn acquire(
        &self,
        spec: &AcquireSpec,
        token: &Token,
        wait_mode: &WaitMode,
    ) -> Result<AcquireOutcome, RedisFault> {
        let (keys, common, queue_limit) = (self.keys(&spec.resource), self.common_arguments(), self.queue_limit);
        self.redis.call(&Acquire { keys: &keys, spec, token, wait_mode, queue_limit, common: &common }).await
    }

    pub(super) async fn extend(
        &self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
    ) -> Result<Ownership<Extension>, RedisFault> {
        let call = Extend { keys: &self.keys(resource), token, ttl, common: &self.common_arguments() };
        self.redis.call(&call).await
    }

    /// Releases by token, and removes the ticket from the queue. Returns [`Extension::ends_us`] of the lease.
    pub(super) async fn release(
        &self,
        resource: &Resource,
        token: &Token,
        ticket: Option<&str>,
    ) -> Result<Ownership<Option<u64>>, RedisFault> {
        let call = Release { keys: &self.keys(resource), token, ticket, common: &self.common_arguments() };
        self.redis.call(&call).await
    }

    pub(super) async fn force_release(&self, resource: &Resource) -> Result<ForcedRelease, RedisFault> {
        self.redis.call(&ForceRelease { keys: &self.keys(resource), common: &self.common_arguments() }).await
    }

    pub(super) async fn inspect(&self, resource: &Resource) -> Result<Inspection, RedisFault> {
        self.redis.call(&Inspect { keys: &self.keys(resource) }).await
    }

    /// Inspects many locks in one round trip.
    pub(super) async fn inspect_all(&self, resources: &[Resource]) -> Result<Vec<Inspection>, RedisFault> {
        let keys: Vec<LockKeys> = resources.iter().map(|resource| self.keys(resource)).collect();
        let calls: Vec<Inspect<'_>> = keys.iter().map(|keys| Inspect { keys }).collect();
        self.redis.call_all(&calls).await?.into_iter().collect()
    }

    pub(super) fn keys(&self, resource: &Resource) -> LockKeys {
        LockKeys::new(self.redis.keys(), self.key_prefix, resource)
    }

    pub(super) fn redis(&self) -> &Redis {
        &self.redis
    }

    pub(super) fn common_arguments(&self) -> CommonArguments {
        CommonArguments {
            now: self.clock.redis_arg(),
            fence_ttl: self.fence_ttl,
            channel: wake_channel(self.redis.keys()),
        }
    }
}
