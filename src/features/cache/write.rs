//! Writes of single values.
//!
//! A write with a condition is a compare-and-swap: the service reads the value and checks the condition, and the script
//! acts only if exactly the same bytes are still stored. Every other write takes one round trip.
//!
//! A client with a fencing token passes the value's fence in the script that writes. If a read comes first, the fence
//! is passed before the read as well, so that a client whose lock is over learns that before anything else.

use bytes::Bytes;

use super::error::CacheError;
use super::keys::EntryKeys;
use super::metrics::Success;
use super::model::{CacheKey, Millis, Tags};
use super::scripts::{self, Expected};
use super::service::{CacheService, Hit, Lookup, effective_ttl};
use super::stored_value::{ContentType, StoredValue};
use crate::http::conditional::{ETag, Preconditions};
use crate::http::problem::Location;
use crate::redis::{Batch, Fence, FencingToken, Outcome, RedisFault};

/// How often a compare-and-swap is tried; each failure means that another write succeeded.
pub(super) const ATTEMPTS: u32 = 8;

/// A value to store.
#[derive(Debug)]
pub(super) struct PutOptions {
    pub content_type: ContentType,
    pub body: Bytes,
    pub tags: Tags,
    pub ttl: Option<Millis>,
    /// Keep the remaining TTL of the value that is replaced; `ttl` applies if there is none.
    pub keep_ttl: bool,
    pub conditions: Preconditions,
    /// The lease under which the value was rebuilt.
    pub lease: Option<String>,
    pub token: Option<FencingToken>,
}

/// The result of storing a value.
#[derive(Debug)]
pub(super) struct StoredInfo {
    pub created: bool,
    /// Milliseconds left; `None`: no expiry.
    pub ttl: Option<u64>,
    pub etag: ETag,
}

impl CacheService {
    /// Stores a value: one round trip if there are no tags and no conditions.
    ///
    /// The TTL is the request's, or the policy's; with `keep_ttl`, the remaining TTL of the existing value.
    ///
    /// # Errors
    /// - [`CacheError::PreconditionFailed`], [`CacheError::LeaseLost`], [`CacheError::Invalid`]: nothing was stored.
    /// - [`CacheError::Contended`] if the value changed [`ATTEMPTS`] times between reading and options.
    /// - [`CacheError::Redis`], whose outcome says whether the value may have been stored.
    pub(super) async fn put(&self, key: &CacheKey, options: PutOptions) -> Result<StoredInfo, CacheError> {
        let result = self.write(key, options).await;
        self.metrics.set.count(result, |_| Success::Ok)
    }

    async fn write(&self, key: &CacheKey, options: PutOptions) -> Result<StoredInfo, CacheError> {
        if let Some(ttl) = options.ttl {
            self.check_ttl(ttl, Location::Query, "/ttl_ms")?;
        }
        let entry = self.keys.entry(key);
        let fence = self.fence(&entry, options.token);
        let ttl = effective_ttl(&entry, options.ttl);
        let tag_ttl = if options.keep_ttl { self.kept_ttl(&entry, &options.tags, ttl).await? } else { ttl };
        let tags = self.open_tags(&options.tags, tag_ttl).await?;
        let value = StoredValue::encode(options.content_type, options.body, &tags);
        let mut precondition = match &options.conditions {
            none if none.is_empty() => Precondition { expected: Expected::Anything, was_invalid: false },
            create if create.is_create_only() => Precondition { expected: Expected::Absent, was_invalid: false },
            conditions => self.check_conditions(&entry, conditions, fence.as_ref()).await?,
        };
        for _ in 0..ATTEMPTS {
            let put = scripts::Put {
                entry: &entry,
                bytes: value.raw(),
                ttl,
                keep_ttl: options.keep_ttl,
                expected: &precondition.expected,
                lease: options.lease.as_deref().unwrap_or_default(),
                fence: fence.as_ref(),
            };
            let mut batch = Batch::new();
            batch.call(&put);
            batch.last(self.index_entry(key));
            let mut answers = self.redis.run(batch).await?;
            match answers.call::<scripts::Put>()? {
                scripts::PutReply::Stored { created, ttl } => {
                    answers.last().map_err(not_indexed)?;
                    return Ok(StoredInfo { created: created || precondition.was_invalid, ttl, etag: value.etag() });
                }
                scripts::PutReply::LeaseLost => return Err(CacheError::LeaseLost),
                scripts::PutReply::Changed => {
                    precondition = self.check_conditions(&entry, &options.conditions, fence.as_ref()).await?;
                }
            }
        }
        Err(CacheError::Contended)
    }

    /// Deletes a value, its stale copy and its lease. Deleting a value that does not exist succeeds.
    ///
    /// # Errors
    /// Those of [`CacheService::put`].
    pub(super) async fn delete(
        &self,
        key: &CacheKey,
        conditions: &Preconditions,
        token: Option<FencingToken>,
    ) -> Result<(), CacheError> {
        let result = self.remove(key, conditions, token).await;
        self.metrics.delete.count(result, |()| Success::Ok)
    }

    async fn remove(
        &self,
        key: &CacheKey,
        conditions: &Preconditions,
        token: Option<FencingToken>,
    ) -> Result<(), CacheError> {
        let entry = self.keys.entry(key);
        let fence = self.fence(&entry, token);
        for _ in 0..ATTEMPTS {
            let expected = if conditions.is_empty() {
                Expected::Anything
            } else {
                self.check_conditions(&entry, conditions, fence.as_ref()).await?.expected
            };
            if expected == Expected::Absent {
                return Ok(());
            }
            let delete = scripts::Delete { entry: &entry, expected: &expected, fence: fence.as_ref() };
            match self.redis.call(&delete).await? {
                scripts::DeleteReply::Deleted | scripts::DeleteReply::Absent => return Ok(()),
                scripts::DeleteReply::Changed => {}
            }
        }
        Err(CacheError::Contended)
    }

    /// Reads a value and deletes it in one step: of concurrent clients exactly one receives it.
    ///
    /// # Errors
    /// [`CacheError::Miss`] if there is no valid value; else those of [`CacheService::put`].
    pub(super) async fn take(
        &self,
        key: &CacheKey,
        conditions: &Preconditions,
        token: Option<FencingToken>,
    ) -> Result<Hit, CacheError> {
        let result = self.take_value(key, conditions, token).await;
        self.metrics.take.count(result, |_| Success::Hit)
    }

    async fn take_value(
        &self,
        key: &CacheKey,
        conditions: &Preconditions,
        token: Option<FencingToken>,
    ) -> Result<Hit, CacheError> {
        let entry = self.keys.entry(key);
        let fence = self.fence(&entry, token);
        if !conditions.is_empty() {
            self.pass(&entry, fence.as_ref()).await?;
        }
        let mut expected = Expected::Anything;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 || !conditions.is_empty() {
                let current = self.read(&entry, None).await?;
                if !conditions.allow_write(current.as_ref().map(|hit| hit.value.etag())) {
                    return Err(CacheError::PreconditionFailed);
                }
                expected = Expected::Digest(current.ok_or(CacheError::Miss)?.value.digest());
            }
            let take = scripts::Take { entry: &entry, expected: &expected, fence: fence.as_ref() };
            match self.redis.call(&take).await? {
                scripts::TakeReply::Taken(raw) => {
                    let value = StoredValue::decode(Bytes::from(raw)).map_err(|_| CacheError::UnknownFormat)?;
                    return Ok(Hit { value, ttl: None, stale: false });
                }
                scripts::TakeReply::Absent => return Err(CacheError::Miss),
                scripts::TakeReply::CheckTags => {}
            }
        }
        Err(CacheError::Contended)
    }

    /// Sets a value's TTL.
    ///
    /// # Errors
    /// [`CacheError::Miss`] if there is no valid value; else those of [`CacheService::put`].
    pub(super) async fn touch(
        &self,
        key: &CacheKey,
        ttl: Millis,
        token: Option<FencingToken>,
    ) -> Result<(), CacheError> {
        let result = self.set_ttl(key, ttl, token).await;
        self.metrics.touch.count(result, |()| Success::Ok)
    }

    async fn set_ttl(&self, key: &CacheKey, ttl: Millis, token: Option<FencingToken>) -> Result<(), CacheError> {
        self.check_ttl(ttl, Location::Body, "/ttl_ms")?;
        let entry = self.keys.entry(key);
        let fence = self.fence(&entry, token);
        let mut expected = Expected::Anything;
        for _ in 0..ATTEMPTS {
            let touch = scripts::Touch { entry: &entry, ttl: ttl.get(), expected: &expected, fence: fence.as_ref() };
            match self.redis.call(&touch).await? {
                scripts::TouchReply::Touched => return Ok(()),
                scripts::TouchReply::Absent => return Err(CacheError::Miss),
                scripts::TouchReply::CheckTags => {}
            }
            let current = self.read(&entry, None).await?.ok_or(CacheError::Miss)?;
            self.extend_tags(&current.value.tags(), ttl).await?;
            expected = Expected::Digest(current.value.digest());
        }
        Err(CacheError::Contended)
    }

    /// Checks the client's token before the value is read.
    async fn pass(&self, entry: &EntryKeys, fence: Option<&Fence>) -> Result<(), RedisFault> {
        match fence {
            Some(fence) => self.redis.pass(&entry.value, fence).await,
            None => Ok(()),
        }
    }

    /// Checks the conditions on the stored value, and returns what a script must find there.
    async fn check_conditions(
        &self,
        entry: &EntryKeys,
        conditions: &Preconditions,
        fence: Option<&Fence>,
    ) -> Result<Precondition, CacheError> {
        self.pass(entry, fence).await?;
        let look = self.look(entry, None).await?;
        let current = match &look {
            Lookup::Valid(hit) => Some(hit.value.etag()),
            Lookup::Absent | Lookup::Invalid { .. } => None,
        };
        if !conditions.allow_write(current) {
            return Err(CacheError::PreconditionFailed);
        }
        Ok(match look {
            Lookup::Absent => Precondition { expected: Expected::Absent, was_invalid: false },
            Lookup::Invalid { digest } => Precondition { expected: Expected::Digest(digest), was_invalid: true },
            Lookup::Valid(hit) => Precondition { expected: Expected::Digest(hit.value.digest()), was_invalid: false },
        })
    }
}

struct Precondition {
    expected: Expected,
    /// Whether an invalidated value is stored, which clients do not see.
    was_invalid: bool,
}

/// The value was stored, but adding it to the index failed.
pub(super) fn not_indexed(mut fault: RedisFault) -> CacheError {
    fault.outcome = Outcome::Applied;
    CacheError::Redis(fault)
}
