//! The rules of a book: its kind, and how its prices and quantities are written and bounded.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::BookError;
use crate::decimal::{self, DecimalError, MAX_DIGITS};

/// The largest number of ticks: 2^53 - 1, up to which the score of a sorted set is exact.
const MAX_TICKS: i64 = (1 << 53) - 1;
const MAX_PRICE_DECIMALS: u8 = 15;
const MAX_QUANTITY_DECIMALS: u8 = 18;

/// How a book matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BookMode)]
pub(super) enum Mode {
    /// It stores resting orders. A matching engine reads them and reports its fills.
    Store,
}

/// What a book consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BookKind)]
pub(super) enum Kind {
    Orders,
    /// Only the totals of prices, replaced by snapshots.
    Levels,
}

/// The side of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BookSide)]
pub(super) enum Side {
    Buy,
    Sell,
}

impl Side {
    /// The letter of the side in Redis.
    pub(super) const fn letter(self) -> &'static str {
        match self {
            Self::Buy => "b",
            Self::Sell => "s",
        }
    }

    pub(super) fn of_letter(letter: &str) -> Option<Self> {
        match letter {
            "b" => Some(Self::Buy),
            "s" => Some(Self::Sell),
            _ => None,
        }
    }
}

/// The settings of a book as clients write them. Decimal numbers are strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BookSettings, example = json!({ "mode": "store", "kind": "orders", "price_decimals": 2, "quantity_decimals": 3 }))]
pub(super) struct BookSettings {
    pub mode: Mode,
    pub kind: Kind,
    /// The decimals of prices, 0 to 15.
    #[serde(default = "nine")]
    #[schema(required = false, minimum = 0, maximum = 15, default = 9)]
    pub price_decimals: u8,
    /// The decimals of quantities, 0 to 18.
    #[serde(default = "nine")]
    #[schema(required = false, minimum = 0, maximum = 18, default = 9)]
    pub quantity_decimals: u8,
    /// Prices are multiples of it; the smallest price with the decimals of the book if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick_size: Option<String>,
    /// Quantities are multiples of it; the smallest quantity with the decimals of the book if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lot_size: Option<String>,
    /// The lowest price; one tick if absent. It may be negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_price: Option<String>,
    /// The highest price; 2^53 - 1 ticks if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price: Option<String>,
}

const fn nine() -> u8 {
    9
}

/// The rules of a book, ready to read and print its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub kind: Kind,
    pub price_decimals: u8,
    pub quantity_decimals: u8,
    /// In units of the last decimal of a price.
    tick: i128,
    /// In units of the last decimal of a quantity.
    lot: i128,
    /// The lowest and the highest price, ticks.
    min: i64,
    max: i64,
    /// The text that Redis keeps: mode, kind, decimals, tick, lot, lowest and highest ticks.
    text: String,
}

impl Rules {
    /// # Errors
    /// [`BookError::Invalid`], naming the field.
    pub(super) fn new(settings: &BookSettings) -> Result<Self, BookError> {
        let BookSettings { kind, price_decimals, quantity_decimals, .. } = *settings;
        for (field, decimals, most) in [
            ("/price_decimals", price_decimals, MAX_PRICE_DECIMALS),
            ("/quantity_decimals", quantity_decimals, MAX_QUANTITY_DECIMALS),
        ] {
            if decimals > most {
                return Err(BookError::invalid(field, format!("must be between 0 and {most}, got {decimals}")));
            }
        }
        let size = |field, text: Option<&String>, decimals| match text.map(|text| decimal::parse(text, decimals)) {
            None => Ok(1),
            Some(Ok(units)) if units > 0 => Ok(units),
            Some(_) => {
                Err(BookError::invalid(field, format!("must be a positive number with at most {decimals} decimals")))
            }
        };
        let tick = size("/tick_size", settings.tick_size.as_ref(), price_decimals)?;
        let lot = size("/lot_size", settings.lot_size.as_ref(), quantity_decimals)?;
        let limit = |field, text: Option<&String>, default| match text.map(|text| decimal::parse(text, price_decimals))
        {
            None => Ok(default),
            Some(Ok(units)) if units % tick == 0 && in_ticks(units, tick).is_some() => {
                Ok(in_ticks(units, tick).unwrap_or(default))
            }
            Some(_) => {
                let rule = format!("must be a multiple of tick_size and at most {MAX_TICKS} of them");
                Err(BookError::invalid(field, rule))
            }
        };
        let min = limit("/min_price", settings.min_price.as_ref(), 1)?;
        let max = limit("/max_price", settings.max_price.as_ref(), MAX_TICKS)?;
        if min > max {
            return Err(BookError::invalid("/max_price", "must not be below min_price"));
        }
        let kind_text = match kind {
            Kind::Orders => "orders",
            Kind::Levels => "levels",
        };
        let text = format!("store {kind_text} {price_decimals} {quantity_decimals} {tick} {lot} {min} {max}");
        Ok(Self { kind, price_decimals, quantity_decimals, tick, lot, min, max, text })
    }

    /// Reads what [`Rules::text`] returned; `None` if a later version wrote it.
    pub(super) fn stored(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let kind = match (words.next()?, words.next()?) {
            ("store", "orders") => Kind::Orders,
            ("store", "levels") => Kind::Levels,
            _ => return None,
        };
        let mut number = || words.next()?.parse::<i128>().ok();
        Some(Self {
            kind,
            price_decimals: u8::try_from(number()?).ok()?,
            quantity_decimals: u8::try_from(number()?).ok()?,
            tick: number()?,
            lot: number()?,
            min: i64::try_from(number()?).ok()?,
            max: i64::try_from(number()?).ok()?,
            text: text.to_owned(),
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn settings(&self) -> BookSettings {
        BookSettings {
            mode: Mode::Store,
            kind: self.kind,
            price_decimals: self.price_decimals,
            quantity_decimals: self.quantity_decimals,
            tick_size: Some(decimal::print(self.tick, self.price_decimals)),
            lot_size: Some(decimal::print(self.lot, self.quantity_decimals)),
            min_price: Some(self.print_price(self.min)),
            max_price: Some(self.print_price(self.max)),
        }
    }

    /// The price at `pointer` of a request, in ticks.
    ///
    /// # Errors
    /// `invalid-body`, `off-tick` or `price-out-of-band`, naming the field.
    pub(super) fn price(&self, pointer: &str, text: &str) -> Result<i64, BookError> {
        let off_tick = || {
            let tick = decimal::print(self.tick, self.price_decimals);
            BookError::OffTick {
                pointer: pointer.to_owned(),
                rule: format!("must be a multiple of {tick}, got {text}"),
            }
        };
        let out_of_band = || {
            let (min, max) = (self.print_price(self.min), self.print_price(self.max));
            let rule = format!("must be between {min} and {max}, got {text}");
            BookError::OutOfBand { pointer: pointer.to_owned(), rule }
        };
        let units = match decimal::parse(text, self.price_decimals) {
            Ok(units) if units % self.tick != 0 => return Err(off_tick()),
            Ok(units) => units,
            Err(DecimalError::TooPrecise) => return Err(off_tick()),
            Err(DecimalError::TooLarge) => return Err(out_of_band()),
            Err(DecimalError::Malformed) => return Err(BookError::invalid(pointer, malformed(text))),
        };
        in_ticks(units, self.tick).filter(|ticks| (self.min..=self.max).contains(ticks)).ok_or_else(out_of_band)
    }

    /// The quantity at `pointer` of a request, in units of the last decimal; positive.
    ///
    /// # Errors
    /// `invalid-body`, `off-lot` or `quantity-out-of-range`, naming the field.
    pub(super) fn quantity(&self, pointer: &str, text: &str) -> Result<i128, BookError> {
        let off_lot = || {
            let lot = decimal::print(self.lot, self.quantity_decimals);
            BookError::OffLot { pointer: pointer.to_owned(), rule: format!("must be a multiple of {lot}, got {text}") }
        };
        let out_of_range = || {
            let most = MAX_DIGITS - usize::from(self.quantity_decimals);
            let rule = format!("must be above 0 and have at most {most} digits before the point, got {text}");
            BookError::OutOfRange { pointer: pointer.to_owned(), rule }
        };
        match decimal::parse(text, self.quantity_decimals) {
            Ok(units) if units <= 0 => Err(out_of_range()),
            Ok(units) if units % self.lot != 0 => Err(off_lot()),
            Ok(units) => Ok(units),
            Err(DecimalError::TooPrecise) => Err(off_lot()),
            Err(DecimalError::TooLarge) => Err(out_of_range()),
            Err(DecimalError::Malformed) => Err(BookError::invalid(pointer, malformed(text))),
        }
    }

    pub(super) fn print_price(&self, ticks: i64) -> String {
        decimal::print(i128::from(ticks) * self.tick, self.price_decimals)
    }

    pub(super) fn print_quantity(&self, units: i128) -> String {
        decimal::print(units, self.quantity_decimals)
    }

    /// A difference of prices.
    pub(super) fn print_spread(&self, bid: i64, ask: i64) -> String {
        decimal::print((i128::from(ask) - i128::from(bid)) * self.tick, self.price_decimals)
    }
}

fn in_ticks(units: i128, tick: i128) -> Option<i64> {
    i64::try_from(units / tick).ok().filter(|ticks| ticks.abs() <= MAX_TICKS)
}

fn malformed(text: &str) -> String {
    format!(
        "must be a decimal number such as \"12.50\", without an exponent, a plus sign or leading zeros, got `{text}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(overrides: &str) -> Result<Rules, BookError> {
        let text = format!("{{\"mode\":\"store\",\"kind\":\"orders\"{overrides}}}");
        Rules::new(&serde_json::from_str(&text).expect("settings"))
    }

    #[test]
    fn rules_survive_redis() {
        for overrides in ["", r#","price_decimals":2,"tick_size":"0.05","min_price":"-10","lot_size":"0.001""#] {
            let rules = rules(overrides).expect(overrides);
            assert_eq!(Rules::stored(rules.text()).as_ref(), Some(&rules));
            assert_eq!(Rules::new(&rules.settings()).ok().as_ref(), Some(&rules), "{overrides}");
        }
        assert_eq!(Rules::stored("auction orders 9 9 1 1 1 10"), None);
    }

    #[test]
    fn prices_and_quantities_are_exact() {
        let rules = rules(r#","price_decimals":2,"tick_size":"0.05","quantity_decimals":18"#).expect("rules");
        for (text, printed) in [("17.75", "17.75"), ("1.1", "1.10"), ("3", "3.00"), ("1.100", "1.10")] {
            assert_eq!(
                rules.price("/price", text).map(|ticks| rules.print_price(ticks)).ok().as_deref(),
                Some(printed)
            );
        }
        for text in ["0.000000000000000001", "999999999999.000000000000000000"] {
            let units = rules.quantity("/quantity", text).expect(text);
            assert_eq!(rules.print_quantity(units), text);
        }
        let refused = |text: &str| format!("{:?}", rules.price("/price", text).expect_err(text));
        for (text, kind) in [("1.01", "OffTick"), ("0", "OutOfBand"), ("-1", "OutOfBand"), ("1e3", "Invalid")] {
            assert!(refused(text).starts_with(kind), "{text}: {}", refused(text));
        }
        for text in ["0", "-1", "1000000000000"] {
            assert!(matches!(rules.quantity("/quantity", text), Err(BookError::OutOfRange { .. })), "{text}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        for overrides in [
            r#","price_decimals":16"#,
            r#","quantity_decimals":19"#,
            r#","tick_size":"0""#,
            r#","tick_size":"1e-2""#,
            r#","lot_size":"-1""#,
            r#","min_price":"5","max_price":"4""#,
            r#","tick_size":"2","max_price":"3""#,
        ] {
            assert!(matches!(rules(overrides), Err(BookError::Invalid { .. })), "{overrides}");
        }
    }
}
