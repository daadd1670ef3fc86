//! What every part of the cache works with, and the reads of single values.

use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};

use super::config::CacheConfig;
use super::error::CacheError;
use super::keys::{CacheKeys, Place};
use super::metrics::{CacheMetrics, Success};
use super::model::{CacheKey, Millis};
use super::scripts;
use super::value::StoredValue;
use crate::config::value::Span;
use crate::deps::Deps;
use crate::http::problem::Location;
use crate::redis::{Effect, FaultKind, Fence, FencingToken, Redis, RedisFault};

#[derive(Clone, Debug)]
pub(super) struct CacheService(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub redis: Redis,
    pub keys: CacheKeys,
    pub config: CacheConfig,
    pub metrics: CacheMetrics,
}

impl std::ops::Deref for CacheService {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// How a value is read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// The life that the read gives the value from now on.
    pub touch: Option<Millis>,
    /// On a miss, take or await the lease to rebuild.
    pub lease: Option<Millis>,
    /// Answer a miss when Redis cannot be asked: the caller wished so.
    pub fault_is_miss: bool,
}

/// A value that was found.
#[derive(Debug)]
pub(super) struct Hit {
    pub value: StoredValue,
    /// Milliseconds left; `None`: no expiry, or a stale copy.
    pub ttl: Option<u64>,
    /// Whether it is the copy of a value that has expired.
    pub stale: bool,
}

/// What stands under a key.
pub(super) enum Look {
    Absent,
    /// A value whose tags were invalidated: to callers, nothing.
    Invalid {
        digest: String,
    },
    Valid(Hit),
}

impl CacheService {
    pub(super) fn new(deps: &Deps, config: CacheConfig) -> Self {
        let redis = deps.redis.cache.clone();
        let keys = CacheKeys::new(redis.keys(), &config);
        Self(Arc::new(Inner { redis, keys, config, metrics: CacheMetrics::new(&deps.metrics) }))
    }

    /// Reads a value: one round trip, two when it has tags.
    ///
    /// # Errors
    /// - [`CacheError::Miss`] when nothing valid stands there; [`CacheError::Leased`] and [`CacheError::Rebuilding`]
    ///   are misses of a reading with a lease.
    /// - [`CacheError::Redis`] when Redis could not be asked, unless the reading takes that for a miss.
    pub(super) async fn get(&self, key: &CacheKey, reading: Reading) -> Result<Hit, CacheError> {
        let read = self.read_or_lease(key, reading).await;
        let counted = self.metrics.get.count(read, |hit| if hit.stale { Success::Stale } else { Success::Hit });
        match counted {
            Err(CacheError::Redis(fault)) if reading.fault_is_miss && fault.kind != FaultKind::WrongType => {
                Err(CacheError::Miss)
            }
            other => other,
        }
    }

    async fn read_or_lease(&self, key: &CacheKey, reading: Reading) -> Result<Hit, CacheError> {
        if let Some(touch) = reading.touch {
            self.check_ttl(touch, Location::Query, "/touch_ms")?;
        }
        let place = self.keys.place(key);
        match reading.lease {
            None => self.read(&place, reading.touch).await?.ok_or(CacheError::Miss),
            // Boxed, as all that few reads need: a future is moved as large as its largest branch.
            Some(lease) => Box::pin(self.read_under_lease(&place, reading.touch, lease)).await,
        }
    }

    /// A valid value, if there is one; an invalid one is dropped on the way.
    pub(super) async fn read(&self, place: &Place, touch: Option<Millis>) -> Result<Option<Hit>, CacheError> {
        match self.look(place, touch).await? {
            Look::Absent => Ok(None),
            Look::Valid(hit) => Ok(Some(hit)),
            Look::Invalid { digest } => {
                Box::pin(self.drop_quietly(place, &digest)).await;
                Ok(None)
            }
        }
    }

    /// Reads what stands under a key and checks its tags.
    pub(super) async fn look(&self, place: &Place, touch: Option<Millis>) -> Result<Look, CacheError> {
        let Some((raw, ttl)) = self.fetch(place, touch).await? else {
            return Ok(Look::Absent);
        };
        self.validated(raw, ttl, touch).await
    }

    /// Takes a value's bytes apart and checks its tags.
    pub(super) async fn validated(
        &self,
        raw: Bytes,
        ttl: Option<u64>,
        touch: Option<Millis>,
    ) -> Result<Look, CacheError> {
        let value = StoredValue::decode(raw).map_err(|_| CacheError::NotOurs)?;
        let tags = value.tags();
        if !tags.is_empty() && !Box::pin(self.are_current(&tags, touch)).await? {
            return Ok(Look::Invalid { digest: value.digest() });
        }
        Ok(Look::Valid(Hit { value, ttl, stale: false }))
    }

    /// Drops an invalid value as far as that goes: to callers it is gone already, and a server that refuses writes
    /// must not turn their miss into a failure.
    pub(super) async fn drop_quietly(&self, place: &Place, digest: &str) {
        if let Err(fault) = self.drop_invalid(place, digest).await {
            tracing::debug!(error = %fault, "an invalid value stays until it expires");
        }
    }

    /// The bytes under a key and the milliseconds that they have left.
    async fn fetch(&self, place: &Place, touch: Option<Millis>) -> Result<Option<(Bytes, Option<u64>)>, RedisFault> {
        let name = place.value.as_str();
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
                if let Some(stale) = place.stale {
                    let mut copy = command("PEXPIRE", place.stale_copy().as_str());
                    copy.arg(touch.get().saturating_add(stale.as_millis())).arg("GT");
                    commands.add_command(copy);
                }
                Effect::Write
            }
        };
        let mut answers = self.redis.query_together(&commands, effect).await?.into_iter();
        let Some(Value::BulkString(raw)) = answers.next() else {
            return Ok(None);
        };
        let ttl = match (touch, answers.next()) {
            (Some(touch), _) => Some(touch.get()),
            (None, Some(Value::Int(ttl))) => u64::try_from(ttl).ok(),
            (None, _) => None,
        };
        Ok(Some((Bytes::from(raw), ttl)))
    }

    pub(super) async fn drop_invalid(&self, place: &Place, digest: &str) -> Result<(), RedisFault> {
        // Whether the invalid bytes are gone yet changes nothing for anybody.
        self.redis.call(&scripts::Drop { place, digest }).await.map_err(RedisFault::not_applied)
    }

    /// What a caller with a token has to pass to change the value.
    pub(super) fn fence(&self, place: &Place, token: Option<FencingToken>) -> Option<Fence> {
        token.map(|token| self.redis.fence(place.fence(), token))
    }

    pub(super) fn check_ttl(&self, ttl: Millis, location: Location, pointer: &str) -> Result<(), CacheError> {
        let max = self.config.max_ttl.as_millis();
        if ttl.get() <= max {
            return Ok(());
        }
        Err(CacheError::TooLong { location, pointer: pointer.to_owned(), ms: ttl.get(), max })
    }
}

/// The life of a new value, milliseconds: the caller's word, else the policy's; `None`: no expiry.
pub(super) fn life(place: &Place, ttl: Option<Millis>) -> Option<u64> {
    ttl.map(Millis::get).or(place.ttl.map(Span::as_millis))
}

pub(super) fn command(name: &str, key: &str) -> Cmd {
    let mut command = Cmd::with_capacity(4, name.len() + key.len() + 24);
    command.arg(name).arg(key);
    command
}
