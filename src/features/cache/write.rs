//! Writes of single values.
//!
//! A write with a condition, or of a value with tags, is a compare-and-swap: look at the value, judge it here, then
//! have the script act only if the very same bytes still stand there. Everything else is one round trip.
//!
//! A caller with a fencing token passes the value's fence in the script that writes. Where a look comes before it, the
//! fence is passed before the look as well: who lost the lock is told so, whatever stands there.

use bytes::Bytes;

use super::error::CacheError;
use super::keys::Place;
use super::metrics::Success;
use super::model::{CacheKey, Millis, Tags};
use super::scripts::{self, Expected};
use super::service::{CacheService, Hit, Look, life};
use super::value::{ContentType, StoredValue};
use crate::http::conditional::{ETag, Preconditions};
use crate::http::problem::Location;
use crate::redis::{Batch, Fence, FencingToken, Outcome, RedisFault};

/// How often a compare-and-swap is tried; each failure means that somebody else's write succeeded.
pub(super) const ATTEMPTS: u32 = 8;

/// A value to be written.
#[derive(Debug)]
pub(super) struct Writing {
    pub content_type: ContentType,
    pub body: Bytes,
    pub tags: Tags,
    pub ttl: Option<Millis>,
    /// A value that stands there passes its remaining life on; `ttl` is for when there is none.
    pub keep_ttl: bool,
    pub conditions: Preconditions,
    /// The lease under which the value was rebuilt.
    pub lease: Option<String>,
    pub token: Option<FencingToken>,
}

/// A value that was written.
#[derive(Debug)]
pub(super) struct Stored {
    pub created: bool,
    /// Milliseconds left; `None`: no expiry.
    pub ttl: Option<u64>,
    pub etag: ETag,
}

impl CacheService {
    /// Writes a value: one round trip without tags and conditions.
    ///
    /// The life is the request's, else the policy's; an existing value's remaining life with `keep_ttl`.
    ///
    /// # Errors
    /// - [`CacheError::PreconditionFailed`], [`CacheError::LeaseLost`], [`CacheError::TooLong`]: nothing was stored.
    /// - [`CacheError::Contended`] when the value changed [`ATTEMPTS`] times between looking and writing.
    /// - [`CacheError::Redis`], whose outcome says whether the value may have been stored.
    pub(super) async fn put(&self, key: &CacheKey, writing: Writing) -> Result<Stored, CacheError> {
        let result = self.write(key, writing).await;
        self.metrics.set.count(result, |_| Success::Ok)
    }

    async fn write(&self, key: &CacheKey, writing: Writing) -> Result<Stored, CacheError> {
        if let Some(ttl) = writing.ttl {
            self.check_ttl(ttl, Location::Query, "/ttl_ms")?;
        }
        let place = self.keys.place(key);
        let fence = self.fence(&place, writing.token);
        let life = life(&place, writing.ttl);
        let tag_life = if writing.keep_ttl { self.kept_life(&place, &writing.tags, life).await? } else { life };
        let tags = self.open_tags(&writing.tags, tag_life).await?;
        let value = StoredValue::encode(writing.content_type, writing.body, &tags);
        let mut judged = match &writing.conditions {
            none if none.is_empty() => Judged { expected: Expected::Anything, was_invalid: false },
            create if create.is_create_only() => Judged { expected: Expected::Absent, was_invalid: false },
            conditions => self.judge(&place, conditions, fence.as_ref()).await?,
        };
        for _ in 0..ATTEMPTS {
            let put = scripts::Put {
                place: &place,
                bytes: value.raw(),
                ttl: life,
                keep_ttl: writing.keep_ttl,
                expected: &judged.expected,
                lease: writing.lease.as_deref().unwrap_or_default(),
                fence: fence.as_ref(),
            };
            let mut batch = Batch::new();
            batch.call(&put);
            batch.last(self.index_entry(key));
            let mut answers = self.redis.run(batch).await?;
            match answers.call::<scripts::Put>()? {
                scripts::PutReply::Stored { created, ttl } => {
                    answers.last().map_err(unlisted)?;
                    return Ok(Stored { created: created || judged.was_invalid, ttl, etag: value.etag() });
                }
                scripts::PutReply::LeaseLost => return Err(CacheError::LeaseLost),
                scripts::PutReply::Changed => {
                    judged = self.judge(&place, &writing.conditions, fence.as_ref()).await?;
                }
            }
        }
        Err(CacheError::Contended)
    }

    /// Deletes a value, its stale copy and its lease; a value that is not there is deleted already.
    ///
    /// # Errors
    /// As [`CacheService::put`].
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
        let place = self.keys.place(key);
        let fence = self.fence(&place, token);
        for _ in 0..ATTEMPTS {
            let expected = if conditions.is_empty() {
                Expected::Anything
            } else {
                self.judge(&place, conditions, fence.as_ref()).await?.expected
            };
            if expected == Expected::Absent {
                return Ok(());
            }
            let delete = scripts::Delete { place: &place, expected: &expected, fence: fence.as_ref() };
            match self.redis.call(&delete).await? {
                scripts::DeleteReply::Deleted | scripts::DeleteReply::Absent => return Ok(()),
                scripts::DeleteReply::Changed => {}
            }
        }
        Err(CacheError::Contended)
    }

    /// Reads a value and deletes it in one step: of concurrent callers exactly one gets it.
    ///
    /// # Errors
    /// [`CacheError::Miss`] when nothing valid stands there, else as [`CacheService::put`].
    pub(super) async fn take(
        &self,
        key: &CacheKey,
        conditions: &Preconditions,
        token: Option<FencingToken>,
    ) -> Result<Hit, CacheError> {
        let result = self.take_out(key, conditions, token).await;
        self.metrics.take.count(result, |_| Success::Hit)
    }

    async fn take_out(
        &self,
        key: &CacheKey,
        conditions: &Preconditions,
        token: Option<FencingToken>,
    ) -> Result<Hit, CacheError> {
        let place = self.keys.place(key);
        let fence = self.fence(&place, token);
        if !conditions.is_empty() {
            self.pass(&place, fence.as_ref()).await?;
        }
        let mut expected = Expected::Anything;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 || !conditions.is_empty() {
                let current = self.read(&place, None).await?;
                if !conditions.allow_write(current.as_ref().map(|hit| hit.value.etag())) {
                    return Err(CacheError::PreconditionFailed);
                }
                expected = Expected::Digest(current.ok_or(CacheError::Miss)?.value.digest());
            }
            let take = scripts::Take { place: &place, expected: &expected, fence: fence.as_ref() };
            match self.redis.call(&take).await? {
                scripts::TakeReply::Taken(raw) => {
                    let value = StoredValue::decode(Bytes::from(raw)).map_err(|_| CacheError::NotOurs)?;
                    return Ok(Hit { value, ttl: None, stale: false });
                }
                scripts::TakeReply::Absent => return Err(CacheError::Miss),
                scripts::TakeReply::LookFirst => {}
            }
        }
        Err(CacheError::Contended)
    }

    /// Gives a value a new life from now on.
    ///
    /// # Errors
    /// [`CacheError::Miss`] when nothing valid stands there, else as [`CacheService::put`].
    pub(super) async fn touch(
        &self,
        key: &CacheKey,
        ttl: Millis,
        token: Option<FencingToken>,
    ) -> Result<(), CacheError> {
        let result = self.prolong(key, ttl, token).await;
        self.metrics.touch.count(result, |()| Success::Ok)
    }

    async fn prolong(&self, key: &CacheKey, ttl: Millis, token: Option<FencingToken>) -> Result<(), CacheError> {
        self.check_ttl(ttl, Location::Body, "/ttl_ms")?;
        let place = self.keys.place(key);
        let fence = self.fence(&place, token);
        let mut expected = Expected::Anything;
        for _ in 0..ATTEMPTS {
            let touch = scripts::Touch { place: &place, ttl: ttl.get(), expected: &expected, fence: fence.as_ref() };
            match self.redis.call(&touch).await? {
                scripts::TouchReply::Touched => return Ok(()),
                scripts::TouchReply::Absent => return Err(CacheError::Miss),
                scripts::TouchReply::LookFirst => {}
            }
            let current = self.read(&place, None).await?.ok_or(CacheError::Miss)?;
            self.prolong_tags(&current.value.tags(), ttl).await?;
            expected = Expected::Digest(current.value.digest());
        }
        Err(CacheError::Contended)
    }

    /// Has the fence judge a caller before a look at the value does.
    async fn pass(&self, place: &Place, fence: Option<&Fence>) -> Result<(), RedisFault> {
        match fence {
            Some(fence) => self.redis.pass(&place.value, fence).await,
            None => Ok(()),
        }
    }

    /// Whether the conditions hold for what stands there, and how a script recognises it.
    async fn judge(
        &self,
        place: &Place,
        conditions: &Preconditions,
        fence: Option<&Fence>,
    ) -> Result<Judged, CacheError> {
        self.pass(place, fence).await?;
        let look = self.look(place, None).await?;
        let current = match &look {
            Look::Valid(hit) => Some(hit.value.etag()),
            Look::Absent | Look::Invalid { .. } => None,
        };
        if !conditions.allow_write(current) {
            return Err(CacheError::PreconditionFailed);
        }
        Ok(match look {
            Look::Absent => Judged { expected: Expected::Absent, was_invalid: false },
            Look::Invalid { digest } => Judged { expected: Expected::Digest(digest), was_invalid: true },
            Look::Valid(hit) => Judged { expected: Expected::Digest(hit.value.digest()), was_invalid: false },
        })
    }
}

struct Judged {
    expected: Expected,
    /// Whether an invalidated value stands there, which to callers is nothing.
    was_invalid: bool,
}

/// The value is stored, but the index of keys does not know it.
pub(super) fn unlisted(mut fault: RedisFault) -> CacheError {
    fault.outcome = Outcome::Applied;
    CacheError::Redis(fault)
}
