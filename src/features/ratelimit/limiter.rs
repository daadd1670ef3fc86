//! Limiters: the named rules in force, and the ones that callers send along.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::{DescriptorConfig, LimiterConfig, RatelimitConfig};
use super::keys::KeyPattern;
use super::metrics::{LimitMetrics, LimiterMetrics};
use super::model::{LimiterStats, LimiterView, WithoutRedis};
use super::strategy::rule::{Algorithm, Rule};
use super::strategy::{InvalidField, Strategy};
use crate::config::value::Span;
use arc_swap::ArcSwap;

/// The name under which the metrics count limits with a caller's own strategy.
const INLINE: &str = "inline";
/// The name of the limit `ratelimit.caller_rate` in metrics and headers.
const CALLER_RATE: &str = "caller_rate";

/// A rule with everything that a check needs.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    pub name: Box<str>,
    pub pattern: KeyPattern,
    pub rule: Rule,
    /// The cost of a call that does not state one.
    pub cost: u64,
    pub without_redis: WithoutRedis,
    /// How long a reservation may stay open, milliseconds; `None` if the limiter takes none.
    pub reservations_ms: Option<u64>,
    /// Whether it counts and never refuses.
    pub shadow: bool,
    near: f64,
    /// Whether the rule is a caller's own. Its keys are then not indexed for resets by prefix.
    pub is_inline: bool,
    pub metrics: LimiterMetrics,
}

impl Limiter {
    /// # Errors
    /// [`InvalidField`] of the strategy.
    pub(super) fn new(config: LimiterConfig, metrics: &LimitMetrics) -> Result<Self, InvalidField> {
        let rule = Rule::new(config.strategy.into())?;
        Ok(Self {
            metrics: metrics.limiter(&config.name, rule.strategy.kind()),
            name: config.name.into(),
            pattern: config.key,
            rule,
            cost: config.cost,
            without_redis: config.without_redis,
            reservations_ms: config.reservations.map(Span::as_millis),
            shadow: config.shadow,
            near: config.near,
            is_inline: false,
        })
    }

    /// Makes a limiter for one call, with the caller's strategy.
    ///
    /// # Errors
    /// [`InvalidField`] of the strategy.
    pub(super) fn inline(strategy: Strategy, metrics: &LimitMetrics) -> Result<Self, InvalidField> {
        Self::without_config(INLINE, strategy, metrics)
    }

    /// Makes the limiter of this service's own callers that each replica counts in memory: `rate` requests per second.
    ///
    /// # Errors
    /// [`InvalidField`] if the rate is no limit.
    fn of_callers(rate: u64, metrics: &LimitMetrics) -> Result<Self, InvalidField> {
        let strategy = Strategy::FixedWindow { limit: rate, window_ms: Some(1_000), calendar: None, zone: None };
        Self::without_config(CALLER_RATE, strategy, metrics)
    }

    fn without_config(name: &str, strategy: Strategy, metrics: &LimitMetrics) -> Result<Self, InvalidField> {
        let rule = Rule::new(strategy)?;
        Ok(Self {
            metrics: metrics.limiter(name, rule.strategy.kind()),
            name: name.into(),
            pattern: KeyPattern::inline(&rule),
            rule,
            cost: 1,
            // The caller did not say that the limit may be exceeded.
            without_redis: WithoutRedis::Closed,
            reservations_ms: None,
            shadow: false,
            near: 1.0,
            is_inline: true,
        })
    }

    /// Copies the limiter with another rule, for a key that has an override.
    pub(super) fn with_rule(&self, rule: Rule) -> Self {
        // A back-off counts attempts, so there is nothing to settle.
        let is_backoff = matches!(rule.algorithm, Algorithm::Backoff { .. });
        let shares = rule.can_share_state_of(&self.rule);
        Self {
            pattern: if shares { self.pattern.clone() } else { self.pattern.of_exceptions() },
            cost: self.cost.min(rule.limit),
            reservations_ms: self.reservations_ms.filter(|_| !is_backoff),
            rule,
            ..self.clone()
        }
    }

    /// Copies the limiter with the states of exceptions that count apart.
    pub(super) fn of_exceptions(&self) -> Self {
        Self { pattern: self.pattern.of_exceptions(), ..self.clone() }
    }

    /// The highest remainder of `limit` at which a call counts as near the limit.
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
            key: self.pattern.as_str().to_owned(),
            strategy: self.rule.strategy.clone(),
            cost: self.cost,
            without_redis: self.without_redis,
            reservations_ms: self.reservations_ms,
            shadow: self.shadow,
            near: self.near,
        }
    }

    pub(super) fn stats(&self) -> LimiterStats {
        LimiterStats {
            limiter: self.name.to_string(),
            strategy: self.rule.strategy.kind(),
            allowed: self.metrics.allowed.get(),
            refused: self.metrics.refused.get(),
            near: self.metrics.near.get(),
            shadow: self.metrics.shadow.get(),
            degraded: self.metrics.degraded.get(),
        }
    }
}

/// The limiters in force by name, and the settings that refer to them.
#[derive(Debug)]
pub(super) struct Limiters {
    by_name: BTreeMap<Box<str>, Arc<Limiter>>,
    /// The limiter of this service's own callers that each replica counts in memory.
    pub callers: Option<Arc<Limiter>>,
    /// The limiter of this service's own callers that all replicas share.
    pub guard: Option<Arc<Limiter>>,
    pub envoy: Vec<DescriptorConfig>,
}

/// A reload of the configuration replaces the table.
pub(super) type SharedLimiters = Arc<ArcSwap<Limiters>>;

impl Limiters {
    /// # Errors
    /// The first [`InvalidField`] of a strategy.
    pub(super) fn new(config: &RatelimitConfig, metrics: &LimitMetrics) -> Result<Self, InvalidField> {
        let limiters = config.limiters.iter().map(|limiter| {
            let limiter = Limiter::new(limiter.clone(), metrics)?;
            Ok((limiter.name.clone(), Arc::new(limiter)))
        });
        let by_name: BTreeMap<Box<str>, Arc<Limiter>> = limiters.collect::<Result<_, _>>()?;
        let guard = by_name.get(config.guard.as_str()).cloned();
        let callers = match config.caller_rate {
            0 => None,
            rate => Some(Arc::new(Limiter::of_callers(rate, metrics)?)),
        };
        Ok(Self { by_name, callers, guard, envoy: config.envoy.clone() })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Limiter>> {
        self.by_name.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Limiter>> {
        self.by_name.values()
    }
}
