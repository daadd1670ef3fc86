//! What callers ask for, within the limits of `[locks]`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::LocksConfig;
use super::error::LockError;
use super::model::{AcquireAllRequest, AcquireRequest, MAX_TOGETHER, Metadata, Resource};

/// A request to acquire, complete and within its limits.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub resource: Resource,
    pub ttl: Duration,
    pub wait: Duration,
    /// Empty when the caller gave no name.
    pub owner: String,
    /// JSON, or empty.
    pub metadata: String,
}

impl Wish {
    /// # Errors
    /// [`LockError::Invalid`] naming the field.
    pub(super) fn new(config: &LocksConfig, resource: Resource, request: AcquireRequest) -> Result<Self, LockError> {
        let named = config.named(resource.as_str());
        let ttl = ttl(config, &resource, request.ttl_ms, named.map(|lock| lock.ttl.duration()))?;
        let wait = match request.wait_ms {
            Some(ms) => Duration::from_millis(ms),
            None => named.map(|lock| lock.wait.duration()).unwrap_or_default(),
        };
        if wait > config.max_wait.duration() {
            return Err(invalid("/wait_ms", format!("must be at most {}", config.max_wait.as_millis())));
        }
        let metadata = request.metadata.as_ref().map(text).unwrap_or_default();
        if metadata.len() > config.metadata_limit.as_usize() {
            return Err(invalid("/metadata", format!("must have at most {} bytes", config.metadata_limit.bytes())));
        }
        let owner = request.owner.map(|owner| owner.as_str().to_owned()).unwrap_or_default();
        Ok(Self { resource, ttl, wait, owner, metadata })
    }
}

/// One wish per resource, none of which waits.
///
/// # Errors
/// [`LockError::Invalid`] naming the field.
pub(super) fn together(config: &LocksConfig, request: AcquireAllRequest) -> Result<Vec<Wish>, LockError> {
    let AcquireAllRequest { resources, ttl_ms, owner, metadata } = request;
    if resources.is_empty() || resources.len() > MAX_TOGETHER {
        return Err(invalid("/resources", format!("must name 1 to {MAX_TOGETHER} resources")));
    }
    let different: BTreeSet<&Resource> = resources.iter().collect();
    if different.len() < resources.len() {
        return Err(invalid("/resources", "must all be different".to_owned()));
    }
    let one = |resource| {
        let (owner, metadata) = (owner.clone(), metadata.clone());
        Wish::new(config, resource, AcquireRequest { ttl_ms: Some(ttl_ms), wait_ms: Some(0), owner, metadata })
    };
    resources.into_iter().map(one).collect()
}

/// The lease that an extension asks for.
///
/// # Errors
/// [`LockError::Invalid`] naming the field.
pub(super) fn extension(config: &LocksConfig, resource: &Resource, given: Option<u64>) -> Result<Duration, LockError> {
    ttl(config, resource, given, config.named(resource.as_str()).map(|lock| lock.extension.duration()))
}

fn ttl(
    config: &LocksConfig,
    resource: &Resource,
    given: Option<u64>,
    default: Option<Duration>,
) -> Result<Duration, LockError> {
    let max = config.named(resource.as_str()).map_or(config.max_ttl, |lock| lock.max_ttl);
    let Some(ttl) = given.map(Duration::from_millis).or(default) else {
        return Err(invalid("/ttl_ms", "is missing; only named locks have a default".to_owned()));
    };
    if ttl < config.min_ttl.duration() || ttl > max.duration() {
        let (min, max) = (config.min_ttl.as_millis(), max.as_millis());
        return Err(invalid("/ttl_ms", format!("must be from {min} to {max}")));
    }
    Ok(ttl)
}

/// JSON of an object; maps of values always serialise.
fn text(metadata: &Metadata) -> String {
    serde_json::to_string(metadata).unwrap_or_default()
}

fn invalid(field: &'static str, rule: String) -> LockError {
    LockError::Invalid { field, rule }
}
