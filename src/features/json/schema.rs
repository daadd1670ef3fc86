//! The rules that the documents of a collection must follow: required members, types of values, and a JSON Schema.
//!
//! JSON Schema needs the Cargo feature `json-schema`. Without it, a configured `schema` is a configuration error.

use super::config::{CollectionConfig, JsonConfig, JsonType};
use super::document::{Node, Pointer};
use super::model::DocumentKey;
use crate::config::{FieldError, longest_prefix};

/// The number of broken rules that one answer reports.
const MAX_REPORTED: usize = 20;

/// The rules of every collection.
#[derive(Debug)]
pub(super) struct Schemas(Vec<CollectionRules>);

#[derive(Debug)]
struct CollectionRules {
    prefix: String,
    required: Vec<String>,
    types: Vec<(String, Pointer, JsonType)>,
    schema: Option<validator::Validator>,
}

/// A rule that a document or a patch breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokenRule {
    /// A JSON pointer into the document or patch.
    pub pointer: String,
    pub rule: String,
}

impl Schemas {
    /// # Errors
    /// [`FieldError`] for the first schema or pointer that cannot be used.
    pub(super) fn new(config: &JsonConfig) -> Result<Self, FieldError> {
        let rules = config.collections.iter().map(|collection| {
            CollectionRules::new(collection).map_err(|reason| format!("`{}`: {reason}", collection.prefix))
        });
        rules.collect::<Result<_, _>>().map(Self).map_err(|reason| FieldError::new("collections", reason))
    }

    /// Checks a document against the rules of its collection.
    ///
    /// # Errors
    /// The rules that the document breaks, at most twenty.
    pub(super) fn check(&self, key: &DocumentKey, document: &Node) -> Result<(), Vec<BrokenRule>> {
        let Some(rules) = longest_prefix(&self.0, key.as_str(), |rules| &rules.prefix) else { return Ok(()) };
        let broken = rules.broken_by(document);
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }
}

impl CollectionRules {
    fn new(config: &CollectionConfig) -> Result<Self, String> {
        let types = config.types.iter().map(|(text, expected)| match Pointer::parse(text) {
            Ok(pointer) => Ok((text.clone(), pointer, *expected)),
            Err(rule) => Err(format!("types: `{text}` {rule}")),
        });
        Ok(Self {
            prefix: config.prefix.clone(),
            required: config.required.clone(),
            types: types.collect::<Result<_, String>>()?,
            schema: config.schema.as_deref().map(validator::parse).transpose()?,
        })
    }

    fn broken_by(&self, document: &Node) -> Vec<BrokenRule> {
        let missing = self.required.iter().filter(|name| document.member(name).is_none()).map(|name| BrokenRule {
            pointer: format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            rule: "is required".to_owned(),
        });
        let mistyped = self.types.iter().filter_map(|(text, pointer, expected)| {
            let value = pointer.find(document).filter(|value| !expected.includes(value))?;
            let rule = format!("must have the type {}, got {}", expected.name(), value.type_name());
            Some(BrokenRule { pointer: text.clone(), rule })
        });
        let invalid = self.schema.iter().flat_map(|schema| validator::broken_rules(schema, document));
        missing.chain(mistyped).chain(invalid).take(MAX_REPORTED).collect()
    }
}

impl JsonType {
    fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    fn includes(self, value: &Node) -> bool {
        let found = value.type_name();
        found == self.name() || (found == "integer" && self == Self::Number)
    }
}

#[cfg(feature = "json-schema")]
mod validator {
    use jsonschema::ValidationError;
    pub(super) use jsonschema::Validator;
    use serde_json::Value;

    use super::{BrokenRule, MAX_REPORTED, Node};

    /// The longest document whose broken rules are listed, bytes: with alternatives, the validator builds every error of every
    /// value, up to a kilobyte for each byte of the text.
    const MAX_EXPLAINED: usize = 16 << 10;

    /// # Errors
    /// Why the schema cannot be used. References to other addresses are errors, because nothing is fetched.
    pub(super) fn parse(text: &str) -> Result<Validator, String> {
        let schema: Value =
            serde_json::from_str(text).map_err(|error| format!("the schema is not valid JSON: {error}"))?;
        jsonschema::validator_for(&schema).map_err(|error| format!("the schema cannot be used: {error}"))
    }

    pub(super) fn broken_rules(schema: &Validator, document: &Node) -> Vec<BrokenRule> {
        let value = value_of(document);
        if schema.is_valid(&value) {
            return Vec::new();
        }
        if document.to_bytes().len() > MAX_EXPLAINED {
            let rule = format!(
                "must match the schema; the rules are named only for documents of at most {MAX_EXPLAINED} bytes"
            );
            return vec![BrokenRule { pointer: String::new(), rule }];
        }
        let errors = schema.iter_errors(&value).take(MAX_REPORTED);
        // The masked text does not quote the value, which may be stored encrypted.
        let broken = |error: ValidationError<'_>| BrokenRule {
            pointer: error.instance_path().to_string(),
            rule: error.masked().to_string(),
        };
        errors.map(broken).collect()
    }

    /// The document as the validator takes it, with numbers rounded to 64 bits. Arrays have no spare room, unlike those that
    /// `serde_json` parses, which take several times the memory.
    fn value_of(node: &Node) -> Value {
        match node {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            // Every number of a document is a finite 64-bit float at least.
            Node::Number(number) => number.as_str().parse().map_or(Value::Null, Value::Number),
            Node::String(text) => Value::String(text.to_string()),
            Node::Array(items) => Value::Array(items.iter().map(value_of).collect()),
            Node::Object(members) => {
                Value::Object(members.iter().map(|(name, value)| (name.to_string(), value_of(value))).collect())
            }
        }
    }
}

#[cfg(not(feature = "json-schema"))]
mod validator {
    /// No value of this type exists: a schema cannot be configured.
    pub(super) use std::convert::Infallible as Validator;

    use super::{BrokenRule, Node};

    pub(super) fn parse(_: &str) -> Result<Validator, String> {
        Err("schema needs the Cargo feature json-schema, which this build does not have".to_owned())
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the validator of the other build is large")]
    pub(super) fn broken_rules(schema: &Validator, _: &Node) -> Vec<BrokenRule> {
        match *schema {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn schemas(collection: &str) -> Result<Schemas, FieldError> {
        let config = format!("[[json.collections]]\nprefix = \"a:\"\n{collection}");
        let config: JsonConfig = Config::with_overrides(&config).and_then(|config| config.section()).expect("valid");
        Schemas::new(&config)
    }

    fn check(collection: &str, text: &str) -> Vec<BrokenRule> {
        let key = DocumentKey::try_from("a:1".to_owned()).expect("a key");
        let document = Node::parse(text.as_bytes()).expect("JSON");
        schemas(collection).expect("schemas").check(&key, &document).err().unwrap_or_default()
    }

    #[test]
    fn a_missing_member_is_reported_with_its_pointer() {
        let broken = check("required = [\"rules\", \"a/b\"]", "{\"rules\":null}");
        assert_eq!(broken, [BrokenRule { pointer: "/a~1b".to_owned(), rule: "is required".to_owned() }]);
        assert_eq!(check("required = [\"rules\"]", "[1]").len(), 1, "an array has no members");
    }

    #[test]
    fn a_value_of_another_type_is_reported_and_a_missing_one_is_not() {
        let types = "types = { \"\" = \"object\", \"/l\" = \"array\" }";
        assert_eq!(check(types, "{\"l\":[]}"), []);
        assert_eq!(check(types, "{}"), []);
        let broken = BrokenRule { pointer: String::new(), rule: "must have the type object, got array".to_owned() };
        assert_eq!(check(types, "[]"), [broken]);
        let broken = BrokenRule { pointer: "/l".to_owned(), rule: "must have the type array, got integer".to_owned() };
        assert_eq!(check(types, "{\"l\":5}"), [broken]);
    }

    #[cfg(feature = "json-schema")]
    #[test]
    fn every_value_that_breaks_the_schema_is_reported() {
        let schema = "schema = '{\"properties\":{\"fee\":{\"type\":\"string\"},\"n\":{\"maximum\":5}}}'";
        assert_eq!(check(schema, "{\"fee\":\"0.1\",\"n\":5}"), []);
        let pointers: Vec<String> =
            check(schema, "{\"fee\":0.1,\"n\":6}").into_iter().map(|broken| broken.pointer).collect();
        assert_eq!(pointers, ["/fee", "/n"]);
    }

    #[cfg(feature = "json-schema")]
    #[test]
    fn the_rules_that_a_long_document_breaks_are_not_listed() {
        let schema = "schema = '{\"items\":{\"type\":\"string\"}}'";
        let numbers = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert_eq!(check(schema, &numbers(8_000)).len(), MAX_REPORTED);
        let broken = check(schema, &numbers(9_000));
        assert_eq!(broken.iter().map(|broken| broken.pointer.as_str()).collect::<Vec<_>>(), [""]);
        assert_eq!(check(schema, &format!("[{}]", vec!["\"1\""; 9_000].join(","))), []);
    }

    #[cfg(not(feature = "json-schema"))]
    #[test]
    fn a_schema_needs_its_cargo_feature() {
        let error = format!("{:?}", schemas("schema = '{}'").expect_err("no JSON Schema"));
        assert!(error.contains("json-schema"), "{error}");
    }
}
