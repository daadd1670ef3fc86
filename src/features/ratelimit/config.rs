//! `[ratelimit]`: the limiters, and bounds on their memory.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::keys::{self, KeyPattern};
use super::model::WithoutRedis;
use super::strategy::calendar::Period;
use super::strategy::rule::Rule;
use super::strategy::{InvalidField, MAX_LIMIT, Strategy};
use crate::config::value::Span;
use crate::config::{FieldError, Section};
use crate::redis::owned_elsewhere;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RatelimitConfig {
    /// Replicas that share the open limits while Redis is unavailable.
    pub instances: u64,
    /// How long a check of an open limiter waits for a Redis that is silent.
    pub open_timeout: Span,
    /// Keys that a replica counts in memory while Redis is unavailable.
    pub local_keys: usize,
    /// Requests per second of one credential at this replica; 0: any number.
    pub caller_rate: u64,
    /// The limiter of this service's own callers; empty: none.
    pub guard: String,
    pub limiters: Vec<LimiterConfig>,
    /// The limiters of Envoy's descriptors; empty: the route answers 404.
    pub envoy: Vec<DescriptorConfig>,
}

/// Descriptors with these entries, and their limiter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DescriptorConfig {
    pub domain: String,
    /// In the order of a descriptor's entries.
    pub entries: Vec<EntryConfig>,
    pub limiter: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryConfig {
    pub key: String,
    /// The only value that matches; absent: any value.
    pub value: Option<String>,
}

/// One limiter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimiterConfig {
    pub name: String,
    pub key: KeyPattern,
    pub strategy: StrategyConfig,
    #[serde(default)]
    pub without_redis: WithoutRedis,
    /// How long a reservation may stay open; absent: the limiter takes none.
    pub reservations: Option<Span>,
    /// The cost of a call that does not state one.
    #[serde(default = "one")]
    pub cost: u64,
    /// Counts and never refuses.
    #[serde(default)]
    pub shadow: bool,
    /// The used share of the limit from which a call counts as near the limit.
    #[serde(default = "four_fifths")]
    pub near: f64,
}

const fn one() -> u64 {
    1
}

const fn four_fifths() -> f64 {
    0.8
}

/// A strategy as the configuration spells it: durations carry their units.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum StrategyConfig {
    SlidingWindow { limit: u64, window: Span },
    FixedWindow { limit: u64, window: Option<Span>, calendar: Option<Period>, zone: Option<String> },
    TokenBucket { capacity: u64, refill_per_second: f64 },
    Gcra { limit: u64, period: Span, burst: Option<u64> },
    ExponentialBackoff { limit: u64, window: Span, factor: f64, maximum: Span, decay: Option<Span> },
}

impl From<StrategyConfig> for Strategy {
    fn from(config: StrategyConfig) -> Self {
        match config {
            StrategyConfig::SlidingWindow { limit, window } => {
                Self::SlidingWindow { limit, window_ms: window.as_millis() }
            }
            StrategyConfig::FixedWindow { limit, window, calendar, zone } => {
                Self::FixedWindow { limit, window_ms: window.map(Span::as_millis), calendar, zone }
            }
            StrategyConfig::TokenBucket { capacity, refill_per_second } => {
                Self::TokenBucket { capacity, refill_per_second }
            }
            StrategyConfig::Gcra { limit, period, burst } => Self::Gcra { limit, period_ms: period.as_millis(), burst },
            StrategyConfig::ExponentialBackoff { limit, window, factor, maximum, decay } => Self::ExponentialBackoff {
                limit,
                window_ms: window.as_millis(),
                factor,
                maximum_ms: maximum.as_millis(),
                decay_ms: decay.map(Span::as_millis),
            },
        }
    }
}

/// Keys in memory, which take up to about 320 MB.
const MAX_KEYS: usize = 10_000_000;
/// The longest `hold_ms` that a request may state.
const MAX_HOLD: Duration = Duration::from_secs(86_400);
/// Names of routes below `/ratelimit/`, and the metrics labels of limits that have no limiter in the configuration.
const RESERVED_NAMES: &[&str] =
    &["caller_rate", "check", "check-all", "enforce", "inline", "limiters", "reservations", "reserve", "stats"];
/// The longest name of a limiter, bytes.
const MAX_NAME: usize = 64;

impl Section for RatelimitConfig {
    const NAME: &'static str = "ratelimit";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("instances", self.instances == 0),
            ("open_timeout", self.open_timeout.as_millis() == 0),
        ])?;
        if !(1..=MAX_KEYS).contains(&self.local_keys) {
            return Err(FieldError::new(
                "local_keys",
                format!("must be between 1 and {MAX_KEYS}, got {}", self.local_keys),
            ));
        }
        if self.caller_rate > MAX_LIMIT {
            let rule = format!("must be at most {MAX_LIMIT}, got {}", self.caller_rate);
            return Err(FieldError::new("caller_rate", rule));
        }
        let mut names = BTreeSet::new();
        for (at, limiter) in self.limiters.iter().enumerate() {
            let others = self.limiters.get(..at).unwrap_or_default();
            limiter
                .validate(others)
                .map_err(|InvalidField { field, rule }| FieldError::new(format!("limiters[{at}].{field}"), rule))?;
            names.insert(&limiter.name);
        }
        if !self.guard.is_empty() && !names.contains(&self.guard) {
            return Err(FieldError::new("guard", format!("must name a limiter, got `{}`", self.guard)));
        }
        for (at, descriptor) in self.envoy.iter().enumerate() {
            let refuse = |field: &str, reason: String| Err(FieldError::new(format!("envoy[{at}].{field}"), reason));
            if descriptor.domain.is_empty() {
                return refuse("domain", "must not be empty".to_owned());
            }
            if descriptor.entries.is_empty() || descriptor.entries.iter().any(|entry| entry.key.is_empty()) {
                return refuse("entries", "must not be empty, and each entry needs a key".to_owned());
            }
            let is_equal = |earlier: &DescriptorConfig| {
                (&earlier.domain, &earlier.entries) == (&descriptor.domain, &descriptor.entries)
            };
            if self.envoy.iter().take(at).any(is_equal) {
                return refuse("entries", "must not be repeated in a domain".to_owned());
            }
            if !names.contains(&descriptor.limiter) {
                return refuse("limiter", format!("must name a limiter, got `{}`", descriptor.limiter));
            }
        }
        Ok(())
    }
}

impl LimiterConfig {
    fn validate(&self, others: &[Self]) -> Result<(), InvalidField> {
        let refuse = |field: &str, rule: String| Err(InvalidField::new(field, rule));
        let name = &self.name;
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        if !(1..=MAX_NAME).contains(&name.len()) || !is_plain {
            return refuse("name", format!("must consist of 1 to {MAX_NAME} letters, digits, `_`, `-` or `.`"));
        }
        if RESERVED_NAMES.contains(&name.as_str()) {
            return refuse("name", format!("must not be `{name}`, which is reserved"));
        }
        if others.iter().any(|other| other.name == *name) {
            return refuse("name", format!("must not be repeated, got `{name}` twice"));
        }
        let prefix = self.key.prefix();
        let overlaps = |other: &str| other.starts_with(prefix) || prefix.starts_with(other);
        if let Some(taken) = keys::RESERVED_PREFIXES.iter().find(|taken| overlaps(taken)) {
            return refuse("key", format!("must not begin with `{taken}`, which is reserved"));
        }
        if let Some(taken) = owned_elsewhere(prefix, RatelimitConfig::NAME) {
            return refuse("key", format!("must not overlap `{taken}`, where other data are stored"));
        }
        if let Some(other) = others.iter().find(|other| overlaps(other.key.prefix())) {
            return refuse("key", format!("must not overlap the keys of `{}`, or their states would mix", other.name));
        }
        let rule = Rule::new(self.strategy.clone().into())
            .map_err(|InvalidField { field, rule }| InvalidField { field: format!("strategy.{field}"), rule })?;
        if !(1..=rule.limit).contains(&self.cost) {
            return refuse("cost", format!("must be between 1 and the limit of {}, got {}", rule.limit, self.cost));
        }
        if let Some(hold) = self.reservations {
            if hold.duration().is_zero() || hold.duration() > MAX_HOLD {
                return refuse("reservations", "must be longer than 0 and at most 1d".to_owned());
            }
            if matches!(self.strategy, StrategyConfig::ExponentialBackoff { .. }) {
                let rule = "must be absent: an exponential back-off takes no reservations";
                return refuse("reservations", rule.to_owned());
            }
        }
        if !(0.0..=1.0).contains(&self.near) {
            return refuse("near", format!("must be between 0 and 1, got {}", self.near));
        }
        Ok(())
    }
}
