//! The keys of rate limits.

use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::model::LimitKey;
use super::strategy::Strategy;
use crate::redis::{Key, KeySpace, Segment};

/// How a limiter's keys look: fixed text, then the parts that its callers' keys are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyShape {
    text: String,
    fixed: usize,
}

impl KeyShape {
    /// The shape of what callers limit with a strategy of their own; strategies do not share keys.
    pub(super) fn inline(strategy: &Strategy) -> Self {
        let fixed = format!("rate_limit:inline:{}:", strategy.kind());
        Self { fixed: fixed.len(), text: format!("{fixed}{{key}}") }
    }

    /// The whole shape, such as `rate_limit:api:{ip}:{endpoint}`.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// What all its keys begin with.
    pub(super) fn fixed(&self) -> &str {
        self.text.get(..self.fixed).unwrap_or_default()
    }

    /// `rate_limit:api:<key>` and the like - string, the state of a limit; its form is in `check.lua`. Expires when it
    /// says nothing any more; deleted by a reset.
    ///
    /// A key that begins with a group in braces keeps them: a cluster has all keys of one group in one slot.
    pub(super) fn state(&self, space: &KeySpace, key: &LimitKey) -> Key {
        let fixed = self.fixed();
        match key.group() {
            Some((group, rest)) => space.key(format_args!("{fixed}{{{}}}{}", Segment(group), Segment(rest))),
            None => space.key(format_args!("{fixed}{}", Segment(key.as_str()))),
        }
    }

    /// Every Redis key of one key.
    pub(super) fn all(&self, space: &KeySpace, key: &LimitKey) -> [Key; 2] {
        let state = self.state(space, key);
        [reservations(&state), state]
    }
}

impl TryFrom<String> for KeyShape {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const RULE: &str = "must be fixed text that ends with a colon, then parts in braces with colons between them, \
                            such as rate_limit:api:{ip}:{endpoint}";
        let fixed = text.find('{').ok_or(RULE)?;
        let (start, parts) = text.split_at(fixed);
        let is_fixed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
        let is_part = |part: &str| {
            let name = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if start.len() < 2 || !start.ends_with(':') || !start.chars().all(is_fixed) || !parts.split(':').all(is_part) {
            return Err(RULE);
        }
        Ok(Self { text, fixed })
    }
}

impl<'de> Deserialize<'de> for KeyShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// `rate_limit:reserved:{<state>}` - hash, the reservations of a state that are not settled; its form is in `settle.lua`.
/// Expires with the last of them.
pub(super) fn reservations(state: &Key) -> Key {
    state.sibling("rate_limit:reserved")
}

/// `rate_limit:list:<limiter>` - sorted set of the limiter's keys that have a state, as callers spell them, all of score 0.
/// At most `ratelimit.index_limit`; swept by every replica; expires when it was not in use for a week.
pub(super) fn list(space: &KeySpace, limiter: &str) -> Key {
    space.key(format_args!("rate_limit:list:{limiter}"))
}

/// What no limiter's keys may begin with, since it is in use.
pub(super) const TAKEN: &[&str] =
    &["rate_limit:exceptions", "rate_limit:inline:", "rate_limit:list:", "rate_limit:reserved:"];

/// `rate_limit:exceptions` - hash, `<limiter> <key>` to what admins decided for it, and the mark of the last change. At
/// most `ratelimit.exceptions` decisions, each deleted when it is taken back, or has ended and another needs its place.
pub(super) fn exceptions(space: &KeySpace) -> Key {
    space.key("rate_limit:exceptions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(shape: &str, key: &str) -> String {
        let shape = KeyShape::try_from(shape.to_owned()).expect("a shape");
        let key = LimitKey::try_from(key.to_owned()).expect("a key");
        shape.state(&KeySpace::new("test:"), &key).as_str().to_owned()
    }

    #[test]
    fn keys_have_the_platforms_names() {
        let shape = "rate_limit:api:{ip}:{endpoint}";
        assert_eq!(state(shape, "10.0.0.1:/orders"), "test:rate_limit:api:10.0.0.1:/orders");
        assert_eq!(state("rate_limit:meter_verify:{user_id}", "u-1"), "test:rate_limit:meter_verify:u-1");
    }

    #[test]
    fn only_a_group_at_the_beginning_steers_a_slot() {
        let shape = "rate_limit:api:{ip}";
        assert_eq!(state(shape, "{user 7}:a{b}"), "test:rate_limit:api:{user%207}:a%7Bb%7D");
        assert_eq!(state(shape, "a{b}"), "test:rate_limit:api:a%7Bb%7D");
        assert_eq!(state(shape, "{}a"), "test:rate_limit:api:%7B%7Da");
    }

    #[test]
    fn a_shape_has_a_fixed_start_and_named_parts() {
        for bad in ["", "rate_limit:api", "{ip}", "a:{}", "a{b}", "a:{b}c", "a:{B}", "a b:{c}", "a:{b}{c}", ":{b}"] {
            assert!(KeyShape::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
