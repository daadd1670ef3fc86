//! A lock that the service extends for a connected client until the connection ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acquire::AcquiredLease;
use super::acquire_spec::AcquireSpec;
use super::error::LockError;
use super::model::{LockGrant, millis};
use super::service::LockService;
use crate::http::auth::Principal;

impl LockService {
    /// Acquires a lock to be extended; released in the background if it is dropped.
    ///
    /// # Errors
    /// Those of [`LockService::acquire`], other than [`LockError::Invalid`].
    pub(super) async fn hold(self: &Arc<Self>, caller: &Principal, spec: &AcquireSpec) -> Result<HeldLock, LockError> {
        let lease = self.acquire_lease(caller, spec).await?;
        let grant = lease.grant()?;
        let (valid_until, extend_at) = schedule(&grant, spec.ttl);
        Ok(HeldLock { locks: Arc::clone(self), lease, grant, ttl: spec.ttl, valid_until, extend_at })
    }
}

/// A held lock and the schedule of its extensions.
pub(super) struct HeldLock {
    locks: Arc<LockService>,
    lease: AcquiredLease,
    pub grant: LockGrant,
    ttl: Duration,
    valid_until: Instant,
    extend_at: Instant,
}

impl HeldLock {
    /// Resolves when [`HeldLock::extend`] is due: after every third of the lease, sooner after a failure.
    pub(super) async fn extension_due(&self) {
        tokio::time::sleep_until(self.extend_at.min(self.valid_until).into()).await;
    }

    /// Extends the lease. Returns `false` if Redis failed but the lease is still valid, so that another attempt is due.
    ///
    /// # Errors
    /// [`LockError::Lost`] if the holder must not rely on the lock any more.
    pub(super) async fn extend(&mut self) -> Result<bool, LockError> {
        let LockGrant { resource, token, .. } = self.grant.clone();
        let lost = LockError::Lost { resource: resource.clone() };
        let extension = self.locks.extend(resource, token, Some(millis(self.ttl)));
        match tokio::time::timeout_at(self.valid_until.into(), extension).await {
            Ok(Ok(grant)) => {
                (self.valid_until, self.extend_at) = schedule(&grant, self.ttl);
                self.grant = grant;
                Ok(true)
            }
            Ok(Err(LockError::Lost { .. })) | Err(_) => Err(lost),
            Ok(Err(_)) if Instant::now() >= self.valid_until => Err(lost),
            // Redis may recover while the lease lasts.
            Ok(Err(_)) => {
                self.extend_at = Instant::now() + self.ttl / 12;
                Ok(false)
            }
        }
    }

    /// Releases the lock; if that fails, in the background.
    pub(super) async fn release(self) {
        self.locks.release_lease(self.lease).await;
    }
}

/// When a lease ends for its holder, and when its next extension is due.
fn schedule(grant: &LockGrant, ttl: Duration) -> (Instant, Instant) {
    let now = Instant::now();
    (now + Duration::from_millis(grant.validity_ms), now + ttl / 3)
}
