//! What admins decided for single keys: never refuse, always refuse, or another strategy.
//!
//! Redis keeps the decisions, every replica has a copy. A change leaves a mark there, by which the others see that their
//! copy is old (`watch.rs`).

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::error::LimitError;
use super::keys;
use super::limiter::{Limiter, SharedLimiters};
use super::model::{Action, ExceptionView, LimitKey};
use super::rule::Rule;
use super::scripts::{Except, Excepted, ReadExceptions, Recorded};
use super::strategy::Strategy;
use crate::clock::{Clock, UnixMillis};
use crate::http::reply::Page;
use crate::redis::{Redis, RedisFault};

#[derive(Debug)]
pub(super) struct Exceptions {
    redis: Redis,
    clock: Clock,
    limiters: SharedLimiters,
    most: usize,
    copy: ArcSwap<HashMap<Box<str>, BTreeMap<String, Exception>>>,
}

/// A decision in force.
#[derive(Clone, Debug)]
struct Exception {
    decision: Decided,
    verdict: Verdict,
    ends_at: Option<UnixMillis>,
    /// The same on this process's clock.
    ends: Option<Duration>,
}

/// A decision as it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Decided {
    action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<Strategy>,
}

/// What an exception means for a call.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Allow,
    /// Until then, on this process's clock; `None`: until it is taken back.
    Deny(Option<Duration>),
    /// The limiter with another rule.
    Limit(Arc<Limiter>),
}

impl Exceptions {
    pub(super) fn new(redis: &Redis, clock: &Clock, limiters: &SharedLimiters, most: usize) -> Self {
        Self {
            redis: redis.clone(),
            clock: clock.clone(),
            limiters: Arc::clone(limiters),
            most,
            copy: ArcSwap::default(),
        }
    }

    /// The decision for a limiter's key, if there is one that has not ended.
    pub(super) fn find(&self, limiter: &Limiter, key: &LimitKey) -> Option<Verdict> {
        let copy = self.copy.load();
        // Most services have none.
        if copy.is_empty() {
            return None;
        }
        let exception = copy.get(&limiter.name)?.get(key.as_str())?;
        let has_ended = exception.ends.is_some_and(|ends| ends <= self.clock.elapsed());
        (!has_ended).then(|| exception.verdict.clone())
    }

    /// The decisions of a limiter as this replica knows them, in the order of their keys, after the key `after`.
    pub(super) fn list(&self, limiter: &Limiter, after: Option<&str>, limit: usize) -> Page<ExceptionView> {
        let copy = self.copy.load();
        let now = self.clock.elapsed();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let exceptions = copy.get(&limiter.name);
        let mut items: Vec<ExceptionView> = exceptions
            .into_iter()
            .flat_map(|keys| keys.range::<str, _>((start, Bound::Unbounded)))
            .filter(|(_, exception)| exception.ends.is_none_or(|ends| ends > now))
            .take(limit + 1)
            .map(|(key, exception)| exception.view(key))
            .collect();
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| has_more).map(|last| last.key.clone());
        Page { items, next_cursor }
    }

    /// Decides for a key, for `life` or until it is taken back.
    ///
    /// # Errors
    /// [`LimitError::TooManyExceptions`], [`LimitError::Redis`].
    pub(super) async fn decide(
        &self,
        limiter: &Limiter,
        key: &LimitKey,
        action: Action,
        strategy: Option<Strategy>,
        life: Duration,
    ) -> Result<ExceptionView, LimitError> {
        let decision = Decided { action, strategy };
        // Names, numbers and text always serialise.
        let text = serde_json::to_string(&decision).unwrap_or_default();
        match self.record(&field(limiter, key), &text, life).await? {
            Recorded::Done { ends } => {
                let exception = Exception { decision, verdict: Verdict::Allow, ends_at: ends, ends: None };
                Ok(exception.view(key.as_str()))
            }
            Recorded::TooMany => Err(LimitError::TooManyExceptions { most: self.most }),
        }
    }

    /// Takes a decision back, if there is one.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn take_back(&self, limiter: &Limiter, key: &LimitKey) -> Result<(), RedisFault> {
        self.record(&field(limiter, key), "", Duration::ZERO).await.map(|_| ())
    }

    /// Tells all replicas that something about keys was changed.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn announce(&self) -> Result<(), RedisFault> {
        self.record("", "", Duration::ZERO).await.map(|_| ())
    }

    /// Reads the decisions anew; the mark of the last change.
    ///
    /// # Errors
    /// [`RedisFault`]; the copy stays as it was.
    pub(super) async fn reload(&self) -> Result<String, RedisFault> {
        let read = self.redis.call(&ReadExceptions { key: &self.key(), now: self.clock.redis_arg() }).await?;
        let here = self.clock.elapsed();
        let limiters = self.limiters.load();
        let mut copy: HashMap<Box<str>, BTreeMap<String, Exception>> = HashMap::new();
        for Excepted { limiter, key, ends_at, decision } in read.decisions {
            let left = ends_at.map(|at| at.saturating_sub(read.now));
            // Ended ones take their place until another one needs it; those of limiters that are gone may come back.
            let (false, Some(base)) = (left.is_some_and(|ms| ms <= 0), limiters.get(&limiter)) else { continue };
            let ends = left.map(|ms| here + Duration::from_millis(ms.unsigned_abs()));
            match Exception::new(base, &decision, limiters.sliding_limit, ends_at, ends) {
                Ok(exception) => {
                    copy.entry(base.name.clone()).or_default().insert(key, exception);
                }
                Err(reason) => tracing::warn!(%limiter, key, reason, "an exception cannot be used"),
            }
        }
        self.copy.store(Arc::new(copy));
        Ok(read.mark)
    }

    /// The mark of the last change; empty when nothing was ever changed.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn mark(&self) -> Result<String, RedisFault> {
        let mut look = redis::cmd("HGET");
        look.arg(self.key()).arg("");
        let mark: Option<String> = self.redis.query(&look, crate::redis::Effect::Read).await?;
        Ok(mark.unwrap_or_default())
    }

    async fn record(&self, field: &str, decision: &str, life: Duration) -> Result<Recorded, RedisFault> {
        let now = self.clock.redis_arg();
        self.redis.call(&Except { key: &self.key(), now, field, decision, life, most: self.most }).await
    }

    fn key(&self) -> crate::redis::Key {
        keys::exceptions(self.redis.keys())
    }
}

impl Exception {
    fn new(
        base: &Arc<Limiter>,
        decision: &str,
        sliding_limit: u64,
        ends_at: Option<UnixMillis>,
        ends: Option<Duration>,
    ) -> Result<Self, String> {
        let decision: Decided = serde_json::from_str(decision).map_err(|error| error.to_string())?;
        let verdict = match (decision.action, &decision.strategy) {
            (Action::Allow, _) => Verdict::Allow,
            (Action::Deny, _) => Verdict::Deny(ends),
            (Action::Limit, Some(strategy)) => {
                let rule = Rule::new(strategy.clone(), sliding_limit).map_err(|bad| bad.to_string())?;
                Verdict::Limit(Arc::new(base.with_rule(rule)))
            }
            (Action::Limit, None) => return Err("it has no strategy".to_owned()),
        };
        Ok(Self { decision, verdict, ends_at, ends })
    }

    fn view(&self, key: &str) -> ExceptionView {
        let Decided { action, strategy } = self.decision.clone();
        ExceptionView { key: key.to_owned(), action, strategy, ends_at: self.ends_at }
    }
}

/// Names of limiters have no spaces.
fn field(limiter: &Limiter, key: &LimitKey) -> String {
    format!("{} {}", limiter.name, key.as_str())
}
