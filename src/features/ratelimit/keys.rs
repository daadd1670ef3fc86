//! The Redis keys of rate limits.

use serde::Deserialize;

use super::model::LimitKey;
use super::strategy::rule::Rule;
use crate::redis::{Key, KeySpace, Segment};

/// The pattern of a limiter's keys: a fixed prefix, then the parts that a request's key consists of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KeyPattern {
    text: String,
    prefix: usize,
    /// Whether it names the states of exceptions.
    of_exceptions: bool,
}

impl KeyPattern {
    /// The pattern of limits with a caller's own strategy. Kinds of strategy do not share keys, nor do different windows.
    pub(super) fn inline(rule: &Rule) -> Self {
        let mut prefix = format!("rate_limit:inline:{}:", rule.strategy.kind());
        if let Some(window) = rule.window() {
            prefix.push_str(&window);
            prefix.push(':');
        }
        Self { prefix: prefix.len(), text: format!("{prefix}{{key}}"), of_exceptions: false }
    }

    /// The pattern of the states in which exceptions count whose rule cannot share the limiter's state.
    pub(super) fn of_exceptions(&self) -> Self {
        Self { of_exceptions: true, ..self.clone() }
    }

    /// The whole pattern, such as `rate_limit:api:{ip}:{endpoint}`.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The prefix of all its keys.
    pub(super) fn prefix(&self) -> &str {
        self.text.get(..self.prefix).unwrap_or_default()
    }

    /// `rate_limit:api:<key>` and so on - string, the state of a limit; `check.lua` describes its format. Expires once
    /// the state no longer affects decisions; deleted by a reset. `rate_limit:exceptions:{<that key>}` - string, the state
    /// of an exception whose rule counts in another way.
    ///
    /// A key that begins with a group in braces keeps the braces: a cluster stores all keys of one group in one slot.
    pub(super) fn state(&self, space: &KeySpace, key: &LimitKey) -> Key {
        let prefix = self.prefix();
        let state = match key.group() {
            Some((group, rest)) => space.key(format_args!("{prefix}{{{}}}{}", Segment(group), Segment(rest))),
            None => space.text_key(prefix, key.as_str()),
        };
        if self.of_exceptions { state.sibling("rate_limit:exceptions") } else { state }
    }

    /// The states of one key of the limiter: its own, and that of an exception.
    pub(super) fn states(&self, space: &KeySpace, key: &LimitKey) -> [Key; 2] {
        [self.state(space, key), self.of_exceptions().state(space, key)]
    }

    /// Every Redis key that belongs to one key of the limiter.
    pub(super) fn all_keys(&self, space: &KeySpace, key: &LimitKey) -> [Key; 4] {
        let [own, exception] = self.states(space, key);
        [reservations(&own), own, reservations(&exception), exception]
    }
}

impl TryFrom<String> for KeyPattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const RULE: &str = "must be fixed text that ends with a colon, then parts in braces separated by colons, \
                            such as rate_limit:api:{ip}:{endpoint}";
        let prefix = text.find('{').ok_or(RULE)?;
        let (start, parts) = text.split_at(prefix);
        let is_fixed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
        let is_part = |part: &str| {
            let name = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if start.len() < 2 || !start.ends_with(':') || !start.chars().all(is_fixed) || !parts.split(':').all(is_part) {
            return Err(RULE);
        }
        Ok(Self { text, prefix, of_exceptions: false })
    }
}

/// `rate_limit:reserved:{<state>}` - hash, the open reservations of a state; `settle.lua` describes its format. Expires
/// with the last reservation.
pub(super) fn reservations(state: &Key) -> Key {
    state.sibling("rate_limit:reserved")
}

/// `rate_limit:list:<limiter>` - sorted set of the limiter's keys that have a state, as requests spell them, all with score
/// 0. At most 1,000,000 members; swept by every replica; expires after a week without use.
pub(super) fn index(space: &KeySpace, limiter: &str) -> Key {
    space.key(format_args!("rate_limit:list:{limiter}"))
}

/// Prefixes that no limiter's keys may begin with, since other keys use them.
pub(super) const RESERVED_PREFIXES: &[&str] =
    &["rate_limit:exceptions", "rate_limit:inline:", "rate_limit:list:", "rate_limit:reserved:"];

/// `rate_limit:exceptions` - hash from `<limiter> <key>` to the override of that key, and the version of the last change.
/// Never expires. A field is deleted with its override, or when the override has ended and another needs the space.
pub(super) fn overrides(space: &KeySpace) -> Key {
    space.key("rate_limit:exceptions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(pattern: &str, key: &str) -> String {
        let pattern = KeyPattern::try_from(pattern.to_owned()).expect("a pattern");
        let key = LimitKey::try_from(key.to_owned()).expect("a key");
        pattern.state(&KeySpace::new("test:"), &key).as_str().to_owned()
    }

    #[test]
    fn keys_have_the_platforms_names() {
        let pattern = "rate_limit:api:{ip}:{endpoint}";
        assert_eq!(state(pattern, "10.0.0.1:/orders"), "test:rate_limit:api:10.0.0.1:/orders");
        assert_eq!(state("rate_limit:meter_verify:{user_id}", "u-1"), "test:rate_limit:meter_verify:u-1");
    }

    #[test]
    fn only_a_group_at_the_beginning_determines_the_slot() {
        let pattern = "rate_limit:api:{ip}";
        assert_eq!(state(pattern, "{user 7}:a{b}"), "test:rate_limit:api:{user%207}:a%7Bb%7D");
        assert_eq!(state(pattern, "a{b}"), "test:rate_limit:api:a%7Bb%7D");
        assert_eq!(state(pattern, "{}a"), "test:rate_limit:api:%7B%7Da");
    }

    #[test]
    fn a_pattern_has_a_fixed_start_and_named_parts() {
        for bad in ["", "rate_limit:api", "{ip}", "a:{}", "a{b}", "a:{b}c", "a:{B}", "a b:{c}", "a:{b}{c}", ":{b}"] {
            assert!(KeyPattern::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
