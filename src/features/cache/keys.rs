//! The cache's names in Redis.
//!
//! | name | type | life | deleted by |
//! |---|---|---|---|
//! | `cache:<key>`, or the bare `<key>` under a platform policy | string, see [`super::value`] | `ttl_ms` or policy | DELETE, take |
//! | `cache:lease:{<value's name>}` | string: the holder's token | `lease_ms` | any write of the value |
//! | `cache:stale:{<value's name>}` | string: copy of the value | the value's and `stale` more | any write of the value |
//! | `cache:fence:{<value's name>}` | integer: the highest fencing token seen | the value's and `fencing.outlive` more | expiry |
//! | `cache:answer:<operation>:{<value's name>}` | string: an increment's answer | `cache.answer_ttl` | expiry |
//! | `cache:tag:{<tag>}` | integer: the tag's generation | as its longest value, and a minute | expiry |
//! | `cache:tag-fence:{<tag>}` | integer: the highest fencing token seen | as of a value | expiry |
//! | `cache:{index}` | sorted set of keys, all scores 0 | while it has members | the sweep, member by member |
//!
//! Callers' text is escaped and so has no braces, while every name of our own has: neither can meet the other.

use super::config::{CacheConfig, Policy};
use super::model::{CacheKey, Tag};
use crate::config::value::Span;
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Key, KeySpace, Segment};

/// Where things are, and how long they are kept there.
#[derive(Clone, Debug)]
pub(super) struct CacheKeys {
    space: KeySpace,
    /// Longest prefix first.
    policies: Vec<Policy>,
    default_ttl: Span,
    index: Key,
}

/// One value's place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub value: Key,
    /// The life of a value whose writer does not say; `None`: until replaced.
    pub ttl: Option<Span>,
    /// How long its stale copy outlives it; `None`: there is no copy.
    pub stale: Option<Span>,
}

impl Place {
    pub(super) fn lease(&self) -> Key {
        self.value.sibling("cache:lease")
    }

    pub(super) fn stale_copy(&self) -> Key {
        self.value.sibling("cache:stale")
    }

    /// What remembers the tokens of guarded writes.
    pub(super) fn fence(&self) -> Key {
        self.value.sibling("cache:fence")
    }

    /// Where an operation's answer is kept; without an operation a name that nobody writes.
    pub(super) fn answer(&self, operation: Option<&OperationId>) -> Key {
        match operation {
            Some(operation) => self.value.sibling(&format!("cache:answer:{}", operation.as_str())),
            None => self.value.sibling("cache:answer"),
        }
    }
}

impl CacheKeys {
    pub(super) fn new(space: &KeySpace, config: &CacheConfig) -> Self {
        let mut policies = config.policies.clone();
        policies.sort_by_key(|policy| std::cmp::Reverse(policy.prefix.len()));
        Self { space: space.clone(), policies, default_ttl: config.default_ttl, index: space.key("cache:{index}") }
    }

    pub(super) fn place(&self, key: &CacheKey) -> Place {
        let text = key.as_str();
        match self.policies.iter().find(|policy| text.starts_with(&policy.prefix)) {
            Some(policy) if policy.platform => {
                Place { value: self.space.key(Segment(text)), ttl: policy.ttl, stale: policy.stale }
            }
            Some(policy) => Place { value: self.own(text), ttl: policy.ttl, stale: policy.stale },
            None => Place { value: self.own(text), ttl: Some(self.default_ttl), stale: None },
        }
    }

    fn own(&self, text: &str) -> Key {
        self.space.key(format_args!("cache:{}", Segment(text)))
    }

    pub(super) fn tag(&self, tag: &Tag) -> Key {
        self.space.key(format_args!("cache:tag:{{{}}}", Segment(tag.as_str())))
    }

    pub(super) fn tag_fence(&self, tag: &Tag) -> Key {
        self.space.key(format_args!("cache:tag-fence:{{{}}}", Segment(tag.as_str())))
    }

    pub(super) fn index(&self) -> &Key {
        &self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn keys() -> CacheKeys {
        let policies = "[[cache.policies]]\nprefix = \"user:\"\nttl = \"5m\"\n\
                        [[cache.policies]]\nprefix = \"user:profile:\"\nttl = \"1h\"\nplatform = true";
        let config = Config::with_overrides(policies).and_then(|config| config.section()).expect("valid");
        CacheKeys::new(&KeySpace::new("p:"), &config)
    }

    fn place(text: &str) -> Place {
        keys().place(&CacheKey::try_from(text.to_owned()).expect("a key"))
    }

    #[test]
    fn the_longest_prefix_decides() {
        let named = |text: &str| {
            let place = place(text);
            (place.value.as_str().to_owned(), place.ttl.map(|ttl| ttl.to_string()))
        };
        assert_eq!(named("user:profile:1"), ("p:user:profile:1".to_owned(), Some("1h".to_owned())));
        assert_eq!(named("user:7"), ("p:cache:user:7".to_owned(), Some("5m".to_owned())));
        assert_eq!(named("lock:a"), ("p:cache:lock:a".to_owned(), Some("1h".to_owned())));
    }

    #[test]
    fn a_callers_key_cannot_be_a_name_of_ours() {
        let tag = keys().tag(&Tag::try_from("t".to_owned()).expect("a tag"));
        let tag_fence = keys().tag_fence(&Tag::try_from("t".to_owned()).expect("a tag"));
        let (fence, answer) = (place("a").fence(), place("a").answer(None));
        let ours = [keys().index().clone(), tag, tag_fence, place("a").lease(), place("a").stale_copy(), fence, answer];
        for name in ours {
            let text = name.as_str().trim_start_matches("p:cache:");
            assert_ne!(place(text).value, name);
            assert!(name.as_str().contains('{') && !place(text).value.as_str().contains('{'));
        }
    }
}
