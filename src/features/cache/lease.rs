//! The stampede guard: if many clients miss, one of them rebuilds the value.
//!
//! The others receive a copy of the expired value if the policy keeps one; otherwise they wait briefly for the new
//! value. A lease ends when it expires, and with any write or deletion of the value, so a slow client cannot restore an
//! outdated value. Its token contains the time at which it was granted: a client whose value has a tag that was
//! invalidated after this time has lost the lease, too.
//!
//! Source: Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, section 3.2.1 (leases).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error::CacheError;
use super::keys::EntryKeys;
use super::model::Millis;
use super::scripts::{self, LeaseReply};
use super::service::{CacheService, Hit, Lookup};
use super::stored_value::StoredValue;
use crate::http::problem::Location;
use crate::random;

/// The longest lease, milliseconds: a client that dies makes the others wait for at most this long.
pub(super) const LONGEST_LEASE: u64 = 60_000;
/// How often the read starts again if values appear and disappear between the read and the lease.
const ATTEMPTS: u32 = 8;
/// How long a client waits for the client that rebuilds, if there is no stale value: many rebuilds take less, and a
/// longer wait would keep the connections of all other clients busy.
const MAX_WAIT: Duration = Duration::from_millis(250);
/// A waiting client checks after this time, then after twice as long ...
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// ... up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// When the lease with this token was granted, on Redis's clock in microseconds.
pub(super) fn granted_at(token: &str) -> Option<u64> {
    u64::from_str_radix(token.get(..14)?, 16).ok()
}

impl CacheService {
    /// Reads a value. On a miss, acquires the lease to rebuild it, or waits for the client that has the lease.
    ///
    /// # Errors
    /// - [`CacheError::Leased`] for the one client that should rebuild the value.
    /// - [`CacheError::Rebuilding`] if another client has the lease and no value arrives within [`MAX_WAIT`].
    pub(super) async fn read_under_lease(
        &self,
        entry: &EntryKeys,
        touch: Option<Millis>,
        lease: Millis,
    ) -> Result<Hit, CacheError> {
        if lease.get() > LONGEST_LEASE {
            let rule = format!("must be at most {LONGEST_LEASE}, got {}", lease.get());
            return Err(CacheError::Invalid { location: Location::Query, pointer: "/lease_ms".to_owned(), rule });
        }
        // Without randomness no lease can be granted: every client rebuilds.
        let random = random::token().map_err(|_| CacheError::Miss)?;
        for _ in 0..ATTEMPTS {
            match self.look(entry, touch).await? {
                // No client can rebuild what the source does not have.
                Lookup::RememberedAbsent(..) => return Err(CacheError::Miss),
                look => {
                    if let Some(hit) = self.hit(entry, look).await {
                        return Ok(hit);
                    }
                }
            }
            let waited = match self.redis.call(scripts::lease(entry, &random, lease.get())).await {
                Ok(LeaseReply::Exists) => continue,
                Ok(LeaseReply::Granted { token }) => {
                    self.metrics.increase("lease", "ok");
                    return Err(CacheError::Leased { token });
                }
                Ok(LeaseReply::Held { remaining, stale }) => {
                    self.stale_or_awaited(entry, touch, stale, remaining).await
                }
                Err(fault) => Err(fault.into()),
            };
            return self.metrics.count("lease", waited, Hit::label);
        }
        Err(CacheError::Contended)
    }

    async fn stale_or_awaited(
        &self,
        entry: &EntryKeys,
        touch: Option<Millis>,
        stale: Option<Vec<u8>>,
        remaining: u64,
    ) -> Result<Hit, CacheError> {
        if let Some(raw) = stale {
            let value = StoredValue::decode(Bytes::from(raw))?;
            let tags = value.tags();
            if tags.is_empty() || self.are_current(&tags, None).await? {
                return Ok(Hit { value, ttl: None, stale: true });
            }
        }
        let deadline = Instant::now() + MAX_WAIT;
        let mut pause = FIRST_PAUSE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CacheError::Rebuilding { retry_after: Duration::from_millis(remaining) });
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Some(hit) = self.read(entry, touch).await? {
                return Ok(hit);
            }
        }
    }
}
