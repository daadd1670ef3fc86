//! The documents' names in Redis.
//!
//! | name | type | life | deleted by |
//! |---|---|---|---|
//! | `json:<key>`, or the bare `<key>` in a collection | string: the document's JSON text, or a value of RedisJSON | `ttl_ms`, else until deleted | DELETE |
//! | `json:text:{<document's name>}` | string: the text where RedisJSON shows another one, behind a SHA-1 of that | the document's | DELETE |
//! | `json:version:{<document's name>}` | string: integer | the document's and `json.version_life` | expiry |
//! | `json:fence:{<document's name>}` | integer: the highest fencing token seen | the version's and `fencing.outlive` | expiry |
//! | `json:answer:<operation>:{<document's name>}` | string: a change's answer | `json.answer_ttl` | expiry |
//! | `json:{backend}` | string: `native` or `module`, where the deployment keeps its documents | no end | nobody |
//! | `json:changes` | channel: one message per change | | |
//!
//! Callers' text is escaped and so has no braces, while the siblings have: neither can meet the other.

use super::config::JsonConfig;
use super::model::DocumentKey;
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Key, KeySpace, Segment};

/// The longest id of somebody or something in the platform's documents, bytes.
pub(super) const ID_LIMIT: usize = 256;

/// The platform's documents, by the start of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collection {
    Preferences,
    Activity,
    Trading,
    Market,
    Blockchain,
    Forms,
}

impl Collection {
    const ALL: [Self; 6] =
        [Self::Preferences, Self::Activity, Self::Trading, Self::Market, Self::Blockchain, Self::Forms];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Preferences => "user_preferences:",
            Self::Activity => "user_activity:",
            Self::Trading => "trading_config:",
            Self::Market => "market_config:",
            Self::Blockchain => "blockchain_config:",
            Self::Forms => "form_data:",
        }
    }

    /// The key of the document of somebody or something.
    ///
    /// # Errors
    /// The rule that the id breaks.
    pub(super) fn key(self, id: &str) -> Result<DocumentKey, String> {
        if id.is_empty() || id.len() > ID_LIMIT {
            return Err(format!("needs 1 to {ID_LIMIT} bytes"));
        }
        DocumentKey::try_from(format!("{}{id}", self.prefix()))
    }
}

#[derive(Clone, Debug)]
pub(super) struct JsonKeys {
    space: KeySpace,
    /// The start of the keys of every collection.
    prefixes: Vec<String>,
    changes: Key,
    backend: Key,
}

/// One document's place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub document: Key,
    pub version: Key,
    /// What was written, beside a value of the module that shows something else.
    pub text: Key,
}

impl Place {
    fn of(document: Key) -> Self {
        Self { version: document.sibling("json:version"), text: document.sibling("json:text"), document }
    }

    pub(super) fn fence(&self) -> Key {
        self.document.sibling("json:fence")
    }

    /// Where an operation's answer is kept; without an operation a name that nobody writes.
    pub(super) fn answer(&self, operation: Option<&OperationId>) -> Key {
        match operation {
            Some(operation) => self.document.sibling(&format!("json:answer:{}", operation.as_str())),
            None => self.document.sibling("json:answer"),
        }
    }
}

impl JsonKeys {
    pub(super) fn new(space: &KeySpace, config: &JsonConfig) -> Self {
        let platforms = Collection::ALL.iter().map(|collection| collection.prefix().to_owned());
        let prefixes = platforms.chain(config.collections.iter().map(|collection| collection.prefix.clone())).collect();
        let (changes, backend) = (space.key("json:changes"), space.key("json:{backend}"));
        Self { space: space.clone(), prefixes, changes, backend }
    }

    pub(super) fn place(&self, key: &DocumentKey) -> Place {
        let name = Segment(key.as_str());
        let is_platforms = self.prefixes.iter().any(|prefix| key.as_str().starts_with(prefix));
        let document = if is_platforms { self.space.key(name) } else { self.space.key(format_args!("json:{name}")) };
        Place::of(document)
    }

    /// The place of a document by its name in Redis.
    pub(super) fn place_of(&self, name: &str) -> Place {
        Place::of(self.space.named(name))
    }

    /// How the names of documents start in Redis.
    pub(super) fn starts(&self) -> Vec<String> {
        let own = std::iter::once(self.space.key("json:"));
        let collections = self.prefixes.iter().map(|prefix| self.space.key(Segment(prefix)));
        let mut starts: Vec<String> = own.chain(collections).map(|start| start.as_str().to_owned()).collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    /// Where it is written down which backend the deployment has.
    pub(super) fn backend(&self) -> &Key {
        &self.backend
    }

    /// The channel that announces changes.
    pub(super) fn changes(&self) -> &Key {
        &self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn place(text: &str) -> Place {
        let config = Config::with_overrides("").and_then(|config| config.section()).expect("valid defaults");
        let key = DocumentKey::try_from(text.to_owned()).expect("a key");
        JsonKeys::new(&KeySpace::new("p:"), &config).place(&key)
    }

    #[test]
    fn the_platforms_documents_keep_their_names_and_others_have_their_own() {
        assert_eq!(place("user_preferences:7").document.as_str(), "p:user_preferences:7");
        assert_eq!(place("lock:a").document.as_str(), "p:json:lock:a");
        assert_eq!(place("a b").version.as_str(), "json:version:{p:json:a%20b}");
    }

    #[test]
    fn a_callers_key_cannot_be_a_name_of_ours() {
        for ours in [place("a").version, place("a").text, place("a").fence(), place("a").answer(None)] {
            let text = ours.as_str().trim_start_matches("json:");
            assert_ne!(place(text).document, ours);
        }
    }
}
