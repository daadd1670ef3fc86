//! The stampede guard: of many callers that miss, one rebuilds.
//!
//! The others get the expired value's copy where the policy keeps one, else they wait a little for the new value.
//! A lease ends when its time is over, or with any write or deletion of the value, so that a slow rebuilder cannot
//! bring back what was meanwhile replaced.
//!
//! Source: Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, section 3.2.1 (leases).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error::CacheError;
use super::keys::Place;
use super::metrics::Success;
use super::model::Millis;
use super::scripts::{self, LeaseReply};
use super::service::{CacheService, Hit};
use super::value::StoredValue;
use crate::http::problem::Location;
use crate::random;

/// Values that come and go between the read and the lease make both start again, this often.
const ATTEMPTS: u32 = 8;
/// A waiting caller looks after this time, then after twice as much ...
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// ... up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl CacheService {
    /// Reads a value, or takes or awaits the lease to rebuild it.
    ///
    /// # Errors
    /// - [`CacheError::Leased`] for the one caller that should rebuild the value.
    /// - [`CacheError::Rebuilding`] when another caller does and the value did not come within `cache.lease_wait`.
    pub(super) async fn read_under_lease(
        &self,
        place: &Place,
        touch: Option<Millis>,
        lease: Millis,
    ) -> Result<Hit, CacheError> {
        let max = self.config.lease_max.as_millis();
        if lease.get() > max {
            let pointer = "/lease_ms".to_owned();
            return Err(CacheError::TooLong { location: Location::Query, pointer, ms: lease.get(), max });
        }
        // Without a token nobody can be given the lease: then everybody rebuilds.
        let token = random::token().map_err(|_| CacheError::Miss)?;
        for _ in 0..ATTEMPTS {
            if let Some(hit) = self.read(place, touch).await? {
                return Ok(hit);
            }
            let asked = self.redis.call(&scripts::Lease { place, token: &token, ttl: lease.get() }).await;
            match asked.map_err(CacheError::from).inspect_err(|error| self.metrics.lease.failed(error))? {
                LeaseReply::Granted => {
                    self.metrics.lease.succeeded();
                    return Err(CacheError::Leased { token });
                }
                LeaseReply::Exists => {}
                LeaseReply::Held { remaining, stale } => {
                    let waited = self.stale_or_awaited(place, touch, stale, remaining).await;
                    return self
                        .metrics
                        .lease
                        .count(waited, |hit| if hit.stale { Success::Stale } else { Success::Hit });
                }
            }
        }
        Err(CacheError::Contended)
    }

    async fn stale_or_awaited(
        &self,
        place: &Place,
        touch: Option<Millis>,
        stale: Option<Vec<u8>>,
        remaining: u64,
    ) -> Result<Hit, CacheError> {
        if let Some(raw) = stale {
            let value = StoredValue::decode(Bytes::from(raw)).map_err(|_| CacheError::NotOurs)?;
            let tags = value.tags();
            if tags.is_empty() || self.are_current(&tags, None).await? {
                return Ok(Hit { value, ttl: None, stale: true });
            }
        }
        let deadline = Instant::now() + self.config.lease_wait.duration();
        let mut pause = FIRST_PAUSE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CacheError::Rebuilding { retry_after: Duration::from_millis(remaining) });
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Some(hit) = self.read(place, touch).await? {
                return Ok(hit);
            }
        }
    }
}
