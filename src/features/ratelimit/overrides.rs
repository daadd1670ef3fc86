//! Overrides: administrators' exceptions for single keys, which allow a key, deny it, or give it another strategy.
//!
//! Redis stores the overrides and every replica keeps a copy. Each change also changes a version in Redis, by which the
//! other replicas notice that their copy is stale (`without_redis/redis_probe.rs`).

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::check::Forced;
use super::error::LimitError;
use super::keys;
use super::limiter::{Limiter, SharedLimiters};
use super::model::{LimitKey, OverrideAction, OverrideView};
use super::scripts::{OverrideRow, ReadOverrides, SetOverride, SetOverrideOutcome};
use super::strategy::Strategy;
use super::strategy::rule::Rule;
use crate::clock::{Clock, UnixMillis};
use crate::http::reply::Page;
use crate::redis::{Effect, Key, Redis, RedisFault};

/// The most overrides of a deployment: every replica keeps all of them in memory, and reads all of them after a change.
const MAX_OVERRIDES: usize = 10_000;

#[derive(Debug)]
pub(super) struct Overrides {
    redis: Redis,
    clock: Clock,
    limiters: SharedLimiters,
    /// By limiter, then by key.
    copy: ArcSwap<HashMap<Box<str>, BTreeMap<String, Override>>>,
}

/// An override in force.
#[derive(Clone, Debug)]
struct Override {
    stored: StoredOverride,
    effect: OverrideEffect,
    ends_at: Option<UnixMillis>,
    /// `ends_at` on the process clock.
    ends: Option<Duration>,
}

/// An override as Redis stores it, in JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct StoredOverride {
    action: OverrideAction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<Strategy>,
}

/// What an override means for a check.
#[derive(Clone, Debug)]
pub(super) enum OverrideEffect {
    Force(Forced),
    /// The limiter with another rule.
    Limit(Arc<Limiter>),
}

impl Overrides {
    pub(super) fn new(redis: &Redis, clock: &Clock, limiters: &SharedLimiters) -> Self {
        Self { redis: redis.clone(), clock: clock.clone(), limiters: Arc::clone(limiters), copy: ArcSwap::default() }
    }

    /// The override of a limiter's key, unless it has ended.
    pub(super) fn find(&self, limiter: &Limiter, key: &LimitKey) -> Option<OverrideEffect> {
        let copy = self.copy.load();
        // The usual case: no overrides at all.
        if copy.is_empty() {
            return None;
        }
        let found = copy.get(&limiter.name)?.get(key.as_str())?;
        let has_ended = found.ends.is_some_and(|ends| ends <= self.clock.elapsed());
        (!has_ended).then(|| found.effect.clone())
    }

    /// The overrides of a limiter in this replica's copy, in the order of their keys, after the key `after`.
    pub(super) fn list(&self, limiter: &Limiter, after: Option<&str>, limit: usize) -> Page<OverrideView> {
        let copy = self.copy.load();
        let now = self.clock.elapsed();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut items: Vec<OverrideView> = copy
            .get(&limiter.name)
            .into_iter()
            .flat_map(|keys| keys.range::<str, _>((start, Bound::Unbounded)))
            .filter(|(_, found)| found.ends.is_none_or(|ends| ends > now))
            .take(limit + 1)
            .map(|(key, found)| found.stored.view(key, found.ends_at))
            .collect();
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| has_more).map(|last| last.key.clone());
        Page { items, next_cursor }
    }

    /// Overrides the limiter for a key. A `ttl` of zero means until the override is deleted.
    ///
    /// # Errors
    /// [`LimitError::TooManyOverrides`], [`LimitError::Redis`].
    pub(super) async fn set(
        &self,
        limiter: &Limiter,
        key: &LimitKey,
        action: OverrideAction,
        strategy: Option<Strategy>,
        ttl: Duration,
    ) -> Result<OverrideView, LimitError> {
        let stored = StoredOverride { action, strategy };
        // An action and a strategy consist of names, numbers and text, which always serialise.
        let text = serde_json::to_string(&stored).unwrap_or_default();
        match self.write(&field(limiter, key), &text, ttl).await? {
            SetOverrideOutcome::Done { ends } => Ok(stored.view(key.as_str(), ends)),
            SetOverrideOutcome::TooMany => Err(LimitError::TooManyOverrides { max: MAX_OVERRIDES }),
        }
    }

    /// Deletes the override of a key, if there is one.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn delete(&self, limiter: &Limiter, key: &LimitKey) -> Result<(), RedisFault> {
        self.write(&field(limiter, key), "", Duration::ZERO).await.map(|_| ())
    }

    /// Changes only the version, which makes all replicas forget the denials that they remember.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn bump_version(&self) -> Result<(), RedisFault> {
        self.write("", "", Duration::ZERO).await.map(|_| ())
    }

    /// Reads all overrides into the copy, and returns their version.
    ///
    /// # Errors
    /// [`RedisFault`]; the copy stays unchanged.
    pub(super) async fn reload(&self) -> Result<String, RedisFault> {
        let read = self.redis.call(&ReadOverrides { key: &self.key(), now: self.clock.redis_arg() }).await?;
        let here = self.clock.elapsed();
        let limiters = self.limiters.load();
        let mut copy: HashMap<Box<str>, BTreeMap<String, Override>> = HashMap::new();
        for OverrideRow { limiter, key, ends_at, stored } in read.rows {
            let left = ends_at.map(|at| at.saturating_sub(read.now));
            // Redis keeps overrides that have ended until another needs the space. Unknown limiters may come back.
            let (false, Some(base)) = (left.is_some_and(|ms| ms <= 0), limiters.get(&limiter)) else { continue };
            let ends = left.map(|ms| here + Duration::from_millis(ms.unsigned_abs()));
            match Override::new(base, &stored, limiters.sliding_limit, ends_at, ends) {
                Ok(valid) => {
                    copy.entry(base.name.clone()).or_default().insert(key, valid);
                }
                Err(reason) => tracing::warn!(%limiter, key, reason, "stored exception ignored: it is invalid"),
            }
        }
        self.copy.store(Arc::new(copy));
        Ok(read.version)
    }

    /// The version of the last change; empty if nothing was ever changed.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn version(&self) -> Result<String, RedisFault> {
        let mut read = redis::cmd("HGET");
        read.arg(self.key()).arg("");
        let version: Option<String> = self.redis.query(&read, Effect::Read).await?;
        Ok(version.unwrap_or_default())
    }

    async fn write(&self, field: &str, stored: &str, ttl: Duration) -> Result<SetOverrideOutcome, RedisFault> {
        let now = self.clock.redis_arg();
        self.redis.call(&SetOverride { key: &self.key(), now, field, stored, ttl, max: MAX_OVERRIDES }).await
    }

    fn key(&self) -> Key {
        keys::overrides(self.redis.keys())
    }
}

impl Override {
    fn new(
        base: &Arc<Limiter>,
        stored: &str,
        sliding_limit: u64,
        ends_at: Option<UnixMillis>,
        ends: Option<Duration>,
    ) -> Result<Self, String> {
        let stored: StoredOverride = serde_json::from_str(stored).map_err(|error| error.to_string())?;
        let effect = match (stored.action, &stored.strategy) {
            (OverrideAction::Allow, _) => OverrideEffect::Force(Forced::Allow),
            (OverrideAction::Deny, _) => OverrideEffect::Force(Forced::Deny(ends)),
            (OverrideAction::Limit, Some(strategy)) => {
                let rule = Rule::new(strategy.clone(), sliding_limit).map_err(|invalid| invalid.to_string())?;
                OverrideEffect::Limit(Arc::new(base.with_rule(rule)))
            }
            (OverrideAction::Limit, None) => return Err("the action limit requires a strategy".to_owned()),
        };
        Ok(Self { stored, effect, ends_at, ends })
    }
}

impl StoredOverride {
    fn view(&self, key: &str, ends_at: Option<UnixMillis>) -> OverrideView {
        OverrideView { key: key.to_owned(), action: self.action, strategy: self.strategy.clone(), ends_at }
    }
}

/// The hash field of an override. Names of limiters contain no spaces.
fn field(limiter: &Limiter, key: &LimitKey) -> String {
    format!("{} {}", limiter.name, key.as_str())
}
