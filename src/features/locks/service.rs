//! The lock service: at most one holder at a time, for a bounded time, as far as Redis can know.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::acquire_spec::extension_ttl;
use super::backend::LockBackend;
use super::config::LocksConfig;
use super::error::LockError;
use super::index::{IndexCursor, LockIndex};
use super::keys::wake_channel;
use super::local_waiters::LocalWaiters;
use super::metrics::LockMetrics;
use super::model::{LockGrant, LockState, LockStats, Resource, Token, millis};
use super::release_guard::ReleaseQueue;
use super::scripts::{Inspection, Ownership};
use super::validity::RequestTime;
use crate::clock::{Clock, UnixMillis};
use crate::config::http::HttpConfig;
use crate::deps::Deps;
use crate::http::portable_json::ObjectText;
use crate::http::reply::Page;
use crate::http::slots::Slots;
use crate::lifecycle::{Phase, Tasks};
use crate::redis::{EndpointError, ListenerChange};

/// The most sockets that hold locks or wait for them at one replica: each takes about 14 KB. One credential has half of them.
const MAX_HOLDS: usize = 6_000;

/// Grants, extends, releases and lists locks. Acquiring is in `acquire.rs`, holding in `hold.rs`.
#[derive(Debug)]
pub(super) struct LockService {
    pub(super) config: LocksConfig,
    pub(super) backend: LockBackend,
    pub(super) releases: Arc<ReleaseQueue>,
    pub(super) index: LockIndex,
    pub(super) waiters: Arc<LocalWaiters>,
    pub(super) metrics: LockMetrics,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) phase: Phase,
    /// The origins whose pages may open sockets.
    pub(super) origins: Vec<String>,
    /// The open sockets that hold locks or wait for them.
    pub(super) holds: Slots,
    since: UnixMillis,
}

impl LockService {
    /// # Errors
    /// [`EndpointError`] if the address of a lock node is not usable.
    pub(super) fn new(deps: &Deps, config: LocksConfig, http: HttpConfig) -> Result<Arc<Self>, EndpointError> {
        let redis = deps.redis.state.clone();
        let metrics = LockMetrics::new(&deps.metrics);
        let backend = LockBackend::new(deps, &config)?;
        let (index, changes) = LockIndex::new(&redis, &deps.clock, &config, &metrics);
        let (releases, pending) = ReleaseQueue::new(&backend, &index, &metrics);
        let waiters =
            LocalWaiters::new(config.waiters, config.queue_limit, config.recheck.duration(), metrics.waiting.clone());
        let (writer, worker, receiver) = (index.clone(), Arc::clone(&releases), Arc::clone(&waiters));
        deps.tasks.plan("locks.index", |stop| writer.write_changes(changes, stop));
        deps.tasks.plan("locks.returns", |stop| worker.finish_all(pending, stop));
        deps.tasks.plan("locks.wake", move |stop| async move {
            let (follow, mut changes) = mpsc::unbounded_channel();
            // The receiver lives as long as the sender: both end with this task.
            let _ = follow.send(ListenerChange::Subscribe(wake_channel(redis.keys())));
            redis.listen(&mut changes, stop, |news| receiver.receive(&news)).await;
        });
        Ok(Arc::new(Self {
            config,
            backend,
            releases,
            index,
            waiters,
            metrics,
            origins: http.cors_origins,
            holds: Slots::new(http.max_connections.min(MAX_HOLDS)),
            since: deps.clock.now(),
            clock: deps.clock.clone(),
            tasks: deps.tasks.clone(),
            phase: deps.phase.clone(),
        }))
    }

    /// Extends a lease to `ttl_ms` from now, or to the default of the named lock. A lease is never shortened.
    ///
    /// # Errors
    /// - [`LockError::Lost`] if the token no longer holds the lock.
    /// - [`LockError::Invalid`] if the TTL is missing or out of range; [`LockError::TooLate`] as for a grant.
    /// - [`LockError::Unavailable`], [`LockError::Redis`]: the lease may have been extended.
    pub(super) async fn extend(
        &self,
        resource: Resource,
        token: Token,
        ttl_ms: Option<u64>,
    ) -> Result<LockGrant, LockError> {
        let ttl = extension_ttl(&self.config, &resource, ttl_ms)?;
        let requested = RequestTime::now(&self.clock);
        let Ownership::Held(extension) = self.backend.extend(&resource, &token, ttl).await? else {
            self.metrics.lost.inc();
            return Err(LockError::Lost { resource });
        };
        self.metrics.extended.inc();
        if let Some(ends_us) = extension.ends_us {
            self.index.extended(resource.clone(), ends_us);
        }
        requested.grant(&resource, &token, extension.remaining, extension.fence, extension.votes)
    }

    /// Releases a lock.
    ///
    /// # Errors
    /// [`LockError::Lost`] if the lock is free, [`LockError::NotOwned`] if another token holds it;
    /// [`LockError::Unavailable`], [`LockError::Redis`].
    pub(super) async fn release(&self, resource: Resource, token: &Token) -> Result<(), LockError> {
        match self.backend.release(&resource, token, None).await? {
            Ownership::Held(ends_us) => {
                self.metrics.released.inc();
                self.index.released(resource, ends_us);
                Ok(())
            }
            Ownership::Free => {
                self.metrics.lost.inc();
                Err(LockError::Lost { resource })
            }
            Ownership::Other => Err(LockError::NotOwned { resource }),
        }
    }

    /// Frees a lock regardless of its holder, and writes an audit record; `by` is the client's name.
    ///
    /// # Errors
    /// [`LockError::Unavailable`], [`LockError::Redis`].
    pub(super) async fn force_release(&self, resource: Resource, by: &str) -> Result<(), LockError> {
        let forced = self.backend.force_release(&resource).await?;
        tracing::warn!(
            target: "audit", %resource, by, was_held = forced.was_held, holder = forced.owner, fence = forced.fence,
            "lock freed by force",
        );
        self.metrics.forced.inc();
        self.index.released(resource, forced.ends_us);
        Ok(())
    }

    /// # Errors
    /// [`LockError::Unavailable`], [`LockError::Redis`].
    pub(super) async fn inspect(&self, resource: Resource) -> Result<LockState, LockError> {
        let inspection = self.backend.inspect(&resource).await?;
        Ok(state(resource, inspection))
    }

    /// The next page of held locks. It is shorter than `limit` if listed locks are free again.
    ///
    /// # Errors
    /// [`LockError::Redis`].
    pub(super) async fn list(
        &self,
        limit: usize,
        from: Option<IndexCursor>,
        is_visible: impl Fn(&Resource) -> bool,
    ) -> Result<Page<LockState>, LockError> {
        let (mut resources, next) = self.index.page(limit, from).await?;
        resources.retain(is_visible);
        let inspections = self.backend.inspect_all(&resources).await?;
        let states = resources.into_iter().zip(inspections).map(|(resource, inspection)| state(resource, inspection));
        Ok(Page { items: states.filter(|state| state.held).collect(), next_cursor: next.map(|next| next.to_string()) })
    }

    /// # Errors
    /// [`LockError::Redis`]: Redis counts the held locks.
    pub(super) async fn stats(&self) -> Result<LockStats, LockError> {
        let metrics = &self.metrics;
        Ok(LockStats {
            since: self.since,
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
            held: self.index.held().await?,
        })
    }
}

fn state(resource: Resource, inspection: Inspection) -> LockState {
    let Inspection { waiters, first_arrival, fence, holder } = inspection;
    let mut state = LockState {
        resource,
        held: holder.is_some(),
        owner: None,
        metadata: None,
        acquired_at: None,
        remaining_ms: None,
        fencing_token: fence,
        waiters,
        waiting_since: first_arrival.and_then(|micros| UnixMillis::try_from(micros / 1_000).ok()),
    };
    if let Some(holder) = holder {
        state.owner = Some(holder.owner).filter(|owner| !owner.is_empty());
        state.metadata = ObjectText::stored(&holder.metadata);
        state.acquired_at = holder.acquired_at;
        state.remaining_ms = holder.remaining.map(millis);
    }
    state
}
