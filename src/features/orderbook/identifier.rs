//! Names that clients choose: ids of orders and trades, and owners.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::tape::Symbol;

/// The longest identifier and the longest owner, bytes.
const MAX_IDENTIFIER: usize = 64;
const MAX_OWNER: usize = 128;

/// A name of 1 to 64 letters, digits, `.`, `_`, `:` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(as = BookIdentifier, value_type = String, min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9._:\-]+$",
         example = "order-1")]
pub(super) struct Identifier(String);

impl Identifier {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of an order that its owner names, a version 8 UUID (RFC 9562, section 5.8).
    pub(super) fn of_client_order(symbol: &Symbol, owner: &Owner, client_order_id: &Self) -> Self {
        let mut hash = Sha256::new();
        for part in [symbol.as_str(), owner.as_str(), client_order_id.as_str()] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        let mut bits = digest.iter().take(16).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        bits = bits & !(0xF << 76) | 8 << 76;
        bits = bits & !(0b11 << 62) | 0b10 << 62;
        let digits = format!("{bits:032x}");
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits.get(range).unwrap_or_default());
        Self(parts.join("-"))
    }
}

impl TryFrom<String> for Identifier {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        if (1..=MAX_IDENTIFIER).contains(&text.len()) && text.bytes().all(is_plain) {
            return Ok(Self(text));
        }
        Err(format!("must have 1 to {MAX_IDENTIFIER} letters, digits, `.`, `_`, `:` and `-`"))
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose order it is, such as a user's id: 1 to 128 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BookOwner, value_type = String, min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$",
         example = "user-7")]
pub(super) struct Owner(String);

impl Owner {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if (1..=MAX_OWNER).contains(&text.len()) && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("must have 1 to {MAX_OWNER} bytes without control characters"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_client_order_is_a_uuid_of_its_owner() {
        let symbol = Symbol::try_from("GRID".to_owned()).expect("a symbol");
        let id = |owner: &str, order: &str| {
            let owner = Owner::parse(owner).expect("an owner");
            let order = Identifier::try_from(order.to_owned()).expect("an id");
            Identifier::of_client_order(&symbol, &owner, &order).to_string()
        };
        assert_eq!(id("ann", "1"), id("ann", "1"));
        assert_ne!(id("ann", "1"), id("ann1", "1"));
        assert_ne!(id("ann", "11"), id("ann1", "1"));
        let text = id("ann", "1");
        assert_eq!((text.len(), &text[14..15]), (36, "8"));
        assert!("89ab".contains(&text[19..20]), "{text}");
    }

    #[test]
    fn an_identifier_has_plain_characters() {
        for good in ["a", "a:b.c_d", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", &"x".repeat(64)] {
            assert!(Identifier::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "{a}", "ä", &"x".repeat(65)] {
            assert!(Identifier::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
