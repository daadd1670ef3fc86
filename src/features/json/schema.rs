//! What the documents of a collection must look like.

use jsonschema::Validator;
use serde_json::Value;

use super::config::{CollectionConfig, JsonConfig};
use super::model::DocumentKey;

/// Broken rules that are told at once.
const TOLD: usize = 20;

/// The rules of every collection.
#[derive(Debug)]
pub(super) struct Schemas(Vec<Schema>);

/// The rules of one collection.
#[derive(Debug)]
pub(super) struct Schema {
    prefix: String,
    required: Vec<String>,
    validator: Option<Validator>,
}

/// A rule that a document breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokenRule {
    /// JSON pointer into the document.
    pub pointer: String,
    pub rule: String,
}

impl Schema {
    /// # Errors
    /// Why the schema cannot be used; one that refers to other addresses cannot, since nothing is fetched.
    pub(super) fn new(config: &CollectionConfig) -> Result<Self, String> {
        let validator = match &config.schema {
            None => None,
            Some(text) => {
                let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
                Some(jsonschema::validator_for(&schema).map_err(|error| error.to_string())?)
            }
        };
        Ok(Self { prefix: config.prefix.clone(), required: config.required.clone(), validator })
    }

    fn broken_rules(&self, document: &Value) -> Vec<BrokenRule> {
        let missing = self.required.iter().filter(|name| document.get(name).is_none()).map(|name| BrokenRule {
            pointer: format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            rule: "is required".to_owned(),
        });
        let broken = self
            .validator
            .iter()
            .flat_map(|validator| validator.iter_errors(document))
            .map(|error| BrokenRule { pointer: error.instance_path().to_string(), rule: error.masked().to_string() });
        missing.chain(broken).take(TOLD).collect()
    }
}

impl Schemas {
    /// # Errors
    /// The first schema that cannot be used.
    pub(super) fn new(config: &JsonConfig) -> Result<Self, String> {
        config.collections.iter().map(Schema::new).collect::<Result<_, _>>().map(Self)
    }

    /// Checks a document, given as its text, against its collection.
    ///
    /// # Errors
    /// The rules that it breaks, at most twenty.
    pub(super) fn check(&self, key: &DocumentKey, text: &[u8]) -> Result<(), Vec<BrokenRule>> {
        let Some(schema) = self.0.iter().find(|schema| key.as_str().starts_with(&schema.prefix)) else { return Ok(()) };
        if schema.required.is_empty() && schema.validator.is_none() {
            return Ok(());
        }
        // Rounded to 64 bits for the check alone: what is stored is the text.
        let broken = match serde_json::from_slice(text) {
            Ok(document) => schema.broken_rules(&document),
            Err(error) => vec![BrokenRule { pointer: String::new(), rule: error.to_string() }],
        };
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn check(collection: &str, text: &str) -> Vec<BrokenRule> {
        let config = format!("[[json.collections]]\nprefix = \"a:\"\n{collection}");
        let config: JsonConfig = Config::with_overrides(&config).and_then(|config| config.section()).expect("valid");
        let key = DocumentKey::try_from("a:1".to_owned()).expect("a key");
        Schemas::new(&config).expect("schemas").check(&key, text.as_bytes()).err().unwrap_or_default()
    }

    #[test]
    fn a_missing_member_is_told_with_its_pointer() {
        let broken = check("required = [\"rules\", \"a/b\"]", "{\"rules\":null}");
        assert_eq!(broken, [BrokenRule { pointer: "/a~1b".to_owned(), rule: "is required".to_owned() }]);
        assert_eq!(check("required = [\"rules\"]", "[1]").len(), 1, "what is no object has no members");
    }

    #[test]
    fn every_place_that_breaks_the_schema_is_told() {
        let schema = "schema = '{\"properties\":{\"fee\":{\"type\":\"string\"},\"n\":{\"maximum\":5}}}'";
        assert_eq!(check(schema, "{\"fee\":\"0.1\",\"n\":5}"), []);
        let pointers: Vec<String> =
            check(schema, "{\"fee\":0.1,\"n\":6}").into_iter().map(|broken| broken.pointer).collect();
        assert_eq!(pointers, ["/fee", "/n"]);
    }
}
