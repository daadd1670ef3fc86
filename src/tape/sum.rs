//! Exact sums of quantities, and of products of prices and quantities.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::amount::Decimal;

/// A decimal number with up to 36 decimals: a sum of up to 10^14 products, without rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sum {
    /// The largest whole number that is not above the sum.
    whole: i128,
    /// What is added to `whole`, in units of 10^-36: from 0 to below 10^36.
    fraction: i128,
}

/// The units of a [`Decimal`] in 1.
const ONE: i128 = 10_i128.pow(Decimal::SCALE as u32);
/// The units of `fraction` in 1, and their decimals.
const FRACTION: i128 = ONE * ONE;
const DECIMALS: usize = 36;

impl Sum {
    fn of_parts(whole: i128, fraction: i128) -> Self {
        Self { whole: whole + fraction.div_euclid(FRACTION), fraction: fraction.rem_euclid(FRACTION) }
    }

    /// `price * quantity`. The factors are below 10^12, so that no part overflows.
    pub fn product(price: Decimal, quantity: Decimal) -> Self {
        let [price, quantity] = [price.units(), quantity.units()];
        let (price, price_part) = (price.div_euclid(ONE), price.rem_euclid(ONE));
        let (quantity, quantity_part) = (quantity.div_euclid(ONE), quantity.rem_euclid(ONE));
        let mixed = price * quantity_part + price_part * quantity;
        let whole = price * quantity + mixed.div_euclid(ONE);
        Self::of_parts(whole, mixed.rem_euclid(ONE) * ONE + price_part * quantity_part)
    }

    /// `self / divisor`, rounded towards zero to 18 decimals; `None` if the divisor is not positive or beyond 10^19.
    ///
    /// Long division, digit by digit.
    pub fn divided_by(self, divisor: Self) -> Option<Decimal> {
        let limit = u128::MAX / 20;
        let divisor = u128::try_from(divisor.whole.checked_mul(ONE)? + divisor.fraction / ONE).ok()?;
        if divisor == 0 || divisor > limit {
            return None;
        }
        let text = self.to_string();
        let (negative, text) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat(b'0'));
        let (mut quotient, mut rest) = (0_i128, 0_u128);
        for digit in digits.take(whole.len() + DECIMALS) {
            rest = rest * 10 + u128::from(digit - b'0');
            quotient = quotient.checked_mul(10)?.checked_add(i128::try_from(rest / divisor).ok()?)?;
            rest %= divisor;
        }
        Some(Decimal::of_units(if negative { -quotient } else { quotient }))
    }
}

impl From<Decimal> for Sum {
    fn from(decimal: Decimal) -> Self {
        let units = decimal.units();
        Self { whole: units.div_euclid(ONE), fraction: units.rem_euclid(ONE) * ONE }
    }
}

impl Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::of_parts(self.whole + other.whole, self.fraction + other.fraction)
    }
}

impl Sub for Sum {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::of_parts(self.whole - other.whole, self.fraction - other.fraction)
    }
}

/// With as few decimals as the number needs, without an exponent.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, whole, fraction) = match (self.whole, self.fraction) {
            (..0, 0) => ("-", -self.whole, 0),
            (..0, fraction) => ("-", -self.whole - 1, FRACTION - fraction),
            (whole, fraction) => ("", whole, fraction),
        };
        let text = format!("{sign}{whole}.{fraction:0DECIMALS$}");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads what [`Display`](fmt::Display) writes.
impl FromStr for Sum {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() > DECIMALS || fraction.len() > DECIMALS || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(());
        }
        let whole: i128 = whole.parse().map_err(|_| ())?;
        let fraction: i128 = format!("{fraction:0<DECIMALS$}").parse().map_err(|_| ())?;
        Ok(if negative { Self::of_parts(-whole, -fraction) } else { Self::of_parts(whole, fraction) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().expect(text)
    }

    #[test]
    fn products_are_exact() {
        for (price, quantity, product) in [
            ("3.41", "2", "6.82"),
            ("-3.41", "2", "-6.82"),
            ("-0.5", "0.5", "-0.25"),
            ("0", "5", "0"),
            ("0.000000000000000001", "0.000000000000000001", "0.000000000000000000000000000000000001"),
            (
                "999999999999.999999999999999999",
                "999999999999.999999999999999999",
                "999999999999999999999999.999998000000000000000000000000000001",
            ),
            ("-0.000000000000000001", "0.000000000000000003", "-0.000000000000000000000000000000000003"),
        ] {
            let sum = Sum::product(decimal(price), decimal(quantity));
            assert_eq!(sum.to_string(), product);
            assert_eq!(product.parse(), Ok(sum));
        }
    }

    #[test]
    fn sums_are_exact() {
        let cent = Sum::from(decimal("0.01"));
        let sum = (0..1_000).fold(Sum::default(), |sum, _| sum + cent);
        assert_eq!(sum.to_string(), "10");
        assert_eq!((Sum::from(decimal("-0.3")) + Sum::from(decimal("0.1"))).to_string(), "-0.2");
        let large = Sum::from(decimal("999999999999"));
        assert_eq!((large + large).to_string().parse(), Ok(large + large));
    }

    #[test]
    fn an_average_has_18_decimals() {
        for (sum, divisor, average) in [
            ("10", "4", "2.5"),
            ("1", "3", "0.333333333333333333"),
            ("-2", "3", "-0.666666666666666666"),
            ("0.0001", "1000", "0.0000001"),
        ] {
            let [sum, divisor] = [sum, divisor].map(|text| text.parse::<Sum>().expect(text));
            assert_eq!(sum.divided_by(divisor), Some(decimal(average)));
        }
        assert_eq!(Sum::default().divided_by(Sum::default()), None);
    }
}
