//! Key names: the configured prefix, escaped user input, and sibling keys in the same cluster slot.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use redis::{RedisWrite, ToRedisArgs, ToSingleRedisArg};

/// The service's part of Redis: every key that it touches starts with the prefix.
#[derive(Clone, Debug, Default)]
pub struct KeySpace {
    prefix: Arc<str>,
}

impl KeySpace {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The prefix of every key; empty without one.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `name` after the prefix; `name` is a constant or already escaped.
    pub fn key(&self, name: impl fmt::Display) -> Key {
        let mut text = String::with_capacity(self.prefix.len() + 64);
        text.push_str(&self.prefix);
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}");
        Key(text)
    }

    /// The key `<kind><text>`, with the text of a client escaped, at a quarter of the cost of formatting.
    pub fn text_key(&self, kind: &str, text: &str) -> Key {
        let mut name = String::with_capacity(self.prefix.len() + kind.len() + text.len());
        name.push_str(&self.prefix);
        name.push_str(kind);
        if Segment(text).is_plain() {
            name.push_str(text);
        } else {
            name.push_str(&Segment(text).escaped());
        }
        Key(name)
    }

    /// The key of a complete name, prefix included, as Redis returned it.
    pub fn named(&self, name: &str) -> Key {
        debug_assert!(name.starts_with(&*self.prefix), "{name} is ours");
        Key(name.to_owned())
    }
}

/// A complete key name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A companion of this key, `<kind>:{<key>}`, in the same cluster slot.
    ///
    /// Escaped names contain no braces, so a cluster hashes the whole key in both names. A key with a hash tag keeps
    /// it: its companion is `<kind>:<key>`.
    #[must_use]
    pub fn sibling(&self, kind: &str) -> Self {
        if self.0.contains('{') { Self(format!("{kind}:{}", self.0)) } else { Self(format!("{kind}:{{{}}}", self.0)) }
    }

    /// The key of the marks that show how far the replicas are, in the slot of the key with this complete name.
    pub(super) fn mark_of(name: &str) -> Self {
        Self(name.to_owned()).sibling("replication")
    }

    /// One of several companions of a kind, `<kind>:{<key>}:<part>`, in the same cluster slot.
    #[must_use]
    pub fn part(&self, kind: &str, part: impl fmt::Display) -> Self {
        Self(format!("{}:{part}", self.sibling(kind).0))
    }
}

impl ToRedisArgs for Key {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(self.0.as_bytes());
    }
}

impl ToSingleRedisArg for Key {}

/// A client's text, escaped so that it can neither choose a cluster slot nor break a log line.
///
/// `%`, `{`, `}`, spaces and control bytes become `%XX`; everything else stays, colons included.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a>(pub &'a str);

impl fmt::Display for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain() {
            return f.write_str(self.0);
        }
        let mut rest = self.0;
        while let Some(at) = rest.find(|c: char| matches!(c, '%' | '{' | '}' | ' ') || c.is_control()) {
            let (clean, special) = rest.split_at(at);
            f.write_str(clean)?;
            let mut characters = special.chars();
            if let Some(character) = characters.next() {
                let mut bytes = [0; 4];
                for byte in character.encode_utf8(&mut bytes).bytes() {
                    write!(f, "%{byte:02X}")?;
                }
            }
            rest = characters.as_str();
        }
        f.write_str(rest)
    }
}

/// Reverses [`Segment`]. Text that contains no escapes is returned unchanged.
pub fn unescape(escaped: &str) -> String {
    percent_encoding::percent_decode_str(escaped).decode_utf8_lossy().into_owned()
}

impl Segment<'_> {
    /// Whether the text certainly has nothing to escape.
    fn is_plain(self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'{' | b'}'))
    }

    /// The escaped text.
    pub fn escaped(self) -> String {
        let mut out = String::with_capacity(self.0.len());
        // Writing to a String cannot fail.
        let _ = write!(out, "{self}");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_text_cannot_steer_a_slot() {
        assert_eq!(Segment("a{b}c %\n").escaped(), "a%7Bb%7Dc%20%25%0A");
        assert_eq!(Segment("user:profile:é").escaped(), "user:profile:é");
        for text in ["", "plain", "a{b}c %\n", "100%", "é\u{85}"] {
            assert_eq!(unescape(&Segment(text).escaped()), text);
        }
    }

    #[test]
    fn siblings_carry_the_whole_key_as_their_hash_tag() {
        let key = KeySpace::new("test:").key(Segment("a:b"));
        assert_eq!(key.as_str(), "test:a:b");
        assert_eq!(key.sibling("cache:lease").as_str(), "cache:lease:{test:a:b}");
    }

    #[test]
    fn siblings_of_a_key_with_a_hash_tag_keep_it() {
        let key = KeySpace::new("test:").key("limit:{user-7}:orders");
        assert_eq!(key.sibling("holds").as_str(), "holds:test:limit:{user-7}:orders");
    }
}
