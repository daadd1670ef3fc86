//! Names of traded instruments, and ids that other systems choose.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The symbol of what is traded, such as `GRID` or `zone-7:interval`: 1 to 64 letters, digits, `.`, `_`, `:` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Symbol(String);

const MAX: usize = 64;

impl Symbol {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Symbol {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_permitted = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if text.is_empty() || text.len() > MAX || !text.bytes().all(is_permitted) {
            return Err(format!("must be 1 to {MAX} letters, digits, `.`, `_`, `:` or `-`"));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialSchema for Symbol {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The symbol of what is traded"))
            .pattern(Some("^[A-Za-z0-9._:-]{1,64}$"))
            .examples([serde_json::json!("GRID")])
            .into()
    }
}

impl ToSchema for Symbol {
    fn name() -> Cow<'static, str> {
        "MarketSymbol".into()
    }
}

/// The id of a trade, an order or a party, which another system has chosen: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Reference(String);

const MAX_REFERENCE: usize = 128;

impl Reference {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Reference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_REFERENCE || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("must be 1 to {MAX_REFERENCE} visible ASCII characters"));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialSchema for Reference {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The id of a trade, an order or a party"))
            .pattern(Some("^[!-~]{1,128}$"))
            .into()
    }
}

impl ToSchema for Reference {
    fn name() -> Cow<'static, str> {
        "MarketReference".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_has_few_characters() {
        for good in ["GRID", "zone-7:interval", "a.b_c", &"x".repeat(64)] {
            assert!(Symbol::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "{a}", "ก", &"x".repeat(65)] {
            assert!(Symbol::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reference_is_visible_text() {
        for good in ["t-1", "{a}/b", &"x".repeat(128)] {
            assert!(Reference::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a b", "\n", "ก", &"x".repeat(129)] {
            assert!(Reference::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
