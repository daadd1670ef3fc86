//! `[locks]`: lengths of leases and waits, limits, lock nodes, named locks.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use crate::config::fencing::FencingConfig;
use crate::config::redis::ServerUrl;
use crate::config::value::Span;
use crate::config::{Config, ConfigError, FieldError, Section, longest_prefix};
use crate::http::access::LONGEST_WAIT;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LocksConfig {
    pub max_ttl: Span,
    pub max_wait: Span,
    /// How often a waiter asks Redis without being woken.
    pub recheck: Span,
    /// The most waiters of one lock.
    pub queue_limit: usize,
    /// The most waiters at one replica.
    pub waiters: usize,
    /// Independent masters that keep the locks. If empty, the Redis of the state role keeps them.
    pub nodes: Vec<ServerUrl>,
    pub node_timeout: Span,
    pub nodes_durable: bool,
    pub named: Vec<NamedLock>,
}

/// The defaults and limits of locks whose names start with a prefix.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedLock {
    /// The start of the resources' names. The longest matching prefix applies.
    pub prefix: String,
    /// The lease of a request without `ttl_ms`.
    pub ttl: Span,
    /// `locks.max_ttl` if absent.
    max_ttl: Option<Span>,
    /// The wait of a request without `wait_ms`; none if absent.
    wait: Option<Span>,
    /// The lease of an extension without `ttl_ms`; `ttl` if absent.
    extension: Option<Span>,
}

impl NamedLock {
    pub(super) fn wait(&self) -> Duration {
        self.wait.map(Span::duration).unwrap_or_default()
    }

    pub(super) fn extension(&self) -> Span {
        self.extension.unwrap_or(self.ttl)
    }
}

/// The shortest lease: a shorter one could end before its holder receives the response.
pub(super) const MIN_TTL: Span = Span::from_millis(100);

/// How long Redis remembers the highest fencing token after the last grant, at least.
///
/// Redis may forget the token once its clock, in microseconds, is far beyond it, since every new token is at least that
/// clock's value. So this bounds how far the clock may be set back, and a mistake of one hour is common. Each resource
/// costs 165 bytes until then.
const MIN_FENCE_TTL: Duration = Duration::from_secs(2 * 3_600);

impl LocksConfig {
    /// The entry for a resource's name.
    pub(super) fn named(&self, resource: &str) -> Option<&NamedLock> {
        longest_prefix(&self.named, resource, |lock| &lock.prefix)
    }

    /// The longest lease of a resource.
    pub(super) fn max_ttl(&self, resource: &str) -> Span {
        self.named(resource).and_then(|lock| lock.max_ttl).unwrap_or(self.max_ttl)
    }

    /// The longest lease of any lock.
    pub(super) fn longest_lease(&self) -> Duration {
        let named = self.named.iter().filter_map(|lock| lock.max_ttl);
        named.chain([self.max_ttl]).max().unwrap_or(self.max_ttl).duration()
    }

    /// How long Redis remembers the highest fencing token after the last grant.
    pub(super) fn fence_ttl(&self) -> Duration {
        MIN_FENCE_TTL.max(self.longest_lease() * 2)
    }
}

/// Checks `[locks]`, including its agreement with `[fencing]`.
///
/// # Errors
/// [`ConfigError`] if the section is not valid, or if a lease could outlast the fences of deleted data.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let locks: LocksConfig = config.section()?;
    let fencing: FencingConfig = config.section()?;
    if locks.longest_lease() <= fencing.outlive.duration() {
        return Ok(());
    }
    // While a holder's lease lasts, the fence of its target must not be forgotten.
    let rule = format!("every max_ttl must be at most fencing.outlive ({})", fencing.outlive);
    Err(config.refuse::<LocksConfig>(FieldError::new("max_ttl", rule)))
}

impl Section for LocksConfig {
    const NAME: &'static str = "locks";

    fn validate(&self) -> Result<(), FieldError> {
        if self.max_ttl < MIN_TTL {
            return Err(FieldError::new("max_ttl", format!("must be at least {MIN_TTL}")));
        }
        if self.max_wait.duration() > LONGEST_WAIT {
            return Err(FieldError::new("max_wait", "must be at most 30s"));
        }
        FieldError::reject_zero([
            ("node_timeout", self.node_timeout.as_millis() == 0),
            ("recheck", self.recheck.as_millis() == 0),
            ("queue_limit", self.queue_limit == 0),
            ("waiters", self.waiters == 0),
        ])?;
        if !matches!(self.nodes.len(), 0 | 1 | 3 | 5) {
            let rule = "must have 0, 1, 3 or 5 entries: an even number tolerates no more failures";
            return Err(FieldError::new("nodes", rule));
        }
        let different: BTreeSet<&str> = self.nodes.iter().map(ServerUrl::expose).collect();
        if different.len() < self.nodes.len() {
            return Err(FieldError::new("nodes", "must all be different: one server must not vote twice"));
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
            return refuse("prefix", "must not be repeated");
        }
        let max_ttl = lock.max_ttl.unwrap_or(self.max_ttl);
        if max_ttl < MIN_TTL {
            return refuse("max_ttl", &format!("must be at least {MIN_TTL}"));
        }
        for (field, span) in [("ttl", lock.ttl), ("extension", lock.extension())] {
            if span < MIN_TTL || span > max_ttl {
                return refuse(field, &format!("must be between {MIN_TTL} and {max_ttl}, got {span}"));
            }
        }
        if lock.wait() > self.max_wait.duration() {
            return refuse("wait", &format!("must be at most max_wait ({})", self.max_wait));
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
        let text = "[[locks.named]]\nprefix = \"a:\"\nttl = \"1s\"\n[[locks.named]]\nprefix = \"a:b:\"\nttl = \"1s\"\n";
        let config = section(text).expect("valid");
        let prefix = |resource| config.named(resource).map(|lock| lock.prefix.as_str());
        assert_eq!(prefix("a:b:c"), Some("a:b:"));
        assert_eq!(prefix("a:c"), Some("a:"));
        assert_eq!(prefix("b"), None);
    }

    #[test]
    fn a_named_lock_has_defaults() {
        let config = section("max_ttl = \"5s\"\n[[locks.named]]\nprefix = \"a\"\nttl = \"1s\"").expect("valid");
        let lock = config.named("a").expect("the lock");
        assert_eq!((lock.wait(), lock.extension()), (Duration::ZERO, Span::from_millis(1_000)));
        assert_eq!(config.max_ttl("a"), Span::from_millis(5_000));
    }

    #[test]
    fn the_shipped_named_locks_are_valid() {
        let config = section("").expect("the defaults");
        assert_eq!(config.longest_lease(), Duration::from_secs(120));
        assert_eq!(config.named("token_minting:wallet").map(|lock| lock.ttl.as_millis()), Some(120_000));
    }

    #[test]
    fn a_fence_is_kept_for_twice_the_longest_lease() {
        assert_eq!(section("").expect("the defaults").fence_ttl(), Duration::from_secs(2 * 3_600));
        assert_eq!(section("max_ttl = \"3h\"").expect("valid").fence_ttl(), Duration::from_secs(6 * 3_600));
    }

    #[test]
    fn no_lease_outlives_the_fences() {
        for (overrides, is_safe) in [
            ("[fencing]\noutlive = \"2m\"", true),
            ("[fencing]\noutlive = \"119s\"", false),
            ("[[locks.named]]\nprefix = \"a\"\nttl = \"1s\"\nmax_ttl = \"601s\"", false),
        ] {
            let checked = check(&Config::with_overrides(overrides).expect("TOML"));
            assert_eq!(checked.is_ok(), is_safe, "{overrides}: {checked:?}");
            if let Err(error) = checked {
                let text = error.to_string();
                assert!(text.contains("locks.max_ttl") && text.contains("fencing.outlive"), "{text}");
            }
        }
    }

    #[test]
    fn an_unsafe_setting_is_refused_by_name() {
        for (overrides, field) in [
            ("max_ttl = \"50ms\"", "locks.max_ttl"),
            ("max_wait = \"31s\"", "locks.max_wait"),
            ("recheck = \"0s\"", "locks.recheck"),
            ("waiters = 0", "locks.waiters"),
            ("nodes = [\"redis://a\", \"redis://b\"]", "locks.nodes"),
            ("nodes = [\"redis://a\", \"redis://b\", \"redis://a\"]", "locks.nodes"),
            ("[[locks.named]]\nprefix = \"a\"\nttl = \"3s\"\nmax_ttl = \"2s\"", "locks.named[0].ttl"),
        ] {
            let error = section(overrides).expect_err("refused");
            assert!(error.contains(field), "{overrides}: {error}");
        }
    }
}
