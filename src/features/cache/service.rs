//! The service, and reads of single values.

use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};
use tokio::sync::Semaphore;

use super::config::CacheConfig;
use super::error::CacheError;
use super::keys::{CacheKeys, EntryKeys};
use super::metrics::CacheMetrics;
use super::model::{CacheKey, GetParams, Millis, OnError, Tag};
use super::scripts;
use super::stored_value::{NO_GENERATION, StoredValue};
use crate::config::value::Span;
use crate::deps::Deps;
use crate::http::problem::Location;
use crate::redis::{Effect, FaultKind, FencingToken, Redis, RedisFault};

#[derive(Clone, Debug)]
pub(super) struct CacheService(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub redis: Redis,
    pub keys: CacheKeys,
    pub config: CacheConfig,
    pub metrics: CacheMetrics,
    /// Limits the batches with large results that are in memory at the same time.
    pub large_batches: Semaphore,
}

/// The number of such batches.
const LARGE_BATCHES: usize = 2;

impl std::ops::Deref for CacheService {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// A value that was found.
#[derive(Debug)]
pub(super) struct Hit {
    pub value: StoredValue,
    /// Milliseconds left; `None`: no expiry, or a stale copy.
    pub ttl: Option<u64>,
    /// Whether this is a copy of an expired value.
    pub stale: bool,
}

impl Hit {
    /// How the metric names the result.
    pub(super) fn label(&self) -> &'static str {
        if self.stale { "stale" } else { "hit" }
    }
}

/// The state of a key.
pub(super) enum Lookup {
    Absent,
    /// The digest of a value with an invalidated tag: clients see nothing.
    Invalid(String),
    /// The digest and the tags of a mark that the source has no such value: clients see nothing, and it stays.
    RememberedAbsent(String, Vec<(Tag, u64)>),
    Valid(Hit),
}

impl CacheService {
    pub(super) fn new(deps: &Deps, config: CacheConfig) -> Self {
        let redis = deps.redis.cache.clone();
        let keys = CacheKeys::new(redis.keys(), &config);
        let metrics = CacheMetrics::new(&deps.metrics);
        Self(Arc::new(Inner { redis, keys, config, metrics, large_batches: Semaphore::new(LARGE_BATCHES) }))
    }

    /// Reads a value: one round trip, or two if it has tags.
    ///
    /// # Errors
    /// - [`CacheError::Miss`] if there is no valid value; with a lease, [`CacheError::Leased`] or
    ///   [`CacheError::Rebuilding`].
    /// - [`CacheError::Redis`] if Redis is unavailable, unless `on_error` turns that into a miss.
    pub(super) async fn get(&self, key: &CacheKey, params: GetParams) -> Result<Hit, CacheError> {
        let read = async {
            if let Some(touch) = params.touch_ms {
                self.check_ttl(touch, Location::Query, "/touch_ms")?;
            }
            let entry = self.keys.entry(key);
            match params.lease_ms {
                None => self.read(&entry, params.touch_ms).await?.ok_or(CacheError::Miss),
                // Boxed like everything that few reads need: a future is moved at the size of its largest branch.
                Some(lease) => Box::pin(self.read_under_lease(&entry, params.touch_ms, lease)).await,
            }
        };
        match self.metrics.count("get", read.await, Hit::label) {
            Err(CacheError::Redis(fault)) if params.on_error == OnError::Miss && fault.kind != FaultKind::WrongType => {
                Err(CacheError::Miss)
            }
            other => other,
        }
    }

    /// Reads the valid value, if there is one.
    pub(super) async fn read(&self, entry: &EntryKeys, touch: Option<Millis>) -> Result<Option<Hit>, CacheError> {
        Ok(self.hit(entry, self.look(entry, touch).await?).await)
    }

    /// Returns the valid value, if there is one; drops an invalid one.
    ///
    /// The drop is best effort: clients do not see the value any more, and a server that rejects writes must not turn
    /// their miss into a failure.
    pub(super) async fn hit(&self, entry: &EntryKeys, look: Lookup) -> Option<Hit> {
        match look {
            Lookup::Absent | Lookup::RememberedAbsent(..) => None,
            Lookup::Valid(hit) => Some(hit),
            Lookup::Invalid(digest) => {
                if let Err(fault) = Box::pin(self.drop_invalid(entry, &digest)).await {
                    tracing::debug!(error = %fault, "an invalid value stays until it expires");
                }
                None
            }
        }
    }

    /// Reads the value of a key and checks its tags.
    pub(super) async fn look(&self, entry: &EntryKeys, touch: Option<Millis>) -> Result<Lookup, CacheError> {
        let (raw, ttl) = self.fetch(entry, touch).await?;
        self.validated(raw, ttl, touch).await
    }

    /// Parses the reply to a read and checks the value's tags. `ttl` is in milliseconds.
    pub(super) async fn validated(
        &self,
        raw: Value,
        ttl: Option<u64>,
        touch: Option<Millis>,
    ) -> Result<Lookup, CacheError> {
        let Value::BulkString(raw) = raw else { return Ok(Lookup::Absent) };
        let value = StoredValue::decode(Bytes::from(raw))?;
        let mut tags = value.tags();
        let is_absent = value.is_absent();
        if is_absent {
            // The tag that only marks it.
            tags.retain(|(_, generation)| *generation != NO_GENERATION);
        }
        if !tags.is_empty() && !Box::pin(self.are_current(&tags, touch)).await? {
            return Ok(Lookup::Invalid(value.digest()));
        }
        if is_absent {
            // A read that sets the TTL of values has set that of the mark, which must not last longer: the source is asked again.
            let digest = value.digest();
            return Ok(if touch.is_some() { Lookup::Invalid(digest) } else { Lookup::RememberedAbsent(digest, tags) });
        }
        Ok(Lookup::Valid(Hit { value, ttl, stale: false }))
    }

    /// The reply to a read of a key, and the value's remaining milliseconds.
    async fn fetch(&self, entry: &EntryKeys, touch: Option<Millis>) -> Result<(Value, Option<u64>), RedisFault> {
        let name = entry.value.as_str();
        let mut commands = Pipeline::with_capacity(2);
        let effect = match touch {
            None => {
                commands.add_command(command("GET", name)).add_command(command("PTTL", name));
                Effect::Read
            }
            Some(touch) => {
                let mut slide = command("GETEX", name);
                slide.arg("PX").arg(touch.get());
                commands.add_command(slide);
                if let Some(stale) = entry.stale {
                    let mut copy = command("PEXPIRE", entry.stale_copy().as_str());
                    copy.arg(touch.get().saturating_add(stale.as_millis())).arg("GT");
                    commands.add_command(copy);
                }
                Effect::Write
            }
        };
        let mut answers = self.redis.query_together(&commands, effect).await?.into_iter();
        let raw = answers.next().unwrap_or(Value::Nil);
        let left = answers.next().unwrap_or(Value::Nil);
        Ok((raw, touch.map_or_else(|| ttl_ms(&left), |touch| Some(touch.get()))))
    }

    pub(super) async fn drop_invalid(&self, entry: &EntryKeys, digest: &str) -> Result<(), RedisFault> {
        // Clients cannot see whether the invalid bytes are already gone.
        self.redis.call(scripts::drop_invalid(entry, digest)).await.map_err(RedisFault::not_applied)
    }

    /// The largest body of a value, bytes.
    pub(super) fn value_limit(&self) -> usize {
        self.config.value_limit.as_usize()
    }

    /// Forgets the tokens that a value has seen; `by` is the client's name.
    ///
    /// # Errors
    /// [`CacheError::Redis`].
    pub(super) async fn reset_fence(&self, key: &CacheKey, by: &str) -> Result<(), CacheError> {
        Ok(self.redis.reset_fence(&self.keys.entry(key).fence_key(), by).await?)
    }

    /// The keys of a value to change. With a token, changes must pass the value's fence.
    pub(super) fn entry(&self, key: &CacheKey, token: Option<FencingToken>) -> EntryKeys {
        let mut entry = self.keys.entry(key);
        entry.fence = token.map(|token| self.redis.fence(entry.fence_key(), token));
        entry
    }

    pub(super) fn check_ttl(&self, ttl: Millis, location: Location, pointer: &str) -> Result<(), CacheError> {
        let max = self.config.max_ttl.as_millis();
        if ttl.get() <= max {
            return Ok(());
        }
        let rule = format!("must be at most {max}, got {}", ttl.get());
        Err(CacheError::Invalid { location, pointer: pointer.to_owned(), rule })
    }
}

/// The TTL of a new value, milliseconds: the client's, or the policy's; `None`: no expiry.
pub(super) fn effective_ttl(entry: &EntryKeys, ttl: Option<Millis>) -> Option<u64> {
    ttl.map(Millis::get).or(entry.ttl.map(Span::as_millis))
}

/// The milliseconds in the reply to PTTL; `None`: no expiry, or no value.
pub(super) fn ttl_ms(reply: &Value) -> Option<u64> {
    if let Value::Int(ttl) = reply { u64::try_from(*ttl).ok() } else { None }
}

pub(super) fn command(name: &str, key: &str) -> Cmd {
    let mut command = Cmd::with_capacity(4, name.len() + key.len() + 24);
    command.arg(name).arg(key);
    command
}
