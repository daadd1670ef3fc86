//! Names, numbers and bodies of the documents' calls.

use serde::de;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::document::{Node, Number};
use crate::http::integer;

/// The longest key, bytes.
pub(super) const KEY_LIMIT: usize = 512;

/// The segment that `/json/batch` uses for itself.
const RESERVED: &str = "batch";

/// A document's key: 1 to 512 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(as = JsonKey, min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "profile:7")]
pub(super) struct DocumentKey(String);

impl DocumentKey {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DocumentKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        if text.len() > KEY_LIMIT {
            return Err(format!("has {} bytes; at most {KEY_LIMIT} are allowed", text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters".to_owned());
        }
        if text == RESERVED {
            return Err(format!("`{text}` is a route of the service"));
        }
        Ok(Self(text))
    }
}

/// A length of time in whole milliseconds, at least 1.
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
            0 => Err(de::Error::custom("must be at least 1 ms")),
            ms if i64::try_from(ms).is_err() => Err(de::Error::custom("is longer than Redis can count")),
            ms => Ok(Self(ms)),
        }
    }
}

/// A JSON value inside a body, with its numbers as they were written.
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(text.get().as_bytes()).map_err(|error| de::Error::custom(error.fault))
    }
}

/// A JSON number inside a body, as it was written.
impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Node::deserialize(deserializer)? {
            Node::Number(number) => Ok(number),
            other => Err(de::Error::custom(format!("is {}, not a number", other.type_name()))),
        }
    }
}

/// Body of `POST /json/{key}/touch`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonTouch, example = json!({"ttl_ms": 60_000}))]
pub(super) struct TouchRequest {
    /// The remaining life from now on, milliseconds; null: it does not end.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    pub ttl_ms: Option<Millis>,
}

/// Of what values lengths are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JsonLengthOf)]
pub(super) enum LengthOf {
    Array,
    Object,
    String,
}

/// Body of a change that needs nothing but a path.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonPathOnly)]
pub(super) struct PathRequest {
    /// A JSON path; the whole document without it.
    #[serde(default)]
    #[schema(max_length = 1_024, example = "$.active")]
    pub path: Option<String>,
}

/// Body of `POST /json/{key}/array/append`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonAppend)]
pub(super) struct AppendRequest {
    /// A JSON path; the whole document without it.
    #[serde(default)]
    #[schema(max_length = 1_024, example = "$.tags")]
    pub path: Option<String>,
    #[serde(deserialize_with = "some")]
    #[schema(value_type = Vec<serde_json::Value>, min_items = 1, example = json!(["b", 2]))]
    pub values: Vec<Node>,
}

/// Body of `POST /json/{key}/array/insert`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonInsert)]
pub(super) struct InsertRequest {
    /// A JSON path; the whole document without it.
    #[serde(default)]
    #[schema(max_length = 1_024, example = "$.tags")]
    pub path: Option<String>,
    /// The item before which the values come; its length is behind the last one, and negative ones count from there.
    #[serde(deserialize_with = "integer::signed")]
    #[schema(example = 0)]
    pub index: i64,
    #[serde(deserialize_with = "some")]
    #[schema(value_type = Vec<serde_json::Value>, min_items = 1, example = json!(["first"]))]
    pub values: Vec<Node>,
}

/// Body of `POST /json/{key}/array/pop`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonPop)]
pub(super) struct PopRequest {
    /// A JSON path; the whole document without it.
    #[serde(default)]
    #[schema(max_length = 1_024, example = "$.tags")]
    pub path: Option<String>,
    /// Which item; negative ones count from the end, and one beyond either end is the item there.
    #[serde(default = "last", deserialize_with = "integer::signed")]
    #[schema(default = -1, example = -1)]
    pub index: i64,
}

const fn last() -> i64 {
    -1
}

/// Body of `POST /json/{key}/array/trim`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonTrim)]
pub(super) struct TrimRequest {
    /// A JSON path; the whole document without it.
    #[serde(default)]
    #[schema(max_length = 1_024, example = "$.tags")]
    pub path: Option<String>,
    /// The first item that stays; negative ones count from the end.
    #[serde(deserialize_with = "integer::signed")]
    #[schema(example = 0)]
    pub start: i64,
    /// The last item that stays.
    #[serde(deserialize_with = "integer::signed")]
    #[schema(example = 9)]
    pub stop: i64,
}

/// Body of `POST /json/{key}/number/increment` and `/multiply`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonCalculate)]
pub(super) struct CalculateRequest {
    /// A JSON path; the whole document without it.
    #[serde(default)]
    #[schema(max_length = 1_024, example = "$.score")]
    pub path: Option<String>,
    #[schema(value_type = f64, example = 2)]
    pub by: Number,
}

/// Body of `POST /json/{key}/string/append`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonAppendText)]
pub(super) struct AppendTextRequest {
    /// A JSON path; the whole document without it.
    #[serde(default)]
    #[schema(max_length = 1_024, example = "$.name")]
    pub path: Option<String>,
    #[schema(example = " L.")]
    pub value: String,
}

/// At least one value.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Node>, D::Error> {
    let values = Vec::<Node>::deserialize(deserializer)?;
    if values.is_empty() {
        return Err(de::Error::custom("must have at least one value"));
    }
    Ok(values)
}

/// One operation of a JSON Patch (RFC 6902).
#[derive(ToSchema)]
#[schema(as = JsonPatchOperation)]
#[expect(dead_code, reason = "described here, read by PatchForm")]
pub(super) struct PatchOperation {
    op: PatchVerb,
    /// A JSON pointer.
    #[schema(pattern = "^(/([^~]|~0|~1)*)?$", example = "/tags/-")]
    path: String,
    /// A JSON pointer; of move and copy.
    #[schema(pattern = "^(/([^~]|~0|~1)*)?$")]
    from: Option<String>,
    /// Of add, replace and test.
    value: Option<serde_json::Value>,
}

/// What an operation of a JSON Patch does.
#[derive(ToSchema)]
#[schema(as = JsonPatchVerb)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "described here, read by PatchForm")]
enum PatchVerb {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

/// How much was deleted.
#[derive(ToSchema)]
#[schema(as = JsonDeleted)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct Deleted {
    deleted: u64,
}

/// How much was cleared.
#[derive(ToSchema)]
#[schema(as = JsonCleared)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct Cleared {
    cleared: u64,
}

/// A page of an activity log, newest first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct ActivityPage {
    items: Vec<serde_json::Value>,
    /// Ask with `cursor` set to this for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// An entry that was recorded.
#[derive(ToSchema)]
#[schema(as = ActivityRecorded)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct Recorded {
    /// Entries of the log now.
    entries: u64,
}

/// One result per selected value.
#[derive(ToSchema)]
#[schema(as = JsonLengths)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct LengthsReply {
    results: Vec<Option<u64>>,
}

/// One result per selected value: `integer` is a number that 64 bits hold exactly.
#[derive(ToSchema)]
#[schema(as = JsonTypes)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct TypesReply {
    #[schema(example = json!(["object"]))]
    results: Vec<String>,
}

/// One result per selected value.
#[derive(ToSchema)]
#[schema(as = JsonMemberNames)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct KeysReply {
    results: Vec<Option<Vec<String>>>,
}

/// One result per selected value.
#[derive(ToSchema)]
#[schema(as = JsonNumbers)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct NumbersReply {
    results: Vec<Option<f64>>,
}

/// One result per selected value.
#[derive(ToSchema)]
#[schema(as = JsonBooleans)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct ToggleReply {
    results: Vec<Option<bool>>,
}

/// One result per selected value.
#[derive(ToSchema)]
#[schema(as = JsonPopped)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct PopReply {
    results: Vec<Option<Popped>>,
}

/// An item that was taken out.
#[derive(ToSchema)]
#[schema(as = JsonItem)]
#[expect(dead_code, reason = "described here, written by the routes")]
pub(super) struct Popped {
    value: serde_json::Value,
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
