//! Which Redis servers keep the locks: the one of the state role, or a majority of lock nodes.

use std::time::Duration;

use super::acquire::{AcquireOutcome, AcquireSpec, WaitMode};
use super::config::LocksConfig;
use super::error::LockError;
use super::keys;
use super::leases::Leases;
use super::model::{Guarantee, Resource, Token};
use super::redlock::Redlock;
use super::scripts::{Extension, ForcedRelease, Inspection, Ownership};
use crate::deps::Deps;
use crate::redis::{EndpointError, LuaScript, RedisFault};

/// Keeps the leases of all locks.
#[derive(Clone, Debug)]
pub(super) enum LockBackend {
    StateRole(Leases),
    LockNodes(Redlock),
}

impl LockBackend {
    /// # Errors
    /// [`EndpointError`] if the address of a lock node is not usable.
    pub(super) fn new(
        deps: &Deps,
        config: &LocksConfig,
        scripts: &[&'static LuaScript],
    ) -> Result<Self, EndpointError> {
        let state_role = |prefix| Leases::new(&deps.redis.state, prefix, &deps.clock, config);
        if config.nodes.is_empty() {
            return Ok(Self::StateRole(state_role(keys::LOCK)));
        }
        Redlock::new(state_role(keys::ADMISSION), deps, config, scripts).map(Self::LockNodes)
    }

    /// The failures that a grant survives.
    pub(super) fn guarantee(&self) -> Guarantee {
        match self {
            Self::LockNodes(nodes) if nodes.count() > 1 => Guarantee::Majority,
            _ => Guarantee::SingleNodeLease,
        }
    }

    /// The name by which wake-up messages refer to a lock's queue.
    pub(super) fn queue_name(&self, resource: &Resource) -> String {
        let (Self::StateRole(queue) | Self::LockNodes(Redlock { queue, .. })) = self;
        queue.keys(resource).lease.as_str().to_owned()
    }

    pub(super) async fn acquire(
        &self,
        spec: &AcquireSpec,
        token: &Token,
        wait_mode: &WaitMode,
    ) -> Result<AcquireOutcome, LockError> {
        match self {
            Self::StateRole(leases) => Ok(leases.acquire(spec, token, wait_mode).await?),
            Self::LockNodes(nodes) => nodes.acquire(spec, token, wait_mode).await,
        }
    }

    pub(super) async fn extend(
        &self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
    ) -> Result<Ownership<Extension>, LockError> {
        match self {
            Self::StateRole(leases) => Ok(leases.extend(resource, token, ttl).await?),
            Self::LockNodes(nodes) => nodes.extend(resource, token, ttl).await,
        }
    }

    /// Releases by token, and removes the ticket from the queue. Returns [`Extension::ends_us`] of the lease.
    pub(super) async fn release(
        &self,
        resource: &Resource,
        token: &Token,
        ticket: Option<&str>,
    ) -> Result<Ownership<Option<u64>>, LockError> {
        match self {
            Self::StateRole(leases) => Ok(leases.release(resource, token, ticket).await?),
            Self::LockNodes(nodes) => nodes.release(resource, token, ticket).await,
        }
    }

    pub(super) async fn force_release(&self, resource: &Resource) -> Result<ForcedRelease, LockError> {
        match self {
            Self::StateRole(leases) => Ok(leases.force_release(resource).await?),
            Self::LockNodes(nodes) => nodes.force_release(resource).await,
        }
    }

    pub(super) async fn inspect(&self, resource: &Resource) -> Result<Inspection, LockError> {
        match self {
            Self::StateRole(leases) => Ok(leases.inspect(resource).await?),
            Self::LockNodes(nodes) => nodes.inspect(resource).await,
        }
    }

    /// Inspects many locks in one round trip to the state role, which does not know the fences of locks on lock nodes.
    pub(super) async fn inspect_all(&self, resources: &[Resource]) -> Result<Vec<Inspection>, RedisFault> {
        match self {
            Self::StateRole(leases) => leases.inspect_all(resources).await,
            Self::LockNodes(Redlock { queue, .. }) => {
                let mut inspections = queue.inspect_all(resources).await?;
                for lock in &mut inspections {
                    lock.fence = None;
                }
                Ok(inspections)
            }
        }
    }
}
