//! Wire types of the documents' routes: keys, TTLs, bodies and replies.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType};
use utoipa::{PartialSchema, ToSchema};

use super::document::{Node, Number};
use super::path::Path;
use crate::http::integer;

/// The longest key, bytes.
pub(super) const KEY_LIMIT: usize = 512;

/// The longest identifier, bytes.
const ID_LIMIT: usize = 256;

/// The segment of the route `/json/batch`.
const RESERVED: &str = "batch";

/// A document's key: 1 to 512 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(as = JsonKey, min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "profile:7")]
pub(super) struct DocumentKey(String);

impl DocumentKey {
    /// The key of a document in one of the platform's collections.
    pub(super) fn in_collection(prefix: &str, id: &Identifier) -> Self {
        Self(format!("{prefix}{}", id.0))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

impl TryFrom<String> for DocumentKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        if text.len() > KEY_LIMIT {
            return Err(format!("must have at most {KEY_LIMIT} bytes, got {}", text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters".to_owned());
        }
        if text == RESERVED {
            return Err(format!("must not be `{RESERVED}`, which is a route of the service"));
        }
        Ok(Self(text))
    }
}

/// The id of a user, configuration or form, or the name of a preference: 1 to 256 bytes without control characters.
#[derive(Clone, Debug)]
pub(super) struct Identifier(String);

impl Identifier {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Checked;

        /// Checks in the visitor, because a path with several parameters names the parameter only for its errors.
        impl Visitor<'_> for Checked {
            type Value = Identifier;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "1 to {ID_LIMIT} bytes without control characters")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Identifier, E> {
                if text.is_empty() || text.len() > ID_LIMIT || text.chars().any(char::is_control) {
                    let rule = format!("must have 1 to {ID_LIMIT} bytes and no control characters");
                    return Err(E::custom(rule));
                }
                Ok(Identifier(text.to_owned()))
            }
        }

        deserializer.deserialize_str(Checked)
    }
}

/// A duration in whole milliseconds, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(as = JsonTtl, minimum = 1, maximum = 31_536_000_000_u64, example = 60_000)]
pub(super) struct Millis(u64);

impl Millis {
    pub(super) const fn get(self) -> u64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match integer::unsigned(deserializer)? {
            0 => Err(de::Error::custom("must be at least 1, got 0")),
            ms if i64::try_from(ms).is_err() => Err(de::Error::custom("must be a 64-bit signed integer")),
            ms => Ok(Self(ms)),
        }
    }
}

/// Any JSON value, in the API document.
pub(super) struct JsonValue;

impl PartialSchema for JsonValue {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some("Any JSON value.")).into()
    }
}

impl ToSchema for JsonValue {}

/// A JSON value inside a body. Its numbers keep the digits that the caller wrote.
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(text.get().as_bytes()).map_err(|error| de::Error::custom(error.fault))
    }
}

/// A JSON number inside a body. It keeps the digits that the caller wrote.
impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Node::deserialize(deserializer)? {
            Node::Number(number) => Ok(number),
            other => Err(de::Error::custom(format!("must be a number, got {}", other.type_name()))),
        }
    }
}

/// Body of `POST /json/{key}/touch`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonTouch, example = json!({"ttl_ms": 60_000}))]
pub(super) struct TouchRequest {
    /// The new TTL, milliseconds from now; null removes the TTL.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    pub ttl_ms: Option<Millis>,
}

/// The types of values that have a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JsonLengthOf, title = "JsonLengthOf")]
pub(super) enum LengthOf {
    Array,
    Object,
    String,
}

/// Defines bodies that have a path and the given fields.
macro_rules! bodies_with_path {
    ($($(#[$doc:meta])* $name:ident as $schema:ident, $example:literal {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = $schema)]
        pub(super) struct $name {
            /// A JSON path; without it, the whole document.
            #[schema(value_type = Option<String>, max_length = 1_024, example = $example)]
            pub path: Option<Path>,
            $($(#[$field_doc])* pub $field: $type,)*
        }
    )+};
}

bodies_with_path! {
    /// Body of a change that needs only a path.
    PathRequest as JsonPathOnly, "$.active" {}

    /// Body of `POST /json/{key}/clear`.
    ClearRequest as JsonClear, "$.tags" {}

    /// Body of `POST /json/{key}/array/append`.
    AppendRequest as JsonAppend, "$.tags" {
        #[serde(deserialize_with = "at_least_one")]
        #[schema(value_type = Vec<serde_json::Value>, min_items = 1, example = json!(["b", 2]))]
        values: Vec<Node>,
    }

    /// Body of `POST /json/{key}/array/insert`.
    InsertRequest as JsonInsert, "$.tags" {
        /// The index of the item before which the values are inserted. The length of the array appends them; a negative
        /// index counts from the end.
        #[serde(deserialize_with = "integer::signed")]
        #[schema(example = 0)]
        index: i64,
        #[serde(deserialize_with = "at_least_one")]
        #[schema(value_type = Vec<serde_json::Value>, min_items = 1, example = json!(["first"]))]
        values: Vec<Node>,
    }

    /// Body of `POST /json/{key}/array/pop`.
    PopRequest as JsonPop, "$.tags" {
        /// The index of the item. A negative index counts from the end; an index beyond either end means the item at
        /// that end.
        #[serde(default = "last", deserialize_with = "integer::signed")]
        #[schema(default = -1, example = -1)]
        index: i64,
    }

    /// Body of `POST /json/{key}/array/trim`.
    TrimRequest as JsonTrim, "$.tags" {
        /// The index of the first item to keep; a negative index counts from the end.
        #[serde(deserialize_with = "integer::signed")]
        #[schema(example = 0)]
        start: i64,
        /// The index of the last item to keep; a negative index counts from the end.
        #[serde(deserialize_with = "integer::signed")]
        #[schema(example = 9)]
        stop: i64,
    }

    /// Body of `POST /json/{key}/number/increment` and `/multiply`.
    CalculateRequest as JsonCalculate, "$.score" {
        #[schema(value_type = f64, example = 2)]
        by: Number,
    }

    /// Body of `POST /json/{key}/string/append`.
    AppendTextRequest as JsonAppendText, "$.name" {
        #[schema(example = " L.")]
        value: String,
    }
}

const fn last() -> i64 {
    -1
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Node>, D::Error> {
    let values = Vec::<Node>::deserialize(deserializer)?;
    if values.is_empty() {
        return Err(de::Error::custom("must contain at least one value"));
    }
    Ok(values)
}

/// A page of an activity log, newest entry first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described here, written by the routes")]
#[schema(as = UserActivityPage)]
pub(super) struct ActivityPage {
    items: Vec<serde_json::Value>,
    /// Pass this as `cursor` to get the next page; null on the last page.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Replies that the API document describes here and that the routes write directly.
macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident as $schema:ident { $(#[$field_doc:meta])* $field:ident: $type:ty })+) => {$(
        $(#[$doc])*
        #[derive(ToSchema)]
        #[schema(as = $schema)]
        #[expect(dead_code, reason = "described here, written by the routes")]
        pub(super) struct $name {
            $(#[$field_doc])*
            $field: $type,
        }
    )+};
}

replies! {
    /// The number of deleted values.
    DeletedReply as JsonDeleted { deleted: u64 }
    /// The number of cleared values.
    ClearedReply as JsonCleared { cleared: u64 }
    /// A recorded entry.
    RecordedReply as UserActivityRecorded {
        /// The number of entries in the log.
        entries: u64
    }
    /// One result per selected value.
    LengthsReply as JsonLengths { results: Vec<Option<u64>> }
    /// One result per selected value: `integer` is a number that 64 bits hold exactly.
    TypesReply as JsonTypes {
        #[schema(example = json!(["object"]))]
        results: Vec<String>
    }
    /// One result per selected value.
    KeysReply as JsonMemberNames { results: Vec<Option<Vec<String>>> }
    /// One result per selected value.
    NumbersReply as JsonNumbers { results: Vec<Option<f64>> }
    /// One result per selected value.
    ToggleReply as JsonBooleans { results: Vec<Option<bool>> }
    /// One result per selected value.
    PopReply as JsonPopped { results: Vec<Option<Popped>> }
    /// A removed item.
    Popped as JsonItem { value: serde_json::Value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_and_printable() {
        for good in ["a", "user_preferences:7", "a b/c?d=é", "{x}", &"k".repeat(KEY_LIMIT)] {
            assert!(DocumentKey::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "\0", "a\u{7f}", &"k".repeat(KEY_LIMIT + 1), "batch"] {
            assert!(DocumentKey::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn values_of_bodies_keep_their_numbers() {
        let body: AppendRequest =
            serde_json::from_str("{\"values\":[1.50,{\"n\":123456789012345678901}]}").expect("a body");
        let texts: Vec<String> = body.values.iter().map(Node::to_text).collect();
        assert_eq!(texts, ["1.50", "{\"n\":123456789012345678901}"]);
        for bad in ["{\"values\":[]}", "{\"values\":[{\"a\":1,\"a\":2}]}", "{\"values\":[1e999]}", "{}"] {
            assert!(serde_json::from_str::<AppendRequest>(bad).is_err(), "{bad}");
        }
    }
}
