//! Names of traded instruments.

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
}
