//! Limiters: named rules, and the ones that callers bring along.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::config::{LimiterConfig, RatelimitConfig};
use super::envoy::Descriptors;
use super::keys::KeyShape;
use super::metrics::{LimitMetrics, LimiterMetrics};
use super::model::{LimiterStats, LimiterView};
use super::rule::{Plan, Rule};
use super::strategy::{BadStrategy, Strategy};
use crate::config::value::Span;

/// What a limiter does while Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum WithoutRedis {
    /// Counts in each replica's memory, and says so.
    Open,
    /// Lets nothing through.
    Closed,
}

/// The name under which limits with a caller's own strategy are counted.
const INLINE: &str = "inline";

/// A rule with everything that a check of it needs.
#[derive(Debug)]
pub(super) struct Limiter {
    pub name: Box<str>,
    pub shape: KeyShape,
    pub rule: Rule,
    /// What a call costs that does not say.
    pub cost: u64,
    pub without_redis: WithoutRedis,
    /// How long a reservation may stay open, where any are taken.
    pub reservations: Option<Duration>,
    /// Whether it only watches.
    pub shadow: bool,
    near: f64,
    /// Whether its keys are listed, for resets.
    pub is_listed: bool,
    pub metrics: LimiterMetrics,
}

impl Limiter {
    /// # Errors
    /// [`BadStrategy`] naming the field.
    pub(super) fn new(config: LimiterConfig, log_limit: u64, metrics: &LimitMetrics) -> Result<Self, BadStrategy> {
        let rule = Rule::new(config.strategy.into(), log_limit)?;
        Ok(Self {
            metrics: metrics.limiter(&config.name, rule.strategy().kind()),
            name: config.name.into(),
            shape: config.key,
            rule,
            cost: config.cost,
            without_redis: config.without_redis,
            reservations: config.reservations.map(Span::duration),
            shadow: config.shadow,
            near: config.near,
            is_listed: true,
        })
    }

    /// A limiter for one call, with the caller's strategy.
    ///
    /// # Errors
    /// [`BadStrategy`] naming the field.
    pub(super) fn inline(strategy: Strategy, log_limit: u64, metrics: &LimitMetrics) -> Result<Self, BadStrategy> {
        let rule = Rule::new(strategy, log_limit)?;
        Ok(Self {
            metrics: metrics.limiter(INLINE, rule.strategy().kind()),
            name: INLINE.into(),
            shape: KeyShape::inline(rule.strategy()),
            rule,
            cost: 1,
            // Nobody has said that it may be exceeded.
            without_redis: WithoutRedis::Closed,
            reservations: None,
            shadow: false,
            near: 1.0,
            is_listed: false,
        })
    }

    /// The same limiter with another rule, for a key of its own.
    pub(super) fn with_rule(&self, rule: Rule) -> Self {
        // A back-off counts attempts: there is nothing to settle.
        let is_backoff = matches!(rule.plan, Plan::Backoff { .. });
        Self {
            name: self.name.clone(),
            shape: self.shape.clone(),
            cost: self.cost.min(rule.limit()),
            rule,
            without_redis: self.without_redis,
            reservations: self.reservations.filter(|_| !is_backoff),
            shadow: self.shadow,
            near: self.near,
            is_listed: self.is_listed,
            metrics: self.metrics.clone(),
        }
    }

    /// What may remain of `limit` for a call to count as near it.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "limits are below 2^53, and shares between 0 and 1"
    )]
    pub(super) fn near_remaining(&self, limit: u64) -> u64 {
        (limit as f64 * (1.0 - self.near)) as u64
    }

    pub(super) fn view(&self) -> LimiterView {
        LimiterView {
            name: self.name.to_string(),
            key: self.shape.as_str().to_owned(),
            strategy: self.rule.strategy().clone(),
            cost: self.cost,
            without_redis: self.without_redis,
            reservations_ms: self.reservations.map(|longest| u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)),
            shadow: self.shadow,
            near: self.near,
        }
    }

    pub(super) fn stats(&self) -> LimiterStats {
        self.metrics.stats(&self.name, self.rule.strategy().kind())
    }
}

/// The limiters in force, by name, and what leads to them.
#[derive(Debug)]
pub(super) struct Limiters {
    by_name: BTreeMap<Box<str>, Arc<Limiter>>,
    /// The highest limit of a sliding window.
    pub sliding_limit: u64,
    /// The one that this service's own callers are held to.
    pub guard: Option<Arc<Limiter>>,
    pub envoy: Descriptors,
}

/// They change when the configuration is read again.
pub(super) type SharedLimiters = Arc<ArcSwap<Limiters>>;

impl Limiters {
    /// # Errors
    /// The first [`BadStrategy`].
    pub(super) fn new(config: &RatelimitConfig, metrics: &LimitMetrics) -> Result<Self, BadStrategy> {
        let sliding_limit = config.sliding_limit;
        let limiters = config.limiters.iter().map(|limiter| {
            let limiter = Limiter::new(limiter.clone(), sliding_limit, metrics)?;
            Ok((limiter.name.clone(), Arc::new(limiter)))
        });
        let by_name: BTreeMap<Box<str>, Arc<Limiter>> = limiters.collect::<Result<_, _>>()?;
        let guard = by_name.get(config.guard.as_str()).cloned();
        Ok(Self { by_name, sliding_limit, guard, envoy: Descriptors::new(&config.envoy) })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Limiter>> {
        self.by_name.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Limiter>> {
        self.by_name.values()
    }
}
