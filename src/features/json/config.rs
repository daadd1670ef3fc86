//! `[json]`: the limits of documents, the keys of encrypted values and the rules of the platform's collections.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::model::KEY_LIMIT;
use crate::config::value::{ByteSize, Secret, Span};
use crate::config::{FieldError, Section};
use crate::redis::{BackendPreference, owned_elsewhere};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonConfig {
    /// The storage backend of a deployment that has no documents yet.
    pub backend: BackendPreference,
    /// The largest document, as compact text.
    pub document_limit: ByteSize,
    /// The longest TTL that a request may ask for.
    pub max_ttl: Span,
    /// Whether every change is announced on a channel.
    pub publish_changes: bool,
    /// The number of entries that a user's activity log keeps.
    pub activity_limit: usize,
    pub encryption: EncryptionConfig,
    pub collections: Vec<CollectionConfig>,
}

/// `[json.encryption]`: the keys of values that are stored encrypted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncryptionConfig {
    /// The first key encrypts; every key decrypts.
    #[serde(deserialize_with = "keys_without_quoting")]
    pub keys: Vec<EncryptionKey>,
}

/// Reads the keys. The error does not quote them, because they are secret.
fn keys_without_quoting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<EncryptionKey>, D::Error> {
    Vec::deserialize(deserializer).map_err(|_| {
        D::Error::custom("must be a list of { id = \"..\", key = \"..\" } or { id = \"..\", key_file = \"..\" }")
    })
}

/// A key of 256 bits, written as 64 hexadecimal digits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncryptionKey {
    /// Stored with every value that the key encrypted.
    pub id: String,
    #[serde(default)]
    pub key: Option<Secret<String>>,
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

/// Documents that the platform keeps under their bare keys, and the rules that they must follow.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CollectionConfig {
    /// The prefix of their keys.
    pub prefix: String,
    /// Members that every document must have.
    #[serde(default)]
    pub required: Vec<String>,
    /// The types of values, by JSON pointer; a value that does not exist has no type to check.
    #[serde(default)]
    pub types: BTreeMap<String, JsonType>,
    /// A JSON Schema as text; draft 2020-12 unless it names another one.
    #[serde(default)]
    pub schema: Option<String>,
    /// JSON paths to the values that are stored encrypted.
    #[serde(default)]
    pub encrypted: Vec<String>,
}

/// A type of JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum JsonType {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Section for JsonConfig {
    const NAME: &'static str = "json";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("document_limit", self.document_limit.as_usize() == 0),
            ("activity_limit", self.activity_limit == 0),
            ("max_ttl", self.max_ttl.as_millis() == 0),
        ])?;
        for (at, collection) in self.collections.iter().enumerate() {
            let prefix = &collection.prefix;
            check_prefix(prefix).map_err(|reason| FieldError::new("collections", reason))?;
            if self.collections.iter().take(at).any(|earlier| earlier.prefix == *prefix) {
                return Err(FieldError::new("collections", format!("the prefix `{prefix}` must not be repeated")));
            }
        }
        let keys = &self.encryption.keys;
        let refuse = |rule: &str| Err(FieldError::new("encryption.keys", rule));
        if keys.is_empty() && self.collections.iter().any(|collection| !collection.encrypted.is_empty()) {
            return refuse("must contain a key, because a collection has encrypted paths");
        }
        for (at, key) in keys.iter().enumerate() {
            let is_plain = key.id.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter));
            if !(1..=64).contains(&key.id.len()) || !is_plain {
                return refuse("an id must have 1 to 64 characters: letters, digits, `-`, `_` or `.`");
            }
            if keys.iter().take(at).any(|earlier| earlier.id == key.id) {
                return refuse("an id must not be repeated");
            }
        }
        Ok(())
    }
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.is_empty() || prefix.len() > KEY_LIMIT || prefix.chars().any(char::is_control) {
        return Err(format!("the prefix `{prefix}` must have 1 to {KEY_LIMIT} bytes and no control characters"));
    }
    match owned_elsewhere(prefix, JsonConfig::NAME) {
        Some(owned) => Err(format!("the prefix `{prefix}` overlaps `{owned}`, which holds no documents")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Reads the section after the check that runs before the service starts.
    fn read(overrides: &str) -> Result<JsonConfig, String> {
        Config::with_overrides(overrides)
            .and_then(|config| super::super::check_config(&config).and_then(|()| config.section()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_valid_and_list_the_platforms_collections() {
        let config = read("").expect("valid");
        // The API document states this number.
        assert_eq!(config.max_ttl.as_millis(), 31_536_000_000);
        for prefix in [
            "user_preferences:",
            "user_activity:",
            "trading_config:",
            "market_config:",
            "blockchain_config:",
            "form_data:",
        ] {
            assert!(config.collections.iter().any(|collection| collection.prefix == prefix), "{prefix}");
        }
    }

    #[test]
    fn an_error_does_not_quote_a_misplaced_key() {
        for overrides in [
            "json.encryption.keys = \"5ec2e7\"",
            "json.encryption.keys = [\"5ec2e7\"]",
            "json.encryption.keys = [{ id = \"a\", key = [\"5ec2e7\"] }]",
            "json.encryption.keys = [{ id = \"a\", key = \"5ec2e7\" }]",
        ] {
            let error = read(overrides).expect_err(overrides);
            assert!(error.contains("json.encryption.keys") && !error.contains("5ec2e7"), "{error}");
        }
    }

    #[test]
    fn a_wrong_setting_names_its_field() {
        for (overrides, field) in [
            ("json.document_limit = \"0B\"", "json.document_limit"),
            ("json.backend = \"redisjson\"", "json.backend"),
            ("json.activity_limit = 0", "json.activity_limit"),
            ("json.max_ttl = \"0s\"", "json.max_ttl"),
            ("[[json.collections]]\nprefix = \"\"", "json.collections"),
            ("[[json.collections]]\nprefix = \"lock:\"", "json.collections"),
            ("[[json.collections]]\nprefix = \"json:a\"", "json.collections"),
            ("[[json.collections]]\nprefix = \"a:\"\n[[json.collections]]\nprefix = \"a:\"", "json.collections"),
            ("[[json.collections]]\nprefix = \"a:\"\nschema = \"{\"", "json.collections"),
            ("[[json.collections]]\nprefix = \"a:\"\nschema = '{\"type\": \"text\"}'", "json.collections"),
            (
                "[[json.collections]]\nprefix = \"a:\"\nschema = '{\"$ref\": \"https://example.org/s\"}'",
                "json.collections",
            ),
            ("[[json.collections]]\nprefix = \"a:\"\nscheme = \"{}\"", "json.collections"),
            ("[[json.collections]]\nprefix = \"a:\"\ntypes = { \"\" = \"list\" }", "json.collections"),
            ("[[json.collections]]\nprefix = \"a:\"\ntypes = { \"a\" = \"array\" }", "json.collections"),
            ("[[json.collections]]\nprefix = \"a:\"\nencrypted = [\"$.a\"]", "json.encryption.keys"),
            ("json.encryption.keys = [{ id = \"a b\", key = \"00\" }]", "json.encryption.keys"),
            ("json.encryption.keys = [{ id = \"a\", key = \"00\" }]", "json.encryption.keys"),
            ("json.encryption.keys = [{ id = \"a\" }]", "json.encryption.keys"),
            ("[[json.collections]]\nprefix = \"a:\"\nencrypted = [\"$[?(@.a)]\"]", "json.encryption.keys"),
        ] {
            let error = read(overrides).expect_err(field);
            assert!(error.contains(field), "{field}: {error}");
        }
    }
}
