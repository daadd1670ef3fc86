//! Limiters: named rules, and the ones that callers bring along.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::LimiterConfig;
use super::keys::KeyShape;
use super::metrics::{LimitMetrics, LimiterMetrics};
use super::model::{LimiterStats, LimiterView};
use super::rule::Rule;
use super::strategy::{BadStrategy, Strategy};

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
    /// Whether it only watches.
    pub shadow: bool,
    near: f64,
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
            shadow: config.shadow,
            near: config.near,
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
            shadow: false,
            near: 1.0,
        })
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
            shadow: self.shadow,
            near: self.near,
        }
    }

    pub(super) fn stats(&self) -> LimiterStats {
        self.metrics.stats(&self.name, self.rule.strategy().kind())
    }
}

/// The limiters in force, by name.
#[derive(Debug, Default)]
pub(super) struct Limiters(BTreeMap<Box<str>, Arc<Limiter>>);

impl Limiters {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Limiter>> {
        self.0.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Limiter>> {
        self.0.values()
    }
}

impl FromIterator<Limiter> for Limiters {
    fn from_iter<I: IntoIterator<Item = Limiter>>(limiters: I) -> Self {
        Self(limiters.into_iter().map(|limiter| (limiter.name.clone(), Arc::new(limiter))).collect())
    }
}
