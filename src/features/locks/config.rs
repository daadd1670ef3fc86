//! `[locks]`: lengths of leases and waits, named locks, bounds.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use crate::config::fencing::FencingConfig;
use crate::config::redis::ServerUrl;
use crate::config::value::{ByteSize, Span};
use crate::config::{Config, ConfigError, FieldError, Section};
use crate::http::access::LONGEST_WAIT;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LocksConfig {
    pub min_ttl: Span,
    pub max_ttl: Span,
    pub max_wait: Span,
    pub fence_life: Span,
    pub turn: Span,
    pub recheck: Span,
    pub queue_limit: usize,
    pub waiters: usize,
    pub metadata_limit: ByteSize,
    pub index_limit: usize,
    pub index_interval: Span,
    /// Independent masters; empty keeps locks on the state role's Redis.
    pub nodes: Vec<ServerUrl>,
    pub node_timeout: Span,
    pub nodes_durable: bool,
    pub named: Vec<NamedLock>,
}

/// A family of locks with defaults of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedLock {
    /// The start of the resources that belong to it; the longest one counts.
    pub prefix: String,
    /// When a caller does not say.
    pub ttl: Span,
    pub max_ttl: Span,
    /// When a caller does not say.
    pub wait: Span,
    /// What an extension adds when a caller does not say.
    pub extension: Span,
}

impl LocksConfig {
    /// The family that a resource belongs to.
    pub(super) fn named(&self, resource: &str) -> Option<&NamedLock> {
        self.named.iter().filter(|lock| resource.starts_with(&lock.prefix)).max_by_key(|lock| lock.prefix.len())
    }

    /// The longest lease that anybody may have.
    pub(super) fn largest_lease(&self) -> Duration {
        let named = self.named.iter().map(|lock| lock.max_ttl);
        named.chain([self.max_ttl]).max().unwrap_or(self.max_ttl).duration()
    }
}

/// Checks `[locks]`, also against what it shares with those who take guarded writes.
///
/// # Errors
/// As [`Config::section`]; a lease that outlives the fences of deleted data is `locks.max_ttl`'s mistake.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let locks: LocksConfig = config.section()?;
    let fencing: FencingConfig = config.section()?;
    if locks.largest_lease() <= fencing.outlive.duration() {
        return Ok(());
    }
    // A holder that still counts on its lease must not find its target's fence forgotten.
    let rule = format!("no max_ttl may be longer than fencing.outlive ({})", fencing.outlive);
    Err(config.refuse::<LocksConfig>(FieldError::new("max_ttl", rule)))
}

/// Below this a lease is over before its holder knows of it.
const SHORTEST_TTL: Duration = Duration::from_millis(10);

impl Section for LocksConfig {
    const NAME: &'static str = "locks";

    fn validate(&self) -> Result<(), FieldError> {
        if self.min_ttl.duration() < SHORTEST_TTL {
            return Err(FieldError::new("min_ttl", "must be at least 10ms"));
        }
        if self.max_ttl < self.min_ttl {
            return Err(FieldError::new("max_ttl", "must not be shorter than min_ttl"));
        }
        if self.max_wait.duration() > LONGEST_WAIT {
            return Err(FieldError::new("max_wait", "must not be longer than 30s"));
        }
        // The fence may be forgotten only when Redis's clock has left every token behind.
        if self.fence_life.duration() < self.largest_lease() * 2 {
            return Err(FieldError::new("fence_life", "must be at least twice the longest max_ttl"));
        }
        for (field, span) in [
            ("turn", self.turn),
            ("node_timeout", self.node_timeout),
            ("recheck", self.recheck),
            ("index_interval", self.index_interval),
        ] {
            if span.duration().is_zero() {
                return Err(FieldError::new(field, "must not be 0"));
            }
        }
        for (field, count) in
            [("queue_limit", self.queue_limit), ("waiters", self.waiters), ("index_limit", self.index_limit)]
        {
            if count == 0 {
                return Err(FieldError::new(field, "must be at least 1"));
            }
        }
        if !matches!(self.nodes.len(), 0 | 1 | 3 | 5) {
            return Err(FieldError::new("nodes", "must be none, 1, 3 or 5: an even number tolerates no more failures"));
        }
        let different: BTreeSet<&str> = self.nodes.iter().map(ServerUrl::expose).collect();
        if different.len() < self.nodes.len() {
            return Err(FieldError::new("nodes", "must all be different: a majority of one server is none"));
        }
        self.named.iter().enumerate().try_for_each(|(at, lock)| self.validate_named(at, lock))
    }
}

impl LocksConfig {
    fn validate_named(&self, at: usize, lock: &NamedLock) -> Result<(), FieldError> {
        let refuse = |field: &str, reason: &str| Err(FieldError::new(format!("named[{at}].{field}"), reason));
        if lock.prefix.is_empty() {
            return refuse("prefix", "must not be empty");
        }
        if self.named.iter().take(at).any(|other| other.prefix == lock.prefix) {
            return refuse("prefix", "stands twice");
        }
        if lock.max_ttl < self.min_ttl {
            return refuse("max_ttl", "must not be shorter than min_ttl");
        }
        for (field, span) in [("ttl", lock.ttl), ("extension", lock.extension)] {
            if span < self.min_ttl || span > lock.max_ttl {
                return refuse(field, "must be from min_ttl to its max_ttl");
            }
        }
        if lock.wait > self.max_wait {
            return refuse("wait", "must not be longer than max_wait");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(overrides: &str) -> Result<LocksConfig, String> {
        let config = Config::with_overrides(&format!("[locks]\n{overrides}")).expect("TOML");
        config.section().map_err(|error| error.to_string())
    }

    #[test]
    fn the_longest_prefix_names_a_lock() {
        let family = "ttl = \"1s\"\nmax_ttl = \"2s\"\nwait = \"0s\"\nextension = \"1s\"";
        let text =
            format!("[[locks.named]]\nprefix = \"a:\"\n{family}\n[[locks.named]]\nprefix = \"a:b:\"\n{family}\n");
        let config = section(&text).expect("valid");
        let prefix = |resource| config.named(resource).map(|lock| lock.prefix.as_str());
        assert_eq!(prefix("a:b:c"), Some("a:b:"));
        assert_eq!(prefix("a:c"), Some("a:"));
        assert_eq!(prefix("b"), None);
    }

    #[test]
    fn the_shipped_locks_allow_what_the_platform_asks_for() {
        let config = section("").expect("the defaults");
        assert_eq!(config.largest_lease(), Duration::from_secs(120));
        assert_eq!(config.named("token_minting:wallet").map(|lock| lock.ttl.as_millis()), Some(120_000));
    }

    #[test]
    fn no_lease_outlives_the_fences() {
        let family = "prefix = \"a\"\nttl = \"1s\"\nwait = \"0s\"\nextension = \"1s\"";
        for (overrides, is_safe) in [
            ("[fencing]\noutlive = \"2m\"".to_owned(), true),
            ("[fencing]\noutlive = \"119s\"".to_owned(), false),
            (format!("[[locks.named]]\n{family}\nmax_ttl = \"601s\""), false),
        ] {
            let checked = check(&Config::with_overrides(&overrides).expect("TOML"));
            assert_eq!(checked.is_ok(), is_safe, "{overrides}: {checked:?}");
            let told = checked.map_or_else(|error| error.to_string(), |()| "locks.max_ttl fencing.outlive".to_owned());
            assert!(told.contains("locks.max_ttl") && told.contains("fencing.outlive"), "{told}");
        }
    }

    #[test]
    fn what_would_be_unsafe_is_refused_and_named() {
        for (overrides, field) in [
            ("min_ttl = \"1ms\"", "locks.min_ttl"),
            ("max_ttl = \"50ms\"", "locks.max_ttl"),
            ("max_wait = \"31s\"", "locks.max_wait"),
            ("fence_life = \"2m\"", "locks.fence_life"),
            ("turn = \"0s\"", "locks.turn"),
            ("waiters = 0", "locks.waiters"),
            ("nodes = [\"redis://a\", \"redis://b\"]", "locks.nodes"),
            ("nodes = [\"redis://a\", \"redis://b\", \"redis://a\"]", "locks.nodes"),
            (
                "[[locks.named]]\nprefix = \"a\"\nttl = \"3s\"\nmax_ttl = \"2s\"\nwait = \"0s\"\nextension = \"1s\"",
                "locks.named[0].ttl",
            ),
        ] {
            let error = section(overrides).expect_err("refused");
            assert!(error.contains(field), "{overrides}: {error}");
        }
    }
}
