//! `[json]`: how large documents may be, how far paths may go, and which collections the platform has.

use std::path::PathBuf;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::model::KEY_LIMIT;
use super::schema::Schema;
use super::vault::Vault;
use crate::config::value::{ByteSize, Secret, Span};
use crate::config::{FieldError, Section};
use crate::redis::{BackendPreference, owned_elsewhere};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonConfig {
    /// What a deployment without documents begins with.
    pub backend: BackendPreference,
    /// The largest document as compact text.
    pub document_limit: ByteSize,
    pub path_limit: ByteSize,
    /// Values that one path may visit in one document.
    pub path_visits: usize,
    /// The most operations of one JSON Patch.
    pub patch_limit: usize,
    /// The most items of each list of a batch.
    pub batch_limit: usize,
    /// The longest life that a caller may ask for.
    pub max_ttl: Span,
    /// How long a document's version is remembered after the document.
    pub version_life: Span,
    /// How long a change's answer is kept for its repetition.
    pub answer_ttl: Span,
    /// A writer that another replica's writer was faster than tries again after a random time below this ...
    pub retry_min: Span,
    /// ... which doubles up to this.
    pub retry_max: Span,
    /// Whether every change is announced on a channel.
    pub publish_changes: bool,
    /// The most entries of a user's activity log.
    pub activity_limit: usize,
    pub encryption: EncryptionConfig,
    pub collections: Vec<CollectionConfig>,
}

/// `[json.encryption]`: the keys of values that are stored encrypted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncryptionConfig {
    /// The first one seals, all of them open.
    #[serde(deserialize_with = "unquoted")]
    pub keys: Vec<SealingKey>,
}

/// Reads the keys; what is wrong with them is told without repeating what they are.
fn unquoted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SealingKey>, D::Error> {
    Vec::deserialize(deserializer).map_err(|_| {
        D::Error::custom("must be a list of { id = \"..\", key = \"..\" } or { id = \"..\", key_file = \"..\" }")
    })
}

/// A key of 256 bits, as 64 hexadecimal digits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealingKey {
    /// Stands with every value that it sealed.
    pub id: String,
    #[serde(default)]
    pub key: Option<Secret<String>>,
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

/// Documents that the platform keeps under names of its own, and what they must look like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CollectionConfig {
    /// The start of their keys.
    pub prefix: String,
    /// Members that every document has.
    #[serde(default)]
    pub required: Vec<String>,
    /// JSON Schema (draft 2020-12 unless it names another one) as text.
    #[serde(default)]
    pub schema: Option<String>,
    /// JSON paths to what is stored encrypted.
    #[serde(default)]
    pub encrypted: Vec<String>,
}

impl Section for JsonConfig {
    const NAME: &'static str = "json";

    fn validate(&self) -> Result<(), FieldError> {
        for (field, count) in [
            ("document_limit", self.document_limit.as_usize()),
            ("path_limit", self.path_limit.as_usize()),
            ("path_visits", self.path_visits),
            ("patch_limit", self.patch_limit),
            ("batch_limit", self.batch_limit),
            ("activity_limit", self.activity_limit),
        ] {
            if count == 0 {
                return Err(FieldError::new(field, "must be at least 1"));
            }
        }
        for (field, span) in [
            ("max_ttl", self.max_ttl),
            ("version_life", self.version_life),
            ("answer_ttl", self.answer_ttl),
            ("retry_min", self.retry_min),
        ] {
            if span.as_millis() == 0 {
                return Err(FieldError::new(field, "must be longer than nothing"));
            }
        }
        if self.retry_min > self.retry_max {
            return Err(FieldError::new("retry_min", "must not exceed retry_max"));
        }
        for (at, collection) in self.collections.iter().enumerate() {
            collection.validate().map_err(|reason| FieldError::new("collections", reason))?;
            if self.collections.iter().take(at).any(|earlier| earlier.prefix == collection.prefix) {
                let prefix = &collection.prefix;
                return Err(FieldError::new("collections", format!("the prefix `{prefix}` stands there twice")));
            }
        }
        let keys = &self.encryption.keys;
        let refuse = |rule: &str| Err(FieldError::new("encryption.keys", rule));
        if keys.is_empty() && self.collections.iter().any(|one| !one.encrypted.is_empty()) {
            return refuse("must have a key, since a collection has encrypted paths");
        }
        for (at, key) in keys.iter().enumerate() {
            let is_plain = key.id.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter));
            if !(1..=64).contains(&key.id.len()) || !is_plain {
                return refuse("an id has 1 to 64 letters, digits, dashes, dots");
            }
            if keys.iter().take(at).any(|earlier| earlier.id == key.id) {
                return refuse("an id stands there twice");
            }
        }
        Vault::new(self).map(|_| ()).map_err(|reason| FieldError::new("encryption.keys", reason))
    }
}

impl CollectionConfig {
    fn validate(&self) -> Result<(), String> {
        let prefix = &self.prefix;
        if prefix.is_empty() || prefix.len() > KEY_LIMIT || prefix.chars().any(char::is_control) {
            return Err(format!("the prefix `{prefix}` needs 1 to {KEY_LIMIT} bytes without control characters"));
        }
        if let Some(owned) = owned_elsewhere(prefix, Self::OWNER) {
            return Err(format!("`{prefix}` reaches into `{owned}`, where no documents are"));
        }
        Schema::new(self).map(|_| ()).map_err(|error| format!("the schema of `{prefix}`: {error}"))
    }

    const OWNER: &'static str = "json";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(overrides: &str) -> Result<JsonConfig, String> {
        Config::with_overrides(overrides)
            .and_then(|config| config.section::<JsonConfig>())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_valid_and_know_the_platforms_documents() {
        let config = read("").expect("valid");
        // The API document states these numbers.
        assert_eq!(config.max_ttl.as_millis(), 31_536_000_000);
        assert_eq!(config.path_limit.bytes(), 1_024);
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
    fn a_key_in_the_wrong_place_is_not_repeated() {
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
            ("json.path_visits = 0", "json.path_visits"),
            ("json.answer_ttl = \"0s\"", "json.answer_ttl"),
            ("json.retry_min = \"1m\"", "json.retry_min"),
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
