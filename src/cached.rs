//! The cache, as capabilities fill it: they look first, then fetch from a source, and write only over what they saw.
//!
//! The cache capability provides it. What was seen is always older than what is fetched afterwards, so a write that loses
//! the comparison gives way to a newer value. An absent value is seen under a lease, which every other write ends.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;

use crate::redis::RedisFault;

/// Fills the cache. Nothing is cached until the cache capability provides it.
#[derive(Clone, Default)]
pub struct Cached(Arc<OnceLock<Box<dyn CachedValues>>>);

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cached")
    }
}

impl Cached {
    /// Provides the cache; the first provider counts.
    pub fn provide(&self, values: Box<dyn CachedValues>) {
        let _ = self.0.set(values);
    }

    /// The cache; `None` until there is a provider.
    pub fn get(&self) -> Option<&dyn CachedValues> {
        self.0.get().map(|values| &**values)
    }
}

/// A key as it was before a fetch.
#[derive(Clone, Debug)]
pub struct Seen {
    pub key: String,
    pub found: Found,
    /// What the cache compares with when it writes.
    pub expected: String,
    /// The lease to fill an absent value.
    pub lease: Option<String>,
    /// The tags under which the value, or the mark of an absent one, was valid. What replaces it keeps them, so that an
    /// invalidation during the fetch counts.
    pub tags: Vec<OpenedTag>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Value(CachedValue),
    /// The source had no such value, and the cache still remembers that.
    RememberedAbsent,
    /// There is no value. With a lease in [`Seen`], its holder is the one that fills it.
    Absent {
        /// The copy of the expired value, if another client holds the lease.
        stale: Option<CachedValue>,
    },
    /// Something that the cache has not written, and does not replace.
    Foreign,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedValue {
    pub content_type: String,
    pub body: Bytes,
    /// Milliseconds left; `None`: it does not expire.
    pub ttl_ms: Option<u64>,
}

/// A tag and its generation, read before the fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedTag {
    pub tag: String,
    pub generation: u64,
}

/// A change of a key that was seen.
#[derive(Clone, Debug)]
pub struct Change {
    pub seen: Seen,
    pub kind: ChangeKind,
}

#[derive(Clone, Debug)]
pub enum ChangeKind {
    /// Store a JSON body for so many milliseconds.
    Put { body: Bytes, ttl_ms: u64 },
    /// Remember for so many milliseconds that the source has no such value.
    Remember { ttl_ms: u64 },
    /// Give the value that was seen a new TTL.
    Touch { ttl_ms: u64 },
    /// Delete the value that was seen.
    Delete,
    /// Give up the lease, so that another client fills the value.
    Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Done,
    /// Another write came first, or the lease has ended: nothing was changed.
    Overtaken,
}

/// How often a key was used in the last minutes, by this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUses {
    pub key: String,
    pub uses: u64,
    /// `uses` differs from the true number by at most this.
    pub error: u64,
}

/// What the cache capability provides.
#[async_trait]
pub trait CachedValues: Send + Sync {
    /// The rule that a key violates.
    fn check_key(&self, key: &str) -> Result<(), String>;

    /// The rule that a tag violates.
    fn check_tag(&self, tag: &str) -> Result<(), String>;

    /// The longest body, bytes, and the longest TTL, milliseconds.
    fn limits(&self) -> (usize, u64);

    /// Whether other services read the key as it is, so that only values may be stored under it.
    fn is_raw(&self, key: &str) -> bool;

    /// Looks at keys, in one round trip for present values. Absent ones get a lease of `lease_ms`, if it is not 0 and no
    /// other client has one.
    async fn look(&self, keys: &[String], lease_ms: u64) -> Result<Vec<Seen>, RedisFault>;

    /// Reads the generations of tags, for values that live for `ttl_ms`. A later invalidation counts for them.
    async fn open_tags(&self, tags: &[String], ttl_ms: u64) -> Result<Vec<OpenedTag>, RedisFault>;

    /// Makes changes; each has its own result. What is stored has `tags` and those that were seen.
    async fn change(
        &self,
        changes: Vec<Change>,
        tags: &[OpenedTag],
    ) -> Result<Vec<Result<Changed, RedisFault>>, RedisFault>;

    /// Stores a JSON body whatever is there, or deletes what is there; ends the leases of clients that fetch.
    async fn replace(&self, key: &str, body: Option<Bytes>, ttl_ms: u64, tags: &[OpenedTag]) -> Result<(), RedisFault>;

    /// Invalidates all values with a tag.
    async fn invalidate(&self, tag: &str) -> Result<(), RedisFault>;

    /// The most used keys that `is_wanted` accepts, the most used first. What is done through this trait does not count.
    fn uses(&self, limit: usize, is_wanted: &dyn Fn(&str) -> bool) -> Vec<KeyUses>;
}
