//! The service, and reads of single values.

use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};

use super::config::CacheConfig;
use super::error::CacheError;
use super::keys::{CacheKeys, EntryKeys};
use super::metrics::{CacheMetrics, Success};
use super::model::{CacheKey, Millis};
use super::scripts;
use super::stored_value::StoredValue;
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

/// How to read a value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadOptions {
    /// The TTL that the read sets.
    pub touch: Option<Millis>,
    /// On a miss, acquire or await the lease to rebuild the value.
    pub lease: Option<Millis>,
    /// Report a miss if Redis is unavailable, as the client asked.
    pub fault_is_miss: bool,
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

/// The state of a key.
pub(super) enum Lookup {
    Absent,
    /// A value with an invalidated tag: clients see nothing.
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

    /// Reads a value: one round trip, or two if it has tags.
    ///
    /// # Errors
    /// - [`CacheError::Miss`] if there is no valid value; with a lease, [`CacheError::Leased`] or
    ///   [`CacheError::Rebuilding`].
    /// - [`CacheError::Redis`] if Redis is unavailable, unless the options turn that into a miss.
    pub(super) async fn get(&self, key: &CacheKey, reading: ReadOptions) -> Result<Hit, CacheError> {
        let read = self.read_or_lease(key, reading).await;
        let counted = self.metrics.get.count(read, |hit| if hit.stale { Success::Stale } else { Success::Hit });
        match counted {
            Err(CacheError::Redis(fault)) if reading.fault_is_miss && fault.kind != FaultKind::WrongType => {
                Err(CacheError::Miss)
            }
            other => other,
        }
    }

    async fn read_or_lease(&self, key: &CacheKey, reading: ReadOptions) -> Result<Hit, CacheError> {
        if let Some(touch) = reading.touch {
            self.check_ttl(touch, Location::Query, "/touch_ms")?;
        }
        let entry = self.keys.entry(key);
        match reading.lease {
            None => self.read(&entry, reading.touch).await?.ok_or(CacheError::Miss),
            // Boxed like everything that few reads need: a future is moved at the size of its largest branch.
            Some(lease) => Box::pin(self.read_under_lease(&entry, reading.touch, lease)).await,
        }
    }

    /// Returns the valid value, if there is one; drops an invalid one.
    pub(super) async fn read(&self, entry: &EntryKeys, touch: Option<Millis>) -> Result<Option<Hit>, CacheError> {
        match self.look(entry, touch).await? {
            Lookup::Absent => Ok(None),
            Lookup::Valid(hit) => Ok(Some(hit)),
            Lookup::Invalid { digest } => {
                Box::pin(self.drop_quietly(entry, &digest)).await;
                Ok(None)
            }
        }
    }

    /// Reads the value of a key and checks its tags.
    pub(super) async fn look(&self, entry: &EntryKeys, touch: Option<Millis>) -> Result<Lookup, CacheError> {
        let Some((raw, ttl)) = self.fetch(entry, touch).await? else {
            return Ok(Lookup::Absent);
        };
        self.validated(raw, ttl, touch).await
    }

    /// Parses a value's bytes and checks its tags.
    pub(super) async fn validated(
        &self,
        raw: Bytes,
        ttl: Option<u64>,
        touch: Option<Millis>,
    ) -> Result<Lookup, CacheError> {
        let value = StoredValue::decode(raw).map_err(|_| CacheError::UnknownFormat)?;
        let tags = value.tags();
        if !tags.is_empty() && !Box::pin(self.are_current(&tags, touch)).await? {
            return Ok(Lookup::Invalid { digest: value.digest() });
        }
        Ok(Lookup::Valid(Hit { value, ttl, stale: false }))
    }

    /// Drops an invalid value, best effort: clients do not see it any more, and a server that rejects writes must not
    /// turn their miss into a failure.
    pub(super) async fn drop_quietly(&self, entry: &EntryKeys, digest: &str) {
        if let Err(fault) = self.drop_invalid(entry, digest).await {
            tracing::debug!(error = %fault, "an invalid value stays until it expires");
        }
    }

    /// The bytes of a key and its remaining milliseconds.
    async fn fetch(
        &self,
        entry: &EntryKeys,
        touch: Option<Millis>,
    ) -> Result<Option<(Bytes, Option<u64>)>, RedisFault> {
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

    pub(super) async fn drop_invalid(&self, entry: &EntryKeys, digest: &str) -> Result<(), RedisFault> {
        // Clients cannot see whether the invalid bytes are already gone.
        self.redis.call(&scripts::Drop { entry, digest }).await.map_err(RedisFault::not_applied)
    }

    /// The largest body of a value, bytes.
    pub(super) fn value_limit(&self) -> usize {
        self.config.value_limit.as_usize()
    }

    /// The fence that a client with a token must pass to change the value.
    pub(super) fn fence(&self, entry: &EntryKeys, token: Option<FencingToken>) -> Option<Fence> {
        token.map(|token| self.redis.fence(entry.fence(), token))
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

pub(super) fn command(name: &str, key: &str) -> Cmd {
    let mut command = Cmd::with_capacity(4, name.len() + key.len() + 24);
    command.arg(name).arg(key);
    command
}
