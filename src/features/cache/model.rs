//! Wire types: keys, tags, TTLs, requests and responses.

use serde::de;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::integer;

/// The longest key and the longest prefix, bytes.
pub(super) const KEY_LIMIT: usize = 512;
/// The longest tag, bytes.
pub(super) const TAG_LIMIT: usize = 128;
/// The most tags that a value may have.
pub(super) const TAGS_LIMIT: usize = 16;
/// The longest Content-Type, bytes.
pub(super) const CONTENT_TYPE_LIMIT: usize = 255;

/// Path segments that `/cache/batch` and `/cache/tags/{tag}` use.
const RESERVED: &[&str] = &["batch", "tags"];

/// A client's key: 1 to 512 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7")]
pub(super) struct CacheKey(String);

impl CacheKey {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

impl TryFrom<String> for CacheKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        check_name(&text, KEY_LIMIT)?;
        if RESERVED.contains(&text.as_str()) {
            return Err(format!("`{text}` is reserved for a route of the service"));
        }
        Ok(Self(text))
    }
}

/// A name for values that are invalidated together: 1 to 128 bytes of UTF-8 without control characters and commas.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1F\x7F-\x9F,]+$", example = "profiles")]
#[schema(as = CacheTag)]
pub(super) struct Tag(String);

impl Tag {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Tag {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        check_name(&text, TAG_LIMIT)?;
        if text.contains(',') {
            return Err("must not contain commas: they separate tags".to_owned());
        }
        Ok(Self(text))
    }
}

/// The tags of one value: at most 16, distinct and sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "Vec<Tag>")]
#[schema(max_items = 16)]
#[schema(as = CacheTags)]
pub(super) struct Tags(Vec<Tag>);

impl Tags {
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Tag> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses `a,b,c`.
    ///
    /// # Errors
    /// The rule that a tag or the list violates.
    fn parse(text: &str) -> Result<Self, String> {
        let tags: Result<Vec<Tag>, String> = text.split(',').map(|tag| Tag::try_from(tag.to_owned())).collect();
        Self::try_from(tags?)
    }

    /// Deserializes `a,b,c`.
    pub(super) fn separated_by_commas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).and_then(|text| Self::parse(&text).map_err(de::Error::custom))
    }
}

impl TryFrom<Vec<Tag>> for Tags {
    type Error = String;

    fn try_from(mut tags: Vec<Tag>) -> Result<Self, String> {
        if tags.len() > TAGS_LIMIT {
            return Err(format!("must have at most {TAGS_LIMIT} tags, got {}", tags.len()));
        }
        tags.sort_unstable();
        tags.dedup();
        Ok(Self(tags))
    }
}

fn check_name(text: &str, limit: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.len() > limit {
        return Err(format!("must have at most {limit} bytes, got {}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(())
}

/// A TTL in milliseconds, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(minimum = 1, maximum = 31_536_000_000_u64, example = 60_000)]
#[schema(as = CacheTtl)]
pub(super) struct Millis(u64);

impl Millis {
    pub(super) const fn get(self) -> u64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        integer::unsigned(deserializer).and_then(|ms| Self::try_from(ms).map_err(de::Error::custom))
    }
}

impl TryFrom<u64> for Millis {
    type Error = String;

    fn try_from(ms: u64) -> Result<Self, String> {
        match ms {
            0 => Err("must be at least 1, got 0".to_owned()),
            ms if i64::try_from(ms).is_err() => Err("is longer than Redis supports".to_owned()),
            ms => Ok(Self(ms)),
        }
    }
}

/// How to read a value.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GetParams {
    /// Set the value's TTL to this many milliseconds, in the same step.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 31_536_000_000_u64)]
    pub touch_ms: Option<Millis>,
    /// On a miss, acquire a lease of this many milliseconds to rebuild the value; if another client has it, return a
    /// stale value or wait briefly.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 60_000)]
    pub lease_ms: Option<Millis>,
    /// `miss`: return 404 instead of 503 if Redis is unavailable.
    #[serde(default)]
    #[param(inline)]
    pub on_error: OnError,
}

/// The response to a read if Redis is unavailable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(title = "CacheOnError")]
pub(super) enum OnError {
    #[default]
    Fail,
    Miss,
}

/// Body of `POST /cache/{key}/touch`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CacheTouch)]
pub(super) struct TouchRequest {
    /// The new TTL, milliseconds.
    pub ttl_ms: Millis,
}

/// Body of `POST /cache/{key}/increment`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CacheIncrement, example = json!({"by": 1, "ttl_ms": 60_000}))]
pub(super) struct IncrementRequest {
    /// The amount to add; a negative amount subtracts.
    #[serde(default = "one", deserialize_with = "integer::signed")]
    #[schema(default = 1, example = 1)]
    pub by: i64,
    /// The TTL of a counter that this call creates, milliseconds; without it the key's policy decides.
    #[serde(default)]
    pub ttl_ms: Option<Millis>,
}

const fn one() -> i64 {
    1
}

/// A counter after an increment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CacheCounter)]
pub(super) struct Counter {
    pub value: i64,
    /// The remaining TTL, milliseconds; null if the counter does not expire.
    #[schema(required = true)]
    pub ttl_ms: Option<u64>,
    /// Whether this call created the counter and set its expiry.
    pub created: bool,
}

/// An entry of the index.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheKeyInfo)]
pub(super) struct KeyInfo {
    pub key: CacheKey,
    /// The remaining TTL, milliseconds; null if the value does not expire.
    #[schema(required = true)]
    pub ttl_ms: Option<u64>,
    /// Size in Redis in bytes, including Content-Type and tags if the value has them.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_and_printable() {
        for good in ["a", "user:profile:1", "a b/c?d=é", "{x}", &"k".repeat(KEY_LIMIT)] {
            assert!(CacheKey::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "\0", "a\u{7f}", "\u{85}", &"k".repeat(KEY_LIMIT + 1), "batch", "tags"] {
            assert!(CacheKey::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tags_are_limited_distinct_and_sorted() {
        let tags = Tags::parse("b,a,b").expect("valid");
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
        let many: Vec<String> = (0..=TAGS_LIMIT).map(|n| n.to_string()).collect();
        for bad in ["", "a,,b", "a,", "a\n", &"t".repeat(TAG_LIMIT + 1), &many.join(",")] {
            assert!(Tags::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_ttl_is_positive_and_fits_redis() {
        for bad in [0, 1 << 63, u64::MAX] {
            assert!(Millis::try_from(bad).is_err(), "{bad}");
        }
        assert_eq!(Millis::try_from(1).map(Millis::get), Ok(1));
    }
}
