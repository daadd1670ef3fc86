//! `[ratelimit]`: the limiters and the bounds of what they may keep.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::calendar::Period;
use super::keys::{self, KeyShape};
use super::limiter::WithoutRedis;
use super::rule::Rule;
use super::strategy::Strategy;
use crate::config::value::Span;
use crate::config::{FieldError, Section};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RatelimitConfig {
    /// Replicas that share the limits while Redis is away.
    pub instances: u64,
    /// How long an open limiter waits for Redis.
    pub open_timeout: Span,
    /// Keys that a replica counts by itself while Redis is away.
    pub local_keys: usize,
    /// Blocked keys that a replica refuses by itself, and for how long at most.
    pub blocked_keys: usize,
    pub blocked_for: Span,
    /// Keys for which admins may have decided something.
    pub exceptions: usize,
    /// How often a replica looks for changes of admins.
    pub poll_interval: Span,
    /// Keys of each limiter that a reset by prefix can find, and how often expired ones are taken out.
    pub index_limit: usize,
    pub sweep_interval: Span,
    /// Reservations of a key that may be open.
    pub open_reservations: usize,
    /// The highest limit of a sliding window: each call of the window is kept.
    pub sliding_limit: u64,
    /// The limiter that each caller of this service is held to; empty: none.
    pub guard: String,
    pub limiters: Vec<LimiterConfig>,
    /// Which limiters answer which of Envoy's descriptors; none: nobody is answered.
    pub envoy: Vec<DescriptorConfig>,
}

/// Descriptors of one form, and the limiter that counts them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DescriptorConfig {
    pub domain: String,
    /// In the order in which they come.
    pub entries: Vec<EntryConfig>,
    pub limiter: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryConfig {
    pub key: String,
    /// Fits this value only.
    pub value: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimiterConfig {
    pub name: String,
    pub key: KeyShape,
    pub strategy: StrategyConfig,
    pub without_redis: WithoutRedis,
    /// How long a reservation may stay open; absent: none are taken.
    pub reservations: Option<Span>,
    /// What a call costs that does not say.
    #[serde(default = "one")]
    pub cost: u64,
    /// Counts and never refuses.
    #[serde(default)]
    pub shadow: bool,
    /// The share of the limit from which on a call counts as near it.
    #[serde(default = "four_fifths")]
    pub near: f64,
}

const fn one() -> u64 {
    1
}

const fn four_fifths() -> f64 {
    0.8
}

/// A strategy with units, as configuration spells it.
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

/// A sliding window's log of this many calls takes up to 48 MB.
const MAX_SLIDING_LIMIT: u64 = 1_000_000;
/// Entries of a table in memory: some hundred megabytes.
const MAX_REMEMBERED: usize = 10_000_000;
/// All of them are read at once by every replica.
const MAX_EXCEPTIONS: usize = 100_000;
/// Those that return together are given back in one script.
const MAX_RESERVATIONS: usize = 10_000;
/// As long as requests say a reservation can be.
const LONGEST_HOLD: Duration = Duration::from_secs(86_400);
/// Changes are to be seen by all replicas within a second or so.
const LONGEST_POLL: Duration = Duration::from_secs(1);
/// Last parts of routes below `/ratelimit/`, and what limits without a limiter are counted as.
const RESERVED: &[&str] = &["check", "check-all", "enforce", "inline", "limiters", "reservations", "reserve", "stats"];
/// The longest name of a limiter, bytes.
const MAX_NAME: usize = 64;

impl Section for RatelimitConfig {
    const NAME: &'static str = "ratelimit";

    fn validate(&self) -> Result<(), FieldError> {
        if !(1..=MAX_SLIDING_LIMIT).contains(&self.sliding_limit) {
            return Err(FieldError::new("sliding_limit", format!("must be from 1 to {MAX_SLIDING_LIMIT}")));
        }
        if self.instances == 0 {
            return Err(FieldError::new("instances", "must be at least 1"));
        }
        if self.open_timeout.duration().is_zero() {
            return Err(FieldError::new("open_timeout", "must not be 0"));
        }
        for (field, count, most) in [
            ("local_keys", self.local_keys, MAX_REMEMBERED),
            ("blocked_keys", self.blocked_keys, MAX_REMEMBERED),
            ("exceptions", self.exceptions, MAX_EXCEPTIONS),
            ("index_limit", self.index_limit, MAX_REMEMBERED),
            ("open_reservations", self.open_reservations, MAX_RESERVATIONS),
        ] {
            if !(1..=most).contains(&count) {
                return Err(FieldError::new(field, format!("must be from 1 to {most}")));
            }
        }
        if self.sweep_interval.duration().is_zero() {
            return Err(FieldError::new("sweep_interval", "must not be 0"));
        }
        let poll = self.poll_interval.duration();
        if poll.is_zero() || poll > LONGEST_POLL {
            return Err(FieldError::new("poll_interval", "must be longer than nothing and at most 1s"));
        }
        let mut names = BTreeSet::new();
        for (at, limiter) in self.limiters.iter().enumerate() {
            let refuse = |field: &str, reason: String| Err(FieldError::new(format!("limiters[{at}].{field}"), reason));
            if let Err(rule) = check_name(&limiter.name) {
                return refuse("name", rule);
            }
            if !names.insert(&limiter.name) {
                return refuse("name", format!("`{}` stands twice", limiter.name));
            }
            let clashes =
                |taken: &&&str| taken.starts_with(limiter.key.fixed()) || limiter.key.fixed().starts_with(**taken);
            if let Some(taken) = keys::TAKEN.iter().find(clashes) {
                return refuse("key", format!("must not begin like `{taken}`, which is in use"));
            }
            let overlaps = |other: &&LimiterConfig| {
                let (one, two) = (limiter.key.fixed(), other.key.fixed());
                one.starts_with(two) || two.starts_with(one)
            };
            if let Some(other) = self.limiters.iter().take(at).find(overlaps) {
                return refuse("key", format!("must not begin like that of `{}`: their states would mix", other.name));
            }
            let rule = match Rule::new(limiter.strategy.clone().into(), self.sliding_limit) {
                Ok(rule) => rule,
                Err(bad) => return refuse(&format!("strategy.{}", bad.field), bad.rule),
            };
            if !(1..=rule.limit()).contains(&limiter.cost) {
                return refuse("cost", format!("must be from 1 to the limit of {}", rule.limit()));
            }
            if let Some(hold) = limiter.reservations {
                if hold.duration().is_zero() || hold.duration() > LONGEST_HOLD {
                    return refuse("reservations", "must be longer than nothing and at most 1d".to_owned());
                }
                if matches!(limiter.strategy, StrategyConfig::ExponentialBackoff { .. }) {
                    return refuse("reservations", "a back-off counts attempts: there is nothing to settle".to_owned());
                }
            }
            if !(0.0..=1.0).contains(&limiter.near) {
                return refuse("near", "must be from 0 to 1".to_owned());
            }
        }
        if !self.guard.is_empty() && !names.contains(&self.guard) {
            return Err(FieldError::new("guard", format!("no limiter is called `{}`", self.guard)));
        }
        for (at, descriptor) in self.envoy.iter().enumerate() {
            let refuse = |field: &str, reason: String| Err(FieldError::new(format!("envoy[{at}].{field}"), reason));
            if descriptor.domain.is_empty() {
                return refuse("domain", "must not be empty".to_owned());
            }
            if descriptor.entries.is_empty() || descriptor.entries.iter().any(|entry| entry.key.is_empty()) {
                return refuse("entries", "needs entries, each with a key".to_owned());
            }
            if !names.contains(&descriptor.limiter) {
                return refuse("limiter", format!("no limiter is called `{}`", descriptor.limiter));
            }
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if !(1..=MAX_NAME).contains(&name.len()) || !is_plain {
        return Err(format!("needs 1 to {MAX_NAME} letters, digits, `_`, `-` or `.`"));
    }
    if RESERVED.contains(&name) {
        return Err(format!("`{name}` is the name of a route"));
    }
    Ok(())
}
