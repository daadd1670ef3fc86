//! The operation: acquire one lock immediately or from the queue, or several together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::acquire_spec::AcquireSpec;
use super::error::LockError;
use super::local_waiters::ticket_name;
use super::metrics::Attempt;
use super::model::{AcquireAllRequest, AcquireRequest, LockGrant, Resource, Token, Votes};
use super::release_guard::{LeaseState, PendingLease, Release};
use super::scripts::{AcquireOutcome, Ownership, QueueEntry};
use super::service::LockService;
use super::validity::RequestTime;
use crate::http::auth::Principal;
use crate::redis::{FaultKind, Outcome, RedisFault, durability};
use crate::telemetry::episodes;

impl LockService {
    /// Leases a resource to a new random token, and waits in the queue if the request says so.
    ///
    /// Cost: one script call. A waiter calls again when it is woken, not in a loop. The lease runs from the moment when
    /// Redis stores it, so the grant's validity is the lease minus that call's round trip and minus 1 % + 2 ms for
    /// clock drift.
    ///
    /// # Errors
    /// - [`LockError::Invalid`] if a field of the request breaks a rule.
    /// - [`LockError::Held`] if another client holds the lock, or is ahead in the queue, until the wait is over.
    /// - [`LockError::TooManyWaiters`] if the lock is held and the caller cannot wait; [`LockError::Interrupted`] if the replica stops.
    /// - [`LockError::TooLate`] if the round trip took the whole lease.
    /// - [`LockError::Unavailable`] if too few lock nodes agreed.
    /// - [`LockError::NotReplicated`] if too few replicas had the lease; it was released.
    /// - [`LockError::Redis`] if Redis failed. A lease that may have been granted is released in the background.
    ///
    /// Source: Redis documentation, "Distributed Locks with Redis"; the queue is our own.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        caller: &Principal,
        resource: Resource,
        request: AcquireRequest,
    ) -> Result<LockGrant, LockError> {
        let spec = AcquireSpec::new(&self.config, resource, request)?;
        let lease = self.acquire_lease(caller, &spec).await?;
        let grant = lease.grant()?;
        lease.pending.keep();
        Ok(grant)
    }

    /// What is left of the grants of an earlier request, in their order; `None` if one of the leases has ended.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if too few lock nodes responded; [`LockError::Redis`] if Redis failed.
    pub(super) async fn still_held(&self, first: &[LockGrant]) -> Result<Option<Vec<LockGrant>>, LockError> {
        let requested = RequestTime::now(&self.clock);
        let mut grants = Vec::with_capacity(first.len());
        for grant in first {
            let Ownership::Held(lease) = self.backend.lease(&grant.resource, &grant.token).await? else {
                return Ok(None);
            };
            // A lease without validity ends before its holder could use it.
            let Ok(rest) = requested.rest(grant, lease.remaining, lease.votes) else { return Ok(None) };
            grants.push(rest);
        }
        Ok(Some(grants).filter(|grants| !grants.is_empty()))
    }

    /// Leases every resource or none, without waiting. They are acquired in the order of their names, so of several
    /// clients that want some of the same locks, one always succeeds.
    ///
    /// # Errors
    /// Those of [`LockService::acquire`]. Every lock that was acquired before the error is
    /// released.
    pub(super) async fn acquire_all(
        self: &Arc<Self>,
        caller: &Principal,
        request: AcquireAllRequest,
    ) -> Result<Vec<LockGrant>, LockError> {
        let specs = AcquireSpec::all(&self.config, request)?;
        let mut leases = Vec::with_capacity(specs.len());
        let acquired = async {
            for spec in &specs {
                leases.push(self.acquire_lease(caller, spec).await?);
            }
            // The first lease has aged while the last one was acquired, so validity is calculated now.
            leases.iter().map(AcquiredLease::grant).collect::<Result<Vec<_>, LockError>>()
        };
        let mut grants = acquired.await;
        if grants.is_ok() {
            for lease in leases {
                lease.pending.keep();
            }
        } else {
            let released = join_all(leases.into_iter().map(|lease| self.release_lease(lease))).await;
            // A lease that is released later, in the background, is a change that others see.
            if let Err(LockError::Redis(fault)) = &grants
                && released.contains(&false)
            {
                grants = Err(fault.clone().partly_applied().into());
            }
        }
        grants
    }

    /// Acquires a lease that is released when it is dropped.
    ///
    /// # Errors
    /// Those of [`LockService::acquire`], other than [`LockError::Invalid`] and [`LockError::TooLate`].
    pub(super) async fn acquire_lease(
        self: &Arc<Self>,
        caller: &Principal,
        spec: &AcquireSpec,
    ) -> Result<AcquiredLease, LockError> {
        let mut attempt = self.metrics.attempt();
        let acquired = if spec.wait.is_zero() {
            self.acquire_immediately(spec).await
        } else {
            self.acquire_from_queue(caller, spec, &mut attempt).await
        };
        let acquired = match acquired {
            Ok(lease) if durability::is_unmet() => {
                self.release_lease(lease).await;
                Err(LockError::NotReplicated { resource: spec.resource.clone() })
            }
            other => other,
        };
        attempt.finish(&acquired);
        acquired
    }

    /// Releases a lease, and returns whether it is released; if not, the release queue retries in the background.
    pub(super) async fn release_lease(&self, mut acquired: AcquiredLease) -> bool {
        let release = &mut acquired.pending.release;
        let Ok(ownership) = self.backend.release(&release.resource, &release.token, None).await else { return false };
        release.state = LeaseState::NotHeld;
        if let Ownership::Held(ends_us) = ownership {
            self.metrics.released.inc();
            self.index.released(release.resource.clone(), ends_us);
        }
        true
    }

    async fn acquire_immediately(self: &Arc<Self>, spec: &AcquireSpec) -> Result<AcquiredLease, LockError> {
        let (pending, outcome) = self.attempt(self.pending_lease(spec)?, spec, None).await?;
        match outcome {
            AcquireOutcome::Granted { fence, votes, .. } => Ok(AcquiredLease { pending, fence, votes }),
            AcquireOutcome::Held { remaining } | AcquireOutcome::Queued { remaining, .. } => Err(held(spec, remaining)),
            AcquireOutcome::QueueFull => Err(LockError::TooManyWaiters),
        }
    }

    async fn acquire_from_queue(
        self: &Arc<Self>,
        caller: &Principal,
        spec: &AcquireSpec,
        attempt: &mut Attempt<'_>,
    ) -> Result<AcquiredLease, LockError> {
        let deadline = Instant::now() + spec.wait;
        let mut spec = spec.clone();
        let mut entry = QueueEntry { ticket: ticket_name().map_err(no_randomness)?, arrival: 0 };
        let queue = self.backend.queue_name(&spec.resource);
        // Before the first attempt, so that no wake-up is missed.
        // A client that may not wait still acquires a free lock.
        let Some(waiter) = self.waiters.join(caller, &queue, &entry.ticket) else {
            return match self.acquire_immediately(&spec).await {
                Err(LockError::Held { .. }) => Err(LockError::TooManyWaiters),
                acquired => acquired,
            };
        };
        let mut pending = self.pending_lease(&spec)?;
        loop {
            spec.wait = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let (again, outcome) = self.attempt(pending, &spec, Some(&entry)).await?;
            pending = again;
            let remaining = match outcome {
                AcquireOutcome::Granted { fence, votes, .. } => return Ok(AcquiredLease { pending, fence, votes }),
                AcquireOutcome::QueueFull => return Err(LockError::TooManyWaiters),
                AcquireOutcome::Held { remaining } => remaining,
                AcquireOutcome::Queued { remaining, entry: given } => {
                    entry = given;
                    remaining
                }
            };
            attempt.record_wait();
            waiter.note_remaining(remaining);
            tokio::select! {
                () = waiter.woken() => {}
                () = tokio::time::sleep_until(deadline.into()) => return Err(held(&spec, remaining)),
                () = self.phase.draining() => return Err(LockError::Interrupted),
            }
        }
    }

    /// Makes one attempt. It runs to its end even if the client disconnects, and then releases what it was granted.
    async fn attempt(
        self: &Arc<Self>,
        pending: PendingLease,
        spec: &AcquireSpec,
        entry: Option<&QueueEntry>,
    ) -> Result<(PendingLease, AcquireOutcome), LockError> {
        let (sender, receiver) = oneshot::channel();
        let (this, spec, entry) = (Arc::clone(self), spec.clone(), entry.cloned());
        let attempt = durability::carry(async move { this.attempt_to_the_end(pending, &spec, entry.as_ref()).await });
        self.tasks.spawn_connection(async move {
            // If the receiver is gone, the pending lease is dropped here, after its state is known.
            let _ = sender.send(attempt.await);
        });
        match receiver.await {
            Ok(carried) => carried.learn(),
            Err(_) => Err(RedisFault::new(FaultKind::Internal, Outcome::Unknown).into()),
        }
    }

    async fn attempt_to_the_end(
        &self,
        mut pending: PendingLease,
        spec: &AcquireSpec,
        entry: Option<&QueueEntry>,
    ) -> Result<(PendingLease, AcquireOutcome), LockError> {
        pending.requested = RequestTime::now(&self.clock);
        let release = &mut pending.release;
        release.state = LeaseState::Unknown;
        let outcome = self.backend.acquire(spec, &release.token, entry).await.inspect_err(|error| {
            if matches!(error, LockError::Redis(fault) if fault.outcome == Outcome::NotApplied) {
                release.state = LeaseState::NotHeld;
            }
        })?;
        release.state = LeaseState::NotHeld;
        match &outcome {
            AcquireOutcome::Granted { ends_us, .. } => {
                (release.state, release.ticket) = (LeaseState::Held, None);
                if let Some(ends_us) = *ends_us {
                    self.index.granted(spec.resource.clone(), ends_us, spec.ttl);
                }
            }
            AcquireOutcome::Held { remaining } => self.report_overlong(&spec.resource, *remaining),
            AcquireOutcome::Queued { entry, .. } => release.ticket = Some(entry.ticket.clone()),
            AcquireOutcome::QueueFull => {}
        }
        Ok((pending, outcome))
    }

    fn pending_lease(&self, spec: &AcquireSpec) -> Result<PendingLease, LockError> {
        let token = Token::random().map_err(no_randomness)?;
        Ok(self.releases.pending(spec, token, RequestTime::now(&self.clock)))
    }

    /// Reports a lease that lasts longer than any that this service grants: a clock jumped back, or another program
    /// acquired it. A lease that never expires is certainly another program's.
    fn report_overlong(&self, resource: &Resource, remaining: Option<Duration>) {
        let longest = self.config.longest_lease();
        if let Some(remaining) = remaining.filter(|remaining| *remaining > longest) {
            self.metrics.overlong.inc();
            if let Some(repeated) = episodes::next("overlong lease") {
                tracing::warn!(%resource, ?remaining, repeated, "lease is longer than any that this service grants");
            }
        }
    }
}

/// A lease that the service holds for a client; released in the background when dropped.
#[derive(Debug)]
pub(super) struct AcquiredLease {
    pending: PendingLease,
    fence: u64,
    votes: Votes,
}

impl AcquiredLease {
    /// The grant, with the validity that is left at this moment.
    ///
    /// # Errors
    /// [`LockError::TooLate`] if nothing is left of the lease.
    pub(super) fn grant(&self) -> Result<LockGrant, LockError> {
        let Release { resource, token, ttl, .. } = &self.pending.release;
        self.pending.requested.grant(resource, token, *ttl, self.fence, self.votes)
    }
}

fn held(spec: &AcquireSpec, remaining: Option<Duration>) -> LockError {
    LockError::Held { resource: spec.resource.clone(), remaining }
}

fn no_randomness(error: getrandom::Error) -> LockError {
    LockError::Redis(RedisFault::new(FaultKind::Internal, Outcome::NotApplied).caused_by(error))
}
