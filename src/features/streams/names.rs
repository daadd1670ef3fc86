//! The names of streams, groups and consumers.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A stream's name: 1 to 128 letters, digits, `_`, `-` and `:`, which separates segments. No segment is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub(super) struct StreamName(Arc<str>);

impl StreamName {
    /// # Errors
    /// The rule that the text violates.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !(1..=128).contains(&text.len()) {
            return Err(format!("must have 1 to 128 characters, got {}", text.len()));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':');
        if !text.bytes().all(is_plain) {
            return Err("must have only letters, digits, `_`, `-` and `:`".to_owned());
        }
        if text.split(':').any(str::is_empty) {
            return Err("must not have empty segments between colons".to_owned());
        }
        Ok(Self(text.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The name of a group or of a consumer: 1 to 64 letters, digits, `_`, `.` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub(super) struct ShortName(Box<str>);

impl ShortName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ShortName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
            return Ok(Self(text.into()));
        }
        Err(D::Error::custom("must have 1 to 64 letters, digits, `_`, `.` and `-`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["orders", "orders:42", "a_b:c-d", &"a".repeat(128)] {
            assert!(StreamName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ":", "a:", "a::b", "a.b", "a b", "a{b}", "ä", &"a".repeat(129)] {
            assert!(StreamName::parse(bad).is_err(), "{bad}");
        }
        for (name, is_valid) in [("billing.v2", true), ("", false), ("a:b", false), ("a b", false)] {
            assert_eq!(serde_json::from_value::<ShortName>(name.into()).is_ok(), is_valid, "{name}");
        }
    }
}
