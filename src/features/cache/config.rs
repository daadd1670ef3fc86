//! `[cache]`: TTLs and size limits.

use serde::Deserialize;

use super::model::KEY_LIMIT;
use crate::config::value::{ByteSize, Span};
use crate::config::{FieldError, Section};
use crate::redis::owned_elsewhere;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheConfig {
    /// The TTL of a value if neither the client nor a policy sets one.
    pub default_ttl: Span,
    /// The longest TTL that a client may set.
    pub max_ttl: Span,
    pub value_limit: ByteSize,
    /// The most items in each list of a batch.
    pub batch_limit: usize,
    pub policies: Vec<Policy>,
}

/// How values with a prefix are stored; the longest matching prefix counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    pub prefix: String,
    /// Absent: the value stays until it is replaced or deleted.
    #[serde(default)]
    pub ttl: Option<Span>,
    /// How long after its expiry a value may still be served while one client rebuilds it.
    #[serde(default)]
    pub stale: Option<Span>,
    /// Whether the keys have no prefix of the cache in Redis, because other services of the platform read them.
    #[serde(default)]
    pub platform: bool,
}

impl Section for CacheConfig {
    const NAME: &'static str = "cache";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("default_ttl", self.default_ttl.as_millis() == 0),
            ("max_ttl", self.max_ttl.as_millis() == 0),
            ("batch_limit", self.batch_limit == 0),
            ("value_limit", self.value_limit.bytes() == 0),
        ])?;
        if self.default_ttl > self.max_ttl {
            return Err(FieldError::new("default_ttl", "must not exceed max_ttl"));
        }
        for (at, policy) in self.policies.iter().enumerate() {
            policy.validate(self.max_ttl).map_err(|reason| FieldError::new("policies", reason))?;
            if self.policies.iter().take(at).any(|earlier| earlier.prefix == policy.prefix) {
                return Err(FieldError::new(
                    "policies",
                    format!("the prefix `{}` must not be repeated", policy.prefix),
                ));
            }
        }
        Ok(())
    }
}

impl Policy {
    fn validate(&self, max_ttl: Span) -> Result<(), String> {
        let prefix = &self.prefix;
        if prefix.is_empty() || prefix.len() > KEY_LIMIT || prefix.chars().any(char::is_control) {
            return Err(format!("the prefix `{prefix}` must have 1 to {KEY_LIMIT} bytes without control characters"));
        }
        if self.ttl.is_some_and(|ttl| ttl.as_millis() == 0 || ttl > max_ttl) {
            return Err(format!("the ttl of `{prefix}` must not be 0 and must not exceed max_ttl"));
        }
        if self.stale.is_some_and(|stale| stale.as_millis() == 0 || stale > max_ttl) {
            return Err(format!("the stale time of `{prefix}` must not be 0 and must not exceed max_ttl"));
        }
        if !self.platform {
            return Ok(());
        }
        match owned_elsewhere(prefix, "cache") {
            Some(owned) => {
                Err(format!("`{prefix}` with platform = true would include `{owned}`, which the cache does not own"))
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
    fn the_defaults_are_valid_and_cover_the_platforms_keys() {
        let config = read("").expect("valid");
        // The API document states this number as the maximum of every ttl_ms.
        assert_eq!(config.max_ttl.as_millis(), 31_536_000_000);
        assert_eq!(config.value_limit.bytes(), 1 << 20);
        let ttl_of = |prefix: &str| {
            let policy = config.policies.iter().find(|policy| policy.prefix == prefix).expect(prefix);
            assert!(policy.platform, "{prefix}");
            policy.ttl.map(|ttl| ttl.to_string())
        };
        assert_eq!(ttl_of("user:profile:").as_deref(), Some("1h"));
        assert_eq!(ttl_of("user:wallet:").as_deref(), Some("30m"));
        assert_eq!(ttl_of("token:balance:").as_deref(), Some("5m"));
        assert_eq!(ttl_of("erc:certificate:").as_deref(), Some("1d"));
        assert_eq!(ttl_of("market:stats:24h").as_deref(), Some("30s"));
    }

    #[test]
    fn a_platform_prefix_must_not_include_keys_of_other_capabilities() {
        for prefix in ["lock:", "lo", "lock:settlement", "market:", "cache:", "ts:value:", "iam:"] {
            let error = read(&format!("[[cache.policies]]\nprefix = \"{prefix}\"\nplatform = true")).expect_err(prefix);
            assert!(error.contains("cache.policies") && error.contains(prefix), "{error}");
        }
        for prefix in ["lock:", "market:"] {
            assert!(read(&format!("[[cache.policies]]\nprefix = \"{prefix}\"\nttl = \"1m\"")).is_ok(), "{prefix}");
        }
    }

    #[test]
    fn an_invalid_setting_is_named() {
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
