//! Overrides: administrators' exceptions for single keys, which allow a key, deny it, or give it another strategy.
//!
//! Redis stores the overrides and every replica keeps a copy. Each change also changes a version in Redis, by which the
//! other replicas notice that their copy is stale (`without_redis/redis_probe.rs`).

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::check::Forced;
use super::error::LimitError;
use super::keys;
use super::limiter::{Limiter, SharedLimiters};
use super::model::{LimitKey, OverrideAction, OverrideRequest, OverrideView};
use super::scripts;
use super::strategy::rule::Rule;
use super::strategy::{InvalidField, MAX_WINDOW_MS, between};
use crate::clock::{Clock, UnixMillis};
use crate::http::reply::Page;
use crate::redis::{BadReply, Effect, Key, Redis, RedisFault};

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
    view: OverrideView,
    /// The end on the process clock.
    ends: Option<Duration>,
    /// The limiter with the override's rule; `None` if the override allows or denies the key.
    limiter: Option<Arc<Limiter>>,
}

impl Overrides {
    pub(super) fn new(redis: &Redis, clock: &Clock, limiters: &SharedLimiters) -> Self {
        Self { redis: redis.clone(), clock: clock.clone(), limiters: Arc::clone(limiters), copy: ArcSwap::default() }
    }

    /// The limiter that applies to a key, and the result of its checks if an override decides them.
    pub(super) fn apply(&self, limiter: &Arc<Limiter>, key: &LimitKey) -> (Arc<Limiter>, Option<Forced>) {
        let copy = self.copy.load();
        let found = copy.get(&limiter.name).and_then(|keys| keys.get(key.as_str()));
        let Some(found) = found.filter(|found| !found.has_ended(self.clock.elapsed())) else {
            return (Arc::clone(limiter), None);
        };
        let forced = match found.view.action {
            OverrideAction::Allow => Some(Forced::Allow),
            OverrideAction::Deny => Some(Forced::Deny(found.ends)),
            OverrideAction::Limit => None,
        };
        (Arc::clone(found.limiter.as_ref().unwrap_or(limiter)), forced)
    }

    /// The number of overrides in this replica's copy; those that have just ended may be included.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
    pub(super) fn count(&self) -> f64 {
        self.copy.load().values().map(BTreeMap::len).sum::<usize>() as f64
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
            .filter(|(_, found)| !found.has_ended(now))
            .take(limit + 1)
            .map(|(_, found)| found.view.clone())
            .collect();
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| has_more).map(|last| last.key.clone());
        Page { items, next_cursor }
    }

    /// Overrides the limiter for a key.
    ///
    /// # Errors
    /// [`LimitError::TooManyOverrides`], [`LimitError::Redis`].
    pub(super) async fn set(
        &self,
        limiter: &Limiter,
        key: &LimitKey,
        request: OverrideRequest,
    ) -> Result<OverrideView, LimitError> {
        let ttl_ms = request.ttl_ms;
        let stored = OverrideRequest { ttl_ms: None, ..request };
        // An action and a strategy consist of names, numbers and text, which always serialise.
        let text = serde_json::to_string(&stored).unwrap_or_default();
        let ends_at = self.write(&field(limiter, key), &text, ttl_ms).await?;
        let OverrideRequest { action, strategy, .. } = stored;
        Ok(OverrideView { key: key.as_str().to_owned(), action, strategy, ends_at })
    }

    /// Deletes the override of a key, if there is one.
    ///
    /// # Errors
    /// [`LimitError::Redis`].
    pub(super) async fn delete(&self, limiter: &Limiter, key: &LimitKey) -> Result<(), LimitError> {
        self.write(&field(limiter, key), "", None).await.map(|_| ())
    }

    /// Changes only the version, which makes all replicas forget the denials that they remember.
    ///
    /// # Errors
    /// [`LimitError::Redis`].
    pub(super) async fn bump_version(&self) -> Result<(), LimitError> {
        self.write("", "", None).await.map(|_| ())
    }

    /// Reads all overrides into the copy, and returns their version.
    ///
    /// # Errors
    /// [`RedisFault`]; the copy stays unchanged.
    pub(super) async fn reload(&self) -> Result<String, RedisFault> {
        let read = self.redis.call(scripts::read_overrides(&self.key(), &self.clock.redis_arg())).await?;
        let here = self.clock.elapsed();
        let limiters = self.limiters.load();
        let mut copy: HashMap<Box<str>, BTreeMap<String, Override>> = HashMap::new();
        for (field, value) in &read.rows {
            let malformed = || RedisFault::bad_reply(BadReply::new((field, value)), Effect::Read);
            let (limiter, key) = field.split_once(' ').ok_or_else(malformed)?;
            let (ends, stored) = value.split_once(' ').ok_or_else(malformed)?;
            let ends: UnixMillis = ends.parse().map_err(|_| malformed())?;
            let ends_at = (ends > 0).then_some(ends);
            let left = ends_at.map(|at| at.saturating_sub(read.now));
            // Redis keeps overrides that have ended until another needs the space. Unknown limiters may come back.
            let (false, Some(base)) = (left.is_some_and(|ms| ms <= 0), limiters.get(limiter)) else { continue };
            let ends = left.map(|ms| here + Duration::from_millis(ms.unsigned_abs()));
            let parsed = serde_json::from_str::<OverrideRequest>(stored).map_err(|error| error.to_string());
            let valid = parsed.and_then(|request| match validate(&request) {
                Ok(rule) => Ok((request, rule)),
                Err(invalid) => Err(invalid.to_string()),
            });
            match valid {
                Ok((OverrideRequest { action, strategy, .. }, rule)) => {
                    let view = OverrideView { key: key.to_owned(), action, strategy, ends_at };
                    let limiter = rule.map(|rule| Arc::new(base.with_rule(rule)));
                    let keys = copy.entry(base.name.clone()).or_default();
                    keys.insert(key.to_owned(), Override { view, ends, limiter });
                }
                Err(reason) => tracing::warn!(limiter, key, reason, "stored exception ignored: it is invalid"),
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

    async fn write(&self, field: &str, stored: &str, ttl_ms: Option<u64>) -> Result<Option<UnixMillis>, LimitError> {
        let now = self.clock.redis_arg();
        self.redis.call(scripts::set_override(&self.key(), &now, field, stored, ttl_ms)).await?
    }

    fn key(&self) -> Key {
        keys::overrides(self.redis.keys())
    }
}

impl Override {
    fn has_ended(&self, now: Duration) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

/// Checks the strategy and the lifetime of an override. Returns the rule with the action `limit`.
///
/// # Errors
/// [`InvalidField`].
pub(super) fn validate(request: &OverrideRequest) -> Result<Option<Rule>, InvalidField> {
    let rule = match (request.action, &request.strategy) {
        (OverrideAction::Limit, Some(strategy)) => Some(Rule::new(strategy.clone()).map_err(InvalidField::of_request)?),
        (OverrideAction::Limit, None) => {
            return Err(InvalidField::new("strategy", "is required with the action limit"));
        }
        (OverrideAction::Allow | OverrideAction::Deny, Some(_)) => {
            return Err(InvalidField::new("strategy", "is only allowed with the action limit"));
        }
        (OverrideAction::Allow | OverrideAction::Deny, None) => None,
    };
    request.ttl_ms.map(|ttl_ms| between("ttl_ms", ttl_ms, MAX_WINDOW_MS)).transpose()?;
    Ok(rule)
}

/// The hash field of an override. Names of limiters contain no spaces.
fn field(limiter: &Limiter, key: &LimitKey) -> String {
    format!("{} {}", limiter.name, key.as_str())
}
