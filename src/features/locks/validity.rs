//! What a holder may rely on of a lease.

use std::time::{Duration, Instant};

use super::error::LockError;
use super::model::{Guarantee, LockGrant, Resource, Token, Votes, millis};
use crate::clock::{Clock, UnixMillis};

/// When Redis was asked for a lease. It begins later, so counting from here is safe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    at: Instant,
    time_of_day: UnixMillis,
}

/// What Redis granted.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub resource: Resource,
    pub token: Token,
    pub fencing_token: u64,
    pub ttl: Duration,
    pub votes: Votes,
    pub guarantee: Guarantee,
}

impl Asked {
    pub(super) fn now(clock: &Clock) -> Self {
        Self { at: Instant::now(), time_of_day: clock.now() }
    }

    /// The grant of a lease: its validity is the lease less the time since we asked, less the drift of clocks.
    ///
    /// # Errors
    /// [`LockError::TooLate`] when nothing is left of it.
    pub(super) fn grant(self, lease: Lease) -> Result<LockGrant, LockError> {
        let safe = lease.ttl.saturating_sub(drift(lease.ttl));
        let valid = safe.saturating_sub(self.at.elapsed());
        if millis(valid) == 0 {
            return Err(LockError::TooLate { resource: lease.resource });
        }
        Ok(LockGrant {
            resource: lease.resource,
            token: lease.token,
            fencing_token: lease.fencing_token,
            ttl_ms: millis(lease.ttl),
            validity_ms: millis(valid),
            expires_at: self.time_of_day + UnixMillis::try_from(millis(safe)).unwrap_or(UnixMillis::MAX),
            guarantee: lease.guarantee,
            nodes: lease.votes,
        })
    }
}

/// How far clocks may run apart during a lease: 1 %, and 2 ms for the granularity of Redis's expiry.
///
/// Source: Redis documentation, "Distributed Locks with Redis", and the reference implementations of Redlock.
pub(super) fn drift(ttl: Duration) -> Duration {
    ttl / 100 + Duration::from_millis(2)
}
