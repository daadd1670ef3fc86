//! How long a holder may rely on its lease.

use std::time::{Duration, Instant};

use super::error::LockError;
use super::model::{LockGrant, Resource, Token, Votes, millis};
use crate::clock::{Clock, UnixMillis};

/// When the service asked Redis for a lease. Redis starts the lease later, so counting from here is safe.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestTime {
    at: Instant,
    unix: UnixMillis,
}

impl RequestTime {
    pub(super) fn now(clock: &Clock) -> Self {
        Self { at: Instant::now(), unix: clock.now() }
    }

    /// The grant of a lease that Redis granted or extended for this request. Its validity is the lease minus the time
    /// since the request and minus the drift of clocks.
    ///
    /// # Errors
    /// [`LockError::TooLate`] if nothing is left of the lease.
    pub(super) fn grant(
        self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
        fencing_token: u64,
        votes: Votes,
    ) -> Result<LockGrant, LockError> {
        self.grant_for(resource, token, ttl, ttl.saturating_sub(drift(ttl)), fencing_token, votes)
    }

    /// What is left of an earlier grant whose lease lasts `remaining` longer. The drift is that of the whole lease, so
    /// it ends when `first` said.
    ///
    /// # Errors
    /// [`LockError::TooLate`] if nothing is left of the lease.
    pub(super) fn rest(self, first: &LockGrant, remaining: Duration, votes: Votes) -> Result<LockGrant, LockError> {
        let lease = remaining.max(Duration::from_millis(first.ttl_ms));
        let safe = remaining.saturating_sub(drift(lease));
        self.grant_for(&first.resource, &first.token, remaining, safe, first.fencing_token, votes)
    }

    /// A grant on which the holder may rely for `safe` since the request.
    fn grant_for(
        self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
        safe: Duration,
        fencing_token: u64,
        votes: Votes,
    ) -> Result<LockGrant, LockError> {
        let valid = safe.saturating_sub(self.at.elapsed());
        if millis(valid) == 0 {
            return Err(LockError::TooLate { resource: resource.clone() });
        }
        Ok(LockGrant {
            resource: resource.clone(),
            token: token.clone(),
            fencing_token,
            ttl_ms: millis(ttl),
            validity_ms: millis(valid),
            expires_at: self.unix + UnixMillis::try_from(millis(safe)).unwrap_or(UnixMillis::MAX),
            guarantee: votes.guarantee(),
            nodes: votes,
        })
    }
}

/// How far clocks may drift apart during a lease: 1 %, and 2 ms for the granularity of expiry in Redis.
///
/// Source: Redis documentation, "Distributed Locks with Redis", and the reference implementations of Redlock.
pub(super) fn drift(ttl: Duration) -> Duration {
    ttl / 100 + Duration::from_millis(2)
}
