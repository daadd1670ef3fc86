//! The cache's keys in Redis.
//!
//! | key | type | TTL | deleted by |
//! |---|---|---|---|
//! | `cache:<key>`, or the bare `<key>` under a platform policy | string, see [`super::stored_value`] | `ttl_ms` or policy | DELETE, take |
//! | `cache:lease:{<value's key>}` | string: the holder's token | `lease_ms` | any write of the value |
//! | `cache:stale:{<value's key>}` | string: copy of the value | the value's plus `stale` | any write of the value |
//! | `cache:fence:{<value's key>}` | integer: the highest fencing token seen | the value's plus `fencing.outlive` | expiry |
//! | `cache:answer:<operation>:{<value's key>}` | string: an increment's result | 24 hours | expiry |
//! | `cache:tag:{<tag>}` | integer: the tag's generation | the longest of its values' plus a minute | expiry |
//! | `cache:tag-raised:{<tag>}` | integer: Redis's time in microseconds when the tag was last invalidated | 2 minutes | expiry |
//! | `cache:tag-fence:{<tag>}` | integer: the highest fencing token seen | like that of a value | expiry |
//! | `cache:{index}` | sorted set of keys, all scores 0 | none | the sweep, member by member |
//!
//! A client's text is escaped and contains no braces; every other key contains them. So they cannot collide.

use super::config::{CacheConfig, Policy};
use super::model::{CacheKey, Tag};
use crate::config::longest_prefix;
use crate::config::value::Span;
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Fence, Key, KeySpace, Segment, unescape};

/// Builds keys and applies the policies.
#[derive(Clone, Debug)]
pub(super) struct CacheKeys {
    space: KeySpace,
    policies: Vec<Policy>,
    default_ttl: Span,
    index: Key,
}

/// The keys, the policy and the fence of one value.
#[derive(Clone, Debug)]
pub(super) struct EntryKeys {
    pub value: Key,
    /// The TTL of a value whose writer sets none; `None`: until replaced.
    pub ttl: Option<Span>,
    /// How much longer its stale copy is kept; `None`: there is no copy.
    pub stale: Option<Span>,
    /// The fence that writes must pass; `None`: the client has no token.
    pub fence: Option<Fence>,
}

/// The keys of one tag.
#[derive(Clone, Debug)]
pub(super) struct TagKeys {
    pub generation: Key,
    /// When the tag was last invalidated.
    pub raised: Key,
}

impl EntryKeys {
    pub(super) fn lease(&self) -> Key {
        self.value.sibling("cache:lease")
    }

    pub(super) fn stale_copy(&self) -> Key {
        self.value.sibling("cache:stale")
    }

    /// Remembers the tokens of guarded writes.
    pub(super) fn fence_key(&self) -> Key {
        self.value.sibling("cache:fence")
    }

    /// The key of an operation's result; without an operation, a key that is never written.
    pub(super) fn answer(&self, operation: Option<&OperationId>) -> Key {
        match operation {
            Some(operation) => self.value.sibling(&format!("cache:answer:{}", operation.as_str())),
            None => self.value.sibling("cache:answer"),
        }
    }
}

impl CacheKeys {
    pub(super) fn new(space: &KeySpace, config: &CacheConfig) -> Self {
        let policies = config.policies.clone();
        Self { space: space.clone(), policies, default_ttl: config.default_ttl, index: space.key("cache:{index}") }
    }

    pub(super) fn entry(&self, key: &CacheKey) -> EntryKeys {
        let text = key.as_str();
        let policy = longest_prefix(&self.policies, text, |policy| &policy.prefix);
        let kind = if policy.is_some_and(|policy| policy.platform) { "" } else { "cache:" };
        let value = self.space.text_key(kind, text);
        let (ttl, stale) = policy.map_or((Some(self.default_ttl), None), |policy| (policy.ttl, policy.stale));
        EntryKeys { value, ttl, stale, fence: None }
    }

    /// Whether the key has the cache's own prefix in Redis, so that only the cache reads it.
    pub(super) fn is_enveloped(&self, key: &CacheKey) -> bool {
        longest_prefix(&self.policies, key.as_str(), |policy| &policy.prefix).is_none_or(|policy| !policy.platform)
    }

    /// The client's key of a value in Redis; `None` if it is no value of the cache.
    pub(super) fn client_key(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix(self.space.prefix())?;
        if name.contains('{') {
            return None;
        }
        let text = unescape(name.strip_prefix("cache:").unwrap_or(name));
        let key = CacheKey::try_from(text).ok()?;
        let is_value = self.entry(&key).value.as_str().strip_prefix(self.space.prefix()) == Some(name);
        is_value.then(|| key.into_text())
    }

    pub(super) fn tag(&self, tag: &Tag) -> TagKeys {
        let key = |kind: &str| self.space.key(format_args!("cache:{kind}:{{{}}}", Segment(tag.as_str())));
        TagKeys { generation: key("tag"), raised: key("tag-raised") }
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

    fn entry(text: &str) -> EntryKeys {
        keys().entry(&CacheKey::try_from(text.to_owned()).expect("a key"))
    }

    #[test]
    fn the_longest_prefix_decides() {
        let named = |text: &str| {
            let entry = entry(text);
            (entry.value.as_str().to_owned(), entry.ttl.map(|ttl| ttl.to_string()))
        };
        assert_eq!(named("user:profile:1"), ("p:user:profile:1".to_owned(), Some("1h".to_owned())));
        assert_eq!(named("user:7"), ("p:cache:user:7".to_owned(), Some("5m".to_owned())));
        assert_eq!(named("lock:a"), ("p:cache:lock:a".to_owned(), Some("1h".to_owned())));
    }

    #[test]
    fn client_keys_do_not_collide_with_internal_keys() {
        let TagKeys { generation: tag, raised } = keys().tag(&Tag::try_from("t".to_owned()).expect("a tag"));
        let tag_fence = keys().tag_fence(&Tag::try_from("t".to_owned()).expect("a tag"));
        let (fence, answer) = (entry("a").fence_key(), entry("a").answer(None));
        let internal = [
            keys().index().clone(),
            tag,
            raised,
            tag_fence,
            entry("a").lease(),
            entry("a").stale_copy(),
            fence,
            answer,
        ];
        for name in internal {
            let text = name.as_str().trim_start_matches("p:cache:");
            assert_ne!(entry(text).value, name);
            assert!(name.as_str().contains('{') && !entry(text).value.as_str().contains('{'));
        }
    }
}
