//! Writes of single values.
//!
//! A write with a condition is a compare-and-swap: the service reads the value and checks the condition, and the script
//! acts only if exactly the same bytes are still stored. Every other write takes one round trip.
//!
//! A client with a fencing token passes the value's fence in the script that writes. If a read comes first, the fence
//! is passed before the read as well, so that a client whose lock is over learns that before anything else.

use bytes::Bytes;
use redis::FromRedisValue;

use super::error::CacheError;
use super::keys::EntryKeys;
use super::lease::granted_at;
use super::model::{CacheKey, Counter, Millis, Tags};
use super::scripts::{self, Change, Expected, StoredInfo};
use super::service::{CacheService, Hit, Lookup, command, effective_ttl};
use super::stored_value::{ContentType, StoredValue};
use crate::http::conditional::{ETag, Preconditions};
use crate::http::idempotent_operation::OperationId;
use crate::http::problem::Location;
use crate::redis::{Batch, Effect, FencingToken, Key, RedisFault, ScriptCall};

/// How often a compare-and-swap is tried; each failure means that another write succeeded.
const ATTEMPTS: u32 = 8;

/// How long the result of an increment is kept, milliseconds: a day, as long as recorded responses are by default.
const ANSWER_TTL: u64 = 86_400_000;

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

impl CacheService {
    /// Stores a value and returns its entity tag: one round trip if there are no tags and no conditions.
    ///
    /// The TTL is the request's, or the policy's; with `keep_ttl`, the remaining TTL of the existing value.
    ///
    /// # Errors
    /// - [`CacheError::PreconditionFailed`], [`CacheError::LeaseLost`], [`CacheError::Invalid`]: nothing was stored.
    /// - [`CacheError::Contended`] if the value changed [`ATTEMPTS`] times between reading and writing.
    /// - [`CacheError::Redis`], whose outcome says whether the value may have been stored.
    pub(super) async fn put(&self, key: &CacheKey, options: PutOptions) -> Result<(StoredInfo, ETag), CacheError> {
        let stored = async {
            if let Some(ttl) = options.ttl {
                self.check_ttl(ttl, Location::Query, "/ttl_ms")?;
            }
            let entry = self.entry(key, options.token);
            let ttl = effective_ttl(&entry, options.ttl);
            let left = if options.keep_ttl { self.kept_ttl(&entry, &options.tags, ttl).await? } else { ttl };
            let tag_ttl = self.tag_ttl(left);
            let since = options.lease.as_deref().and_then(granted_at);
            // The nodes of a cluster have clocks of their own: the script that stores the value compares ages there.
            let has_clocks = self.redis.is_cluster();
            let tags = options.tags.iter().map(|tag| (tag, tag_ttl));
            let (tags, invalidated) = self.open_tags(tags, since.filter(|_| !has_clocks)).await?;
            let invalidated = invalidated.filter(|_| has_clocks && since.is_some());
            let value = StoredValue::encode(options.content_type, options.body, &tags);
            let mut expected = match &options.conditions {
                none if none.is_empty() => Expected::Anything,
                create if create.is_create_only() => Expected::Absent,
                conditions => self.check_conditions(&entry, conditions).await?,
            };
            let lease = options.lease.as_deref().unwrap_or_default();
            for _ in 0..ATTEMPTS {
                let put = scripts::put(&entry, value.raw(), ttl, options.keep_ttl, &expected, lease, invalidated);
                if let Some(mut stored) = self.change_and_index(key, put).await? {
                    stored.created |= matches!(expected, Expected::Invalid(_));
                    return Ok((stored, value.etag()));
                }
                expected = self.check_conditions(&entry, &options.conditions).await?;
            }
            Err(CacheError::Contended)
        };
        self.metrics.count("set", stored.await, |_| "ok")
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
        let deleted = async {
            let entry = self.entry(key, token);
            for _ in 0..ATTEMPTS {
                let expected = if conditions.is_empty() {
                    Expected::Anything
                } else {
                    self.check_conditions(&entry, conditions).await?
                };
                if expected == Expected::Absent || self.redis.call(scripts::delete(&entry, &expected)).await? {
                    return Ok(());
                }
            }
            Err(CacheError::Contended)
        };
        self.metrics.count("delete", deleted.await, |()| "ok")
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
        let hit = async {
            let entry = self.entry(key, token);
            if !conditions.is_empty() {
                self.pass(&entry).await?;
            }
            let mut expected = Expected::Anything;
            for attempt in 0..ATTEMPTS {
                if attempt > 0 || !conditions.is_empty() {
                    let current = self.read(&entry, None).await?;
                    if !conditions.allow_write(current.as_ref().map(|hit| hit.value.etag())) {
                        return Err(CacheError::PreconditionFailed);
                    }
                    expected = Expected::Valid(current.ok_or(CacheError::Miss)?.value.digest());
                }
                if let Some(raw) = self.redis.call(scripts::take(&entry, &expected)).await?? {
                    return Ok(Hit { value: StoredValue::decode(Bytes::from(raw))?, ttl: None, stale: false });
                }
            }
            Err(CacheError::Contended)
        };
        self.metrics.count("take", hit.await, Hit::label)
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
        let touched = async {
            self.check_ttl(ttl, Location::Body, "/ttl_ms")?;
            let entry = self.entry(key, token);
            let mut expected = Expected::Anything;
            for _ in 0..ATTEMPTS {
                if let Some(()) = self.redis.call(scripts::touch(&entry, ttl.get(), &expected)).await?? {
                    return Ok(());
                }
                let current = self.read(&entry, None).await?.ok_or(CacheError::Miss)?;
                self.extend_tags(&current.value.tags(), ttl).await?;
                expected = Expected::Valid(current.value.digest());
            }
            Err(CacheError::Contended)
        };
        self.metrics.count("touch", touched.await, |()| "ok")
    }

    /// Adds to a counter. The call that creates the counter also sets its expiry, in one step.
    ///
    /// With an operation, the first result is kept for [`ANSWER_TTL`] and returned again without adding again.
    ///
    /// # Errors
    /// [`CacheError::NotANumber`] if the value is not an integer or the sum does not fit into 64 bits; else those of
    /// [`CacheService::put`].
    pub(super) async fn increment(
        &self,
        key: &CacheKey,
        by: i64,
        ttl: Option<Millis>,
        operation: Option<&OperationId>,
        token: Option<FencingToken>,
    ) -> Result<Counter, CacheError> {
        let counter = async {
            if let Some(ttl) = ttl {
                self.check_ttl(ttl, Location::Body, "/ttl_ms")?;
            }
            let entry = self.entry(key, token);
            let answer = entry.answer(operation);
            // What an earlier attempt did remains done, even if another client holds the lock by now.
            if operation.is_some()
                && entry.fence.is_some()
                && let Some(counter) = self.earlier_answer(&answer).await?
            {
                return Ok(counter);
            }
            let answer_ttl = operation.map_or(0, |_| ANSWER_TTL);
            for _ in 0..ATTEMPTS {
                let call = scripts::increment(&entry, by, effective_ttl(&entry, ttl), &answer, answer_ttl);
                if let Some(counter) = self.change_and_index(key, call).await? {
                    return Ok(counter);
                }
                match self.look(&entry, None).await? {
                    Lookup::Absent => {}
                    Lookup::Invalid(digest) | Lookup::RememberedAbsent(digest, _) => {
                        self.drop_invalid(&entry, &digest).await?;
                    }
                    // A value with tags has an envelope, so it is not a number.
                    Lookup::Valid(_) => return Err(CacheError::NotANumber),
                }
            }
            Err(CacheError::Contended)
        };
        self.metrics.count("increment", counter.await, |_| "ok")
    }

    /// The result of an operation's first attempt, if there was one.
    async fn earlier_answer(&self, answer: &Key) -> Result<Option<Counter>, RedisFault> {
        let text: Option<String> = self.redis.query(&command("GET", answer.as_str()), Effect::Read).await?;
        Ok(text.as_deref().and_then(scripts::counter))
    }

    /// Runs a script that stores a value, and adds the key to the index in the same round trip.
    async fn change_and_index<Raw: FromRedisValue, T>(
        &self,
        key: &CacheKey,
        change: ScriptCall<Raw, Change<T>>,
    ) -> Change<T> {
        let mut batch = Batch::new();
        let decoder = batch.call(change);
        batch.last(self.index_entry(key));
        let mut answers = self.redis.run(batch).await?;
        let changed = answers.reply(&decoder)??;
        if changed.is_some() {
            answers.last().map_err(not_indexed)?;
        }
        Ok(changed)
    }

    /// Checks the client's token before the value is read. A full Redis does not store it: a deletion can still be made, and
    /// stores it; every other change is rejected.
    async fn pass(&self, entry: &EntryKeys) -> Result<(), RedisFault> {
        match &entry.fence {
            Some(fence) => self.redis.pass(&entry.value, fence).await,
            None => Ok(()),
        }
    }

    /// Checks the conditions on the stored value, and returns what a script must find there.
    async fn check_conditions(&self, entry: &EntryKeys, conditions: &Preconditions) -> Result<Expected, CacheError> {
        self.pass(entry).await?;
        let look = self.look(entry, None).await?;
        let current = if let Lookup::Valid(hit) = &look { Some(hit.value.etag()) } else { None };
        if !conditions.allow_write(current) {
            return Err(CacheError::PreconditionFailed);
        }
        Ok(match look {
            Lookup::Absent => Expected::Absent,
            Lookup::Invalid(digest) | Lookup::RememberedAbsent(digest, _) => Expected::Invalid(digest),
            Lookup::Valid(hit) => Expected::Valid(hit.value.digest()),
        })
    }
}

/// The value was stored, but adding it to the index failed.
pub(super) fn not_indexed(fault: RedisFault) -> CacheError {
    CacheError::Redis(fault.applied())
}
