//! The names of the documents' keys in Redis.
//!
//! | key | type | TTL | deleted by |
//! |---|---|---|---|
//! | `json:<key>`, or the bare `<key>` in a collection | string: the document's JSON text; or a `RedisJSON` value | `ttl_ms`, or none | DELETE |
//! | `json:text:{<document's name>}` | string: a SHA-1 of the text that `RedisJSON` returns, then the text as written, if the two differ | the document's | DELETE |
//! | `json:version:{<document's name>}` | string: integer | the document's and 7 days | expiry |
//! | `json:fence:{<document's name>}` | integer: the highest fencing token seen | the version's and `fencing.outlive` | expiry |
//! | `json:answer:<operation>:{<document's name>}` | string: the answer of a change, for a repeated request; `-` if it is long | 24 hours | expiry |
//! | `json:{backend}` | string: `native` or `module`, the storage backend of the deployment | none | never |
//! | `json:changes` | channel: one message per change | | |
//!
//! Text from callers is escaped and so contains no braces, but the names of the other keys do: they cannot collide.

use super::config::JsonConfig;
use super::model::DocumentKey;
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Key, KeySpace, Segment};

/// The prefixes of the platform's own documents.
pub(super) const PREFERENCES: &str = "user_preferences:";
pub(super) const ACTIVITY: &str = "user_activity:";
pub(super) const TRADING: &str = "trading_config:";
pub(super) const MARKET: &str = "market_config:";
pub(super) const BLOCKCHAIN: &str = "blockchain_config:";
pub(super) const FORMS: &str = "form_data:";

#[derive(Clone, Debug)]
pub(super) struct JsonKeys {
    space: KeySpace,
    /// The key prefixes of all collections.
    prefixes: Vec<String>,
    /// The channel that announces changes.
    pub changes: Key,
    /// The record of the deployment's storage backend.
    pub backend: Key,
}

/// The Redis keys of one document.
#[derive(Clone, Debug)]
pub(super) struct KeySet {
    pub document: Key,
    pub version: Key,
    /// The text as it was written, if the module returns another one.
    pub text: Key,
}

impl KeySet {
    fn of(document: Key) -> Self {
        Self { version: document.sibling("json:version"), text: document.sibling("json:text"), document }
    }

    pub(super) fn fence(&self) -> Key {
        self.document.sibling("json:fence")
    }

    /// The key of an operation's stored answer. Without an operation, a key that is never written.
    pub(super) fn answer(&self, operation: Option<&OperationId>) -> Key {
        match operation {
            Some(operation) => self.document.sibling(&format!("json:answer:{}", operation.as_str())),
            None => self.document.sibling("json:answer"),
        }
    }
}

impl JsonKeys {
    pub(super) fn new(space: &KeySpace, config: &JsonConfig) -> Self {
        let shipped = [PREFERENCES, ACTIVITY, TRADING, MARKET, BLOCKCHAIN, FORMS].map(str::to_owned).into_iter();
        let prefixes = shipped.chain(config.collections.iter().map(|collection| collection.prefix.clone())).collect();
        let (changes, backend) = (space.key("json:changes"), space.key("json:{backend}"));
        Self { space: space.clone(), prefixes, changes, backend }
    }

    pub(super) fn of(&self, key: &DocumentKey) -> KeySet {
        let name = Segment(key.as_str());
        let is_in_collection = self.prefixes.iter().any(|prefix| key.as_str().starts_with(prefix));
        KeySet::of(if is_in_collection { self.space.key(name) } else { self.space.key(format_args!("json:{name}")) })
    }

    /// The keys of the document whose name in Redis is `name`.
    pub(super) fn of_name(&self, name: &str) -> KeySet {
        KeySet::of(self.space.named(name))
    }

    /// The prefixes of all documents' names in Redis.
    pub(super) fn document_prefixes(&self) -> Vec<String> {
        let own = std::iter::once(self.space.key("json:"));
        let collections = self.prefixes.iter().map(|prefix| self.space.key(Segment(prefix)));
        let mut prefixes: Vec<String> = own.chain(collections).map(|prefix| prefix.as_str().to_owned()).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn keys(text: &str) -> KeySet {
        let config = Config::with_overrides("").and_then(|config| config.section()).expect("valid defaults");
        let key = DocumentKey::try_from(text.to_owned()).expect("a key");
        JsonKeys::new(&KeySpace::new("p:"), &config).of(&key)
    }

    #[test]
    fn documents_of_collections_keep_their_bare_keys_and_others_are_prefixed() {
        assert_eq!(keys("user_preferences:7").document.as_str(), "p:user_preferences:7");
        assert_eq!(keys("lock:a").document.as_str(), "p:json:lock:a");
        assert_eq!(keys("a b").version.as_str(), "json:version:{p:json:a%20b}");
    }

    #[test]
    fn a_callers_key_cannot_be_one_of_the_services_own_keys() {
        for own in [keys("a").version, keys("a").text, keys("a").fence(), keys("a").answer(None)] {
            let text = own.as_str().trim_start_matches("json:");
            assert_ne!(keys(text).document, own);
        }
    }
}
