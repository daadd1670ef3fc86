//! A number as its text: parsing, comparison and conversion.

use std::cmp::Ordering;

use compact_str::{CompactString, ToCompactString};

/// A JSON number as it was written.
#[derive(Clone, Debug)]
pub(in super::super) struct Number(CompactString);

impl Number {
    /// Parses a number. `None` if `text` is not a JSON number, or is beyond the range of 64-bit floats.
    pub(in super::super) fn parse(text: &str) -> Option<Self> {
        (number_length(text.as_bytes()) == Some(text.len())).then(|| Self(text.into())).filter(Self::is_finite)
    }

    /// A number from a text that is known to follow JSON's grammar.
    pub(super) fn of_text(text: &str) -> Self {
        Self(text.into())
    }

    pub(in super::super) fn integer(number: i128) -> Self {
        Self(number.to_compact_string())
    }

    /// A float, formatted as `RedisJSON` formats it; `None` for infinities and NaN, which JSON cannot represent.
    pub(in super::super) fn float(number: f64) -> Option<Self> {
        number.is_finite().then(|| Self(format_float(number)))
    }

    pub(in super::super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_finite(&self) -> bool {
        // A short text cannot overflow: the exponent alone takes at least four bytes.
        self.0.len() < 5 || self.as_f64().is_finite()
    }

    /// The nearest float.
    pub(in super::super) fn as_f64(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// The value if the text is an integer of 64 bits, signed or unsigned. `-0` is not an integer.
    pub(in super::super) fn as_integer(&self) -> Option<i128> {
        if self.0.len() > 20 || self.0 == "-0" {
            return None;
        }
        let number: i128 = self.0.parse().ok()?;
        (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
    }
}

/// Compares two numbers exactly, whatever their length.
pub(in super::super) fn compare(one: &Number, two: &Number) -> Ordering {
    if let (Some(one), Some(two)) = (one.as_integer(), two.as_integer()) {
        return one.cmp(&two);
    }
    Decimal::of(one.as_str()).compare(&Decimal::of(two.as_str()))
}

/// A number as `0.<digits> * 10^scale`. The digits neither start nor end with a zero; the number zero has no digits.
struct Decimal {
    /// -1, 0 or 1.
    sign: i8,
    scale: i64,
    digits: Vec<u8>,
}

impl Decimal {
    fn of(text: &str) -> Self {
        let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let written: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = written.iter().take_while(|digit| **digit == b'0').count();
        let end = written.iter().rposition(|digit| *digit != b'0').map_or(leading, |last| last + 1);
        let digits = written.get(leading..end).unwrap_or_default().to_vec();
        if digits.is_empty() {
            return Self { sign: 0, scale: 0, digits };
        }
        // An exponent beyond 64 bits is negative, since infinite numbers are rejected; the number is practically zero.
        let exponent: i64 = exponent.trim_start_matches('+').parse().unwrap_or(i64::MIN / 2);
        let before_point = i64::try_from(whole.len()).unwrap_or(i64::MAX / 4);
        let scale = exponent.saturating_add(before_point) - i64::try_from(leading).unwrap_or(i64::MAX / 4);
        Self { sign, scale, digits }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let magnitude = self.scale.cmp(&other.scale).then_with(|| self.digits.cmp(&other.digits));
        self.sign.cmp(&other.sign).then(if self.sign < 0 { magnitude.reverse() } else { magnitude })
    }
}

/// The shortest text that parses to the same float, always with a point or an exponent: `4.0`, `1e20`.
fn format_float(number: f64) -> CompactString {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(number);
    match text.split_once("e+") {
        Some((digits, exponent)) => [digits, exponent].join("e").into(),
        None => text.into(),
    }
}

/// The length of the number at the start of `bytes`, by JSON's grammar (RFC 8259, section 6).
pub(in super::super) fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(sign);
    if whole == 0 || (whole > 1 && bytes.get(sign) == Some(&b'0')) {
        return None;
    }
    let mut end = sign + whole;
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent == 0 {
            return None;
        }
        end += 1 + sign + exponent;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).expect(text)
    }

    #[test]
    fn numbers_follow_the_grammar_of_json() {
        for good in ["0", "-0", "12", "-1.50", "1e3", "1E+2", "0.1e-7", "100000000000000000000", "1e-999"] {
            assert_eq!(Number::parse(good).map(|number| number.as_str().to_owned()).as_deref(), Some(good));
        }
        for bad in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "0x1", "NaN", "1 ", "1e999", "-1e309"] {
            assert!(Number::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn numbers_compare_by_value_to_the_last_digit() {
        for (one, order, two) in [
            ("3", Ordering::Equal, "3.0"),
            ("1e2", Ordering::Equal, "100.00"),
            ("-0", Ordering::Equal, "0.0"),
            ("9007199254740993", Ordering::Greater, "9007199254740992.0"),
            ("18446744073709551616", Ordering::Less, "18446744073709551617"),
            ("0.1", Ordering::Less, "0.10000000000000000001"),
            ("-2.5", Ordering::Less, "-2.25"),
            ("-1", Ordering::Less, "0.5"),
            ("0.05", Ordering::Less, "0.5"),
            ("12", Ordering::Greater, "1.2e0"),
            ("1e-400", Ordering::Greater, "0"),
        ] {
            assert_eq!(compare(&number(one), &number(two)), order, "{one} {two}");
            assert_eq!(compare(&number(two), &number(one)), order.reverse(), "{two} {one}");
        }
    }

    #[test]
    fn floats_are_formatted_as_redis_json_formats_them() {
        for (float, text) in [
            (4.0, "4.0"),
            (-0.0, "-0.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e16"),
            (1e-5, "0.00001"),
            (1e-6, "1e-6"),
            (0.1 + 0.2, "0.30000000000000004"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(Number::float(float).expect("finite").as_str(), text);
        }
        assert!(Number::float(f64::INFINITY).is_none() && Number::float(f64::NAN).is_none());
    }

    proptest! {
        #[test]
        fn floats_compare_as_floats(one in any::<f64>(), two in any::<f64>()) {
            if let (Some(left), Some(right)) = (Number::float(one), Number::float(two)) {
                prop_assert_eq!(Some(compare(&left, &right)), one.partial_cmp(&two));
                prop_assert_eq!(left.as_f64().to_bits(), one.to_bits());
            }
        }
    }
}
