//! The names of channels.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, bytes.
const MAX: usize = 200;

/// The Redis channels on which the service talks to itself and tells of documents, or their beginnings up to a colon. A
/// client that published there could give orders to every replica.
const RESERVED: &[&str] = &["json:changes", "locks:wake", "pubsub:"];

/// A channel's name: 1 to 200 letters, digits, `_`, `.`, `-` and `:`, which separates segments. No segment is empty, and it
/// is not a channel of the service's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// # Errors
    /// The rule that the text violates.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX {
            return Err(format!("must have 1 to {MAX} characters, got {}", text.len()));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b':');
        if !text.bytes().all(is_plain) {
            return Err("must have only letters, digits, `_`, `.`, `-` and `:`".to_owned());
        }
        if text.split(':').any(str::is_empty) {
            return Err("must not have empty segments between colons".to_owned());
        }
        let is_reserved = |own: &&&str| if own.ends_with(':') { text.starts_with(**own) } else { text == **own };
        if let Some(own) = RESERVED.iter().find(is_reserved) {
            return Err(format!("must not be a channel of the service itself: `{own}`"));
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split(':')
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ChannelName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ChannelName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_plain_segments() {
        for good in ["a", "market:events", "orders:user-7_x.y", &"a".repeat(MAX)] {
            assert!(ChannelName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":",
            "a:",
            ":a",
            "a::b",
            "a b",
            "a{b}",
            "a*",
            "ä",
            "a/b",
            "json:changes",
            "pubsub:control",
            &"a".repeat(MAX + 1),
        ] {
            assert!(ChannelName::parse(bad).is_err(), "{bad}");
        }
    }
}
