//! The validated request to acquire a lock.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::{LocksConfig, MIN_TTL};
use super::error::LockError;
use super::model::{AcquireAllRequest, AcquireRequest, MAX_TOGETHER, Resource};

/// The largest metadata of a holder, bytes of JSON. Every inspection returns it, so it is no place for data.
const MAX_METADATA: usize = 1_024;

/// A complete request to acquire one lock, within the limits of `[locks]`.
#[derive(Clone, Debug)]
pub(super) struct AcquireSpec {
    pub resource: Resource,
    pub ttl: Duration,
    /// How long to wait in the queue; zero does not wait.
    pub wait: Duration,
    /// Empty if the holder has no name.
    pub owner: String,
    /// JSON, or empty.
    pub metadata: String,
}

impl AcquireSpec {
    /// Completes a request with the defaults of its named lock.
    ///
    /// # Errors
    /// [`LockError::Invalid`] naming the field.
    pub(super) fn new(config: &LocksConfig, resource: Resource, request: AcquireRequest) -> Result<Self, LockError> {
        let named = config.named(resource.as_str());
        let ttl = lease_ttl(config, &resource, request.ttl_ms, named.map(|lock| lock.ttl.duration()))?;
        let wait = match request.wait_ms {
            Some(ms) => Duration::from_millis(ms),
            None => named.map(super::config::NamedLock::wait).unwrap_or_default(),
        };
        let max_wait = config.max_wait;
        if wait > max_wait.duration() {
            let rule = format!("must be at most {}, got {}", max_wait.as_millis(), wait.as_millis());
            return Err(invalid("/wait_ms", rule));
        }
        let metadata = request.metadata.map(|metadata| metadata.text().to_owned()).unwrap_or_default();
        if metadata.len() > MAX_METADATA {
            let rule = format!("must have at most {MAX_METADATA} bytes, got {}", metadata.len());
            return Err(invalid("/metadata", rule));
        }
        Ok(Self { resource, ttl, wait, owner: request.owner.unwrap_or_default(), metadata })
    }

    /// One spec for each resource, sorted by name; none of them waits.
    ///
    /// # Errors
    /// [`LockError::Invalid`] naming the field.
    pub(super) fn all(config: &LocksConfig, request: AcquireAllRequest) -> Result<Vec<Self>, LockError> {
        let AcquireAllRequest { resources, ttl_ms, owner, metadata } = request;
        let count = resources.len();
        if count == 0 || count > MAX_TOGETHER {
            return Err(invalid("/resources", format!("must name 1 to {MAX_TOGETHER} resources, got {count}")));
        }
        let sorted: BTreeSet<Resource> = resources.into_iter().collect();
        if sorted.len() < count {
            return Err(invalid("/resources", "must all be different".to_owned()));
        }
        let one = |resource| {
            let (owner, metadata) = (owner.clone(), metadata.clone());
            Self::new(config, resource, AcquireRequest { ttl_ms: Some(ttl_ms), wait_ms: Some(0), owner, metadata })
        };
        sorted.into_iter().map(one).collect()
    }

    /// The spec for a lock node that lost a lease which a majority still has.
    pub(super) fn restore(resource: &Resource, ttl: Duration) -> Self {
        Self { resource: resource.clone(), ttl, wait: Duration::ZERO, owner: String::new(), metadata: String::new() }
    }
}

/// The lease that an extension asks for.
///
/// # Errors
/// [`LockError::Invalid`] naming the field.
pub(super) fn extension_ttl(
    config: &LocksConfig,
    resource: &Resource,
    ttl_ms: Option<u64>,
) -> Result<Duration, LockError> {
    lease_ttl(config, resource, ttl_ms, config.named(resource.as_str()).map(|lock| lock.extension().duration()))
}

fn lease_ttl(
    config: &LocksConfig,
    resource: &Resource,
    ttl_ms: Option<u64>,
    default: Option<Duration>,
) -> Result<Duration, LockError> {
    let Some(ttl) = ttl_ms.map(Duration::from_millis).or(default) else {
        return Err(invalid("/ttl_ms", "is missing; only named locks have a default".to_owned()));
    };
    let max = config.max_ttl(resource.as_str());
    if ttl < MIN_TTL.duration() || ttl > max.duration() {
        let rule = format!("must be between {} and {}, got {}", MIN_TTL.as_millis(), max.as_millis(), ttl.as_millis());
        return Err(invalid("/ttl_ms", rule));
    }
    Ok(ttl)
}

fn invalid(field: &'static str, rule: String) -> LockError {
    LockError::Invalid { field, rule }
}
