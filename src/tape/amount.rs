//! Prices, quantities and sums of them, without rounding.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::decimal::{self, DecimalError};

/// An exact decimal number with up to 18 decimals, whatever their number in its text: `1.1` and `1.10` are equal.
///
/// It is printed with as few decimals as it needs, never with an exponent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i128);

impl Decimal {
    /// The number of decimals.
    pub const SCALE: u8 = 18;

    /// A whole number of 10^-18.
    pub const fn of_units(units: i128) -> Self {
        Self(units)
    }

    /// The number in units of 10^-18.
    pub const fn units(self) -> i128 {
        self.0
    }
}

impl FromStr for Decimal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        decimal::parse(text, Self::SCALE).map(Self).map_err(|error| {
            let shown: String = text.chars().take(64).collect();
            match error {
                DecimalError::Malformed => format!("must be a decimal such as 12.50, got `{shown}`"),
                DecimalError::TooPrecise => format!("must have at most 18 decimals, got `{shown}`"),
                DecimalError::TooLarge => format!("must be below 1000000000000, got `{shown}`"),
            }
        })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = decimal::print(self.0, Self::SCALE);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("An exact decimal number as text, without an exponent"))
            .pattern(Some("^-?(0|[1-9][0-9]*)([.][0-9]+)?$"))
            .max_length(Some(64))
            .examples([serde_json::json!("3.41")])
            .into()
    }
}

impl ToSchema for Decimal {
    fn name() -> Cow<'static, str> {
        "MarketDecimal".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().expect(text)
    }

    #[test]
    fn a_number_has_one_spelling() {
        for (text, printed) in [
            ("17.77", "17.77"),
            ("1.10", "1.1"),
            ("100", "100"),
            ("0.000000000000000001", "0.000000000000000001"),
            ("999999999999", "999999999999"),
            ("-0.5", "-0.5"),
            ("0.00", "0"),
        ] {
            assert_eq!(decimal(text).to_string(), printed);
        }
        assert_eq!(decimal("1.1"), decimal("1.10"));
        for bad in ["1e3", "01.1", "-0", "+1", "0.0000000000000000001", "1000000000000"] {
            assert!(bad.parse::<Decimal>().is_err(), "{bad}");
        }
    }
}
