//! What a lock promises: one holder at a time, as far as Redis can know, for a bounded time.

use std::sync::Arc;

use super::config::LocksConfig;
use super::error::LockError;
use super::index::{Cursor, Index};
use super::keys::{LeaseKind, wake_channel};
use super::leases::Leases;
use super::metrics::LockMetrics;
use super::model::{
    AcquireAllRequest, AcquireRequest, ExtendRequest, LockGrant, LockState, LockStats, Resource, Token, millis,
};
use super::redlock::Redlock;
use super::scripts::{Inspected, Owned};
use super::stake::Desk;
use super::store::Store;
use super::validity::{Asked, Lease};
use super::waiting::Waiters;
use super::wish::{self, Wish};
use crate::clock::{Clock, UnixMillis};
use crate::deps::Deps;
use crate::http::reply::Page;
use crate::lifecycle::{Phase, Tasks};
use crate::redis::{EndpointError, LuaScript};

#[derive(Clone, Debug)]
pub(super) struct LockService(pub(super) Arc<Inner>);

/// What the service is made of.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: LocksConfig,
    pub(super) leases: Leases,
    pub(super) desk: Desk,
    pub(super) index: Index,
    pub(super) waiters: Waiters,
    pub(super) metrics: LockMetrics,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) phase: Phase,
    since: UnixMillis,
}

impl LockService {
    /// # Errors
    /// The lock node whose address is unusable.
    pub(super) fn new(deps: &Deps, config: LocksConfig, scripts: &[&'static LuaScript]) -> Result<Self, EndpointError> {
        let redis = &deps.redis.state;
        let metrics = LockMetrics::new(&deps.metrics);
        let nodes = Redlock::from_config(deps, &config, scripts)?;
        let kind = if nodes.is_some() { LeaseKind::Turnstile } else { LeaseKind::Lock };
        let leases = Leases::new(Store::new(redis, kind, &deps.clock, &config), nodes);
        let (index, keeper) = Index::new(redis, &deps.clock, &config, &metrics);
        let (desk, returns) = Desk::new(&leases, &index, &metrics);
        let waiters =
            Waiters::new(config.waiters, config.recheck.duration(), config.turn.duration(), metrics.waiting.clone());
        let (redis, ears) = (redis.clone(), waiters.clone());
        deps.tasks.plan("locks.index", |stop| keeper.run(stop));
        deps.tasks.plan("locks.returns", |stop| returns.run(stop));
        deps.tasks.plan("locks.wake", move |stop| async move {
            let channel = wake_channel(redis.keys());
            redis.follow(&channel, stop, |news| ears.hear(&news)).await;
        });
        Ok(Self(Arc::new(Inner {
            config,
            leases,
            desk,
            index,
            waiters,
            metrics,
            since: deps.clock.now(),
            clock: deps.clock.clone(),
            tasks: deps.tasks.clone(),
            phase: deps.phase.clone(),
        })))
    }

    /// Fills in what a request left out and checks it against the limits.
    ///
    /// # Errors
    /// [`LockError::Invalid`] naming the field.
    pub(super) fn wish(&self, resource: Resource, request: AcquireRequest) -> Result<Wish, LockError> {
        Wish::new(&self.0.config, resource, request)
    }

    /// The same for several resources.
    ///
    /// # Errors
    /// [`LockError::Invalid`] naming the field.
    pub(super) fn wishes(&self, request: AcquireAllRequest) -> Result<Vec<Wish>, LockError> {
        wish::together(&self.0.config, request)
    }

    /// Lets a lease last longer, never shorter.
    ///
    /// # Errors
    /// [`LockError::Lost`] when the token no longer holds it, [`LockError::TooLate`], [`LockError::Invalid`],
    /// [`LockError::Redis`].
    pub(super) async fn extend(&self, resource: Resource, request: ExtendRequest) -> Result<LockGrant, LockError> {
        let ttl = wish::extension(&self.0.config, &resource, request.ttl_ms)?;
        let asked = Asked::now(&self.0.clock);
        let (owned, votes) = self.0.leases.extend(&resource, &request.token, ttl).await?;
        let Owned::Mine(extended) = owned else {
            self.0.metrics.lost.inc();
            return Err(LockError::Lost { resource });
        };
        self.0.metrics.extended.inc();
        if let Some(ends) = extended.ends {
            self.0.index.extended(resource.clone(), ends);
        }
        asked.grant(Lease {
            resource,
            token: request.token,
            fencing_token: extended.fence,
            ttl: extended.remaining,
            votes,
            guarantee: self.0.leases.guarantee(),
        })
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// [`LockError::Lost`] when nobody holds the lock, [`LockError::NotOwned`] when another token does,
    /// [`LockError::Redis`].
    pub(super) async fn release(&self, resource: Resource, token: &Token) -> Result<(), LockError> {
        match self.0.leases.release(&resource, token, None).await? {
            Owned::Mine(ends) => {
                self.0.metrics.released.inc();
                self.0.index.released(resource, ends);
                Ok(())
            }
            Owned::Nobody => {
                self.0.metrics.lost.inc();
                Err(LockError::Lost { resource })
            }
            Owned::Other => Err(LockError::NotOwned { resource }),
        }
    }

    /// Frees a lock whoever holds it, and leaves a line in the log; `by` is the caller's name.
    ///
    /// # Errors
    /// [`LockError::Redis`].
    pub(super) async fn force(&self, resource: Resource, by: &str) -> Result<(), LockError> {
        let forced = self.0.leases.force(&resource).await?;
        tracing::warn!(
            target: "audit", %resource, by, was_held = forced.was_held, holder = forced.owner, fence = forced.fence,
            "lock freed by force",
        );
        self.0.metrics.forced.inc();
        self.0.index.released(resource, forced.ends);
        Ok(())
    }

    /// # Errors
    /// [`LockError::Redis`].
    pub(super) async fn inspect(&self, resource: Resource) -> Result<LockState, LockError> {
        let inspected = self.0.leases.inspect(&resource).await?;
        Ok(state(resource, inspected))
    }

    /// The next page of held locks; it can be shorter than `limit` where listed locks are free again.
    ///
    /// # Errors
    /// [`LockError::Redis`].
    pub(super) async fn list(&self, limit: usize, from: Option<Cursor>) -> Result<Page<LockState>, LockError> {
        let (resources, next) = self.0.index.page(limit, from).await?;
        let inspected = self.0.leases.inspect_all(&resources).await?;
        let states = resources.into_iter().zip(inspected).map(|(resource, inspected)| state(resource, inspected));
        Ok(Page { items: states.filter(|state| state.held).collect(), next_cursor: next.map(|next| next.to_string()) })
    }

    /// # Errors
    /// [`LockError::Redis`]: `held` is counted by Redis.
    pub(super) async fn stats(&self) -> Result<LockStats, LockError> {
        let metrics = &self.0.metrics;
        Ok(LockStats {
            since: self.0.since,
            attempts: metrics.attempts(),
            grants: metrics.granted.get(),
            contended: metrics.contended.get(),
            failed: metrics.failed.get(),
            waits: metrics.waits.get_sample_count(),
            waited_ms: millis(metrics.waited()),
            extensions: metrics.extended.get(),
            releases: metrics.released.get(),
            expired: metrics.expired.get(),
            lost: metrics.lost.get(),
            forced: metrics.forced.get(),
            waiting: u64::try_from(metrics.waiting.get()).unwrap_or_default(),
            held: self.0.index.held().await?,
        })
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(super) fn phase(&self) -> &Phase {
        &self.0.phase
    }
}

fn state(resource: Resource, inspected: Inspected) -> LockState {
    let Inspected { waiters, fence, holder } = inspected;
    let mut state = LockState {
        resource,
        held: holder.is_some(),
        owner: None,
        metadata: None,
        acquired_at: None,
        remaining_ms: None,
        fencing_token: fence,
        waiters,
    };
    if let Some(holder) = holder {
        state.owner = Some(holder.owner).filter(|owner| !owner.is_empty());
        state.metadata = serde_json::from_str(&holder.metadata).ok();
        state.acquired_at = holder.acquired_at;
        state.remaining_ms = holder.remaining.map(millis);
    }
    state
}
