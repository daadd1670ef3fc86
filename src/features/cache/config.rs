//! `[cache]`: how long values live and how much of them is taken.

use serde::Deserialize;

use super::model::KEY_LIMIT;
use crate::config::value::{ByteSize, Span};
use crate::config::{FieldError, Section};
use crate::redis::owned_elsewhere;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheConfig {
    /// The life of a value for which neither the caller nor a policy says anything.
    pub default_ttl: Span,
    /// The longest life that a caller may ask for.
    pub max_ttl: Span,
    pub value_limit: ByteSize,
    /// The most items of each list of a batch.
    pub batch_limit: usize,
    /// How long the answer of an increment is kept for its repetition.
    pub answer_ttl: Span,
    /// The longest lease of the stampede guard.
    pub lease_max: Span,
    /// How long a caller waits for the one who rebuilds, when there is no stale value.
    pub lease_wait: Span,
    pub sweep_interval: Span,
    pub sweep_batch: usize,
    pub policies: Vec<Policy>,
}

/// How values under a prefix are kept; the longest matching prefix counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    pub prefix: String,
    /// Absent: until it is replaced or deleted.
    #[serde(default)]
    pub ttl: Option<Span>,
    /// For how long after its expiry a value may still be served while somebody rebuilds it.
    #[serde(default)]
    pub stale: Option<Span>,
    /// Whether the keys stand in Redis under their bare names, because other services of the platform read them.
    #[serde(default)]
    pub platform: bool,
}

impl Section for CacheConfig {
    const NAME: &'static str = "cache";

    fn validate(&self) -> Result<(), FieldError> {
        for (field, span) in [
            ("default_ttl", self.default_ttl),
            ("max_ttl", self.max_ttl),
            ("answer_ttl", self.answer_ttl),
            ("lease_max", self.lease_max),
            ("sweep_interval", self.sweep_interval),
        ] {
            if span.as_millis() == 0 {
                return Err(FieldError::new(field, "must be longer than nothing"));
            }
        }
        if self.default_ttl > self.max_ttl {
            return Err(FieldError::new("default_ttl", "must not exceed max_ttl"));
        }
        for (field, count) in [("batch_limit", self.batch_limit), ("sweep_batch", self.sweep_batch)] {
            if count == 0 {
                return Err(FieldError::new(field, "must be at least 1"));
            }
        }
        for (at, policy) in self.policies.iter().enumerate() {
            policy.validate(self.max_ttl).map_err(|reason| FieldError::new("policies", reason))?;
            if self.policies.iter().take(at).any(|earlier| earlier.prefix == policy.prefix) {
                return Err(FieldError::new("policies", format!("the prefix `{}` stands there twice", policy.prefix)));
            }
        }
        Ok(())
    }
}

impl Policy {
    fn validate(&self, max_ttl: Span) -> Result<(), String> {
        let prefix = &self.prefix;
        if prefix.is_empty() || prefix.len() > KEY_LIMIT || prefix.chars().any(char::is_control) {
            return Err(format!("the prefix `{prefix}` needs 1 to {KEY_LIMIT} bytes without control characters"));
        }
        if self.ttl.is_some_and(|ttl| ttl.as_millis() == 0 || ttl > max_ttl) {
            return Err(format!("the ttl of `{prefix}` must be longer than nothing and not exceed max_ttl"));
        }
        if self.stale.is_some_and(|stale| stale.as_millis() == 0 || stale > max_ttl) {
            return Err(format!("the stale time of `{prefix}` must be longer than nothing and not exceed max_ttl"));
        }
        if !self.platform {
            return Ok(());
        }
        match owned_elsewhere(prefix, "cache") {
            Some(owned) => {
                Err(format!("`{prefix}` with platform = true reaches into `{owned}`, which is not the cache's"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(overrides: &str) -> Result<CacheConfig, String> {
        Config::with_overrides(overrides)
            .and_then(|config| config.section::<CacheConfig>())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_valid_and_know_the_platforms_names() {
        let config = read("").expect("valid");
        // The document states this number as the maximum of every ttl_ms.
        assert_eq!(config.max_ttl.as_millis(), 31_536_000_000);
        assert_eq!(config.value_limit.bytes(), 1 << 20);
        let life = |prefix: &str| {
            let policy = config.policies.iter().find(|policy| policy.prefix == prefix).expect(prefix);
            assert!(policy.platform, "{prefix}");
            policy.ttl.map(|ttl| ttl.to_string())
        };
        assert_eq!(life("user:profile:").as_deref(), Some("1h"));
        assert_eq!(life("user:wallet:").as_deref(), Some("30m"));
        assert_eq!(life("token:balance:").as_deref(), Some("5m"));
        assert_eq!(life("erc:certificate:").as_deref(), Some("1d"));
        assert_eq!(life("market:stats:24h").as_deref(), Some("30s"));
        assert_eq!(life("market:current_epoch"), None);
    }

    #[test]
    fn a_platform_prefix_stays_out_of_other_rooms() {
        for prefix in ["lock:", "lo", "lock:settlement", "market:", "cache:", "ts:value:", "iam:"] {
            let error = read(&format!("[[cache.policies]]\nprefix = \"{prefix}\"\nplatform = true")).expect_err(prefix);
            assert!(error.contains("cache.policies") && error.contains(prefix), "{error}");
        }
        for prefix in ["lock:", "market:"] {
            assert!(read(&format!("[[cache.policies]]\nprefix = \"{prefix}\"\nttl = \"1m\"")).is_ok(), "{prefix}");
        }
    }

    #[test]
    fn a_wrong_number_names_its_field() {
        for (overrides, field) in [
            ("cache.default_ttl = \"0s\"", "cache.default_ttl"),
            ("cache.max_ttl = \"1s\"", "cache.default_ttl"),
            ("cache.batch_limit = 0", "cache.batch_limit"),
            ("cache.sweep_batch = 0", "cache.sweep_batch"),
            ("[[cache.policies]]\nprefix = \"a\"\nttl = \"0s\"", "cache.policies"),
            ("[[cache.policies]]\nprefix = \"\"", "cache.policies"),
            ("[[cache.policies]]\nprefix = \"a\"\n[[cache.policies]]\nprefix = \"a\"", "cache.policies"),
        ] {
            let error = read(overrides).expect_err(overrides);
            assert!(error.contains(field), "{error}");
        }
    }
}
