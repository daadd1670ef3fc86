//! Integers as JSON Schema defines them: `5.0` is the integer 5, and some encoders write it that way.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde_json::value::RawValue;

use super::extract::json_message;

/// Reads an unsigned integer, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// If it has a fraction, is negative, or does not fit.
pub fn unsigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    narrow(deserializer.deserialize_u64(Whole)?)
}

/// Reads an optional unsigned integer: the field may be absent (with `default`) or null.
///
/// # Errors
/// If it has a fraction, is negative, or does not fit.
pub fn unsigned_if_given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Given(#[serde(deserialize_with = "unsigned")] u64);

    Ok(Option::<Given>::deserialize(deserializer)?.map(|Given(number)| number))
}

fn narrow<E: de::Error>(number: i128) -> Result<u64, E> {
    u64::try_from(number).map_err(|_| E::custom(format!("{number} is out of range: 0 to {}", u64::MAX)))
}

/// Reads a signed integer, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// If it has a fraction or does not fit.
pub fn signed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = deserializer.deserialize_i64(Whole)?;
    i64::try_from(number)
        .map_err(|_| de::Error::custom(format!("{number} is out of range: {} to {}", i64::MIN, i64::MAX)))
}

/// For fields of a tagged enum: serde reads these from a buffer, which yields a float only to `deserialize_any`.
pub mod buffered {
    use super::{Deserialize, Deserializer, Whole, narrow};

    /// # Errors
    /// If it has a fraction, is negative, or does not fit.
    pub fn unsigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        narrow(deserializer.deserialize_any(Whole)?)
    }

    /// # Errors
    /// If it has a fraction, is negative, or does not fit.
    pub fn unsigned_if_given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        #[derive(Deserialize)]
        struct Given(#[serde(deserialize_with = "unsigned")] u64);

        Ok(Option::<Given>::deserialize(deserializer)?.map(|Given(number)| number))
    }
}

/// Reads a number of JSON text, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// If it is an integer that a float does not represent exactly, since storing it would round it.
pub fn float<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    // The parser reads an integer beyond 64 bits as a float: only its text tells.
    let text = <&RawValue>::deserialize(deserializer)?.get();
    let number = serde_json::from_str(text).map_err(|error| de::Error::custom(json_message(&error)))?;
    if is_rounded(text, number) {
        return Err(de::Error::custom(format!("{text} would be rounded: integers are exact up to 2^53")));
    }
    Ok(number)
}

/// Like [`float`]: the field may be absent (with `default`) or null.
///
/// # Errors
/// Those of [`float`].
pub fn float_if_given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<Float>::deserialize(deserializer)?.map(|Float(number)| number))
}

/// A number that [`float`] reads, for lists.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Float(#[serde(deserialize_with = "float")] pub f64);

/// Whether `number`, which was read from `text`, is not the integer that the text names.
pub fn is_rounded(text: &str, number: f64) -> bool {
    let digits = text.trim_start_matches(['+', '-']).trim_start_matches('0');
    number.abs() >= EXACT
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits != format!("{:.0}", number.abs())
}

/// The float that represents an integer exactly, if there is one.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the round trip detects any loss")]
pub fn exact_float(integer: i128) -> Option<f64> {
    let value = integer as f64;
    (value as i128 == integer).then_some(value)
}

struct Whole;

/// 2^53. A float from here on may stand for several integers: `9007199254740993.0` is read as 2^53.
pub const EXACT: f64 = 9_007_199_254_740_992.0;

impl Visitor<'_> for Whole {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<i128, E> {
        Ok(number.into())
    }

    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<i128, E> {
        // Otherwise the text may have named an integer other than the nearest float, and only the float is left.
        if number.fract() == 0.0 && number.abs() < EXACT {
            return Ok(number as i128);
        }
        Err(E::invalid_type(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<u64>, Option<i64>) {
        let json = || serde_json::Deserializer::from_str(text);
        (unsigned(&mut json()).ok(), signed(&mut json()).ok())
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        assert_eq!(read("5"), (Some(5), Some(5)));
        assert_eq!(read("5.0"), (Some(5), Some(5)));
        assert_eq!(read("1e3"), (Some(1_000), Some(1_000)));
        assert_eq!(read("-9007199254740991.0"), (None, Some(-9_007_199_254_740_991)));
        assert_eq!(read("-5"), (None, Some(-5)));
        assert_eq!(read("18446744073709551615"), (Some(u64::MAX), None));
    }

    #[test]
    fn a_tagged_enum_reads_its_numbers_alike() {
        #[derive(Debug, Deserialize, PartialEq)]
        #[serde(tag = "kind")]
        enum Tagged {
            A {
                #[serde(deserialize_with = "buffered::unsigned")]
                one: u64,
                #[serde(default, deserialize_with = "buffered::unsigned_if_given")]
                two: Option<u64>,
            },
        }
        let read = |text: &str| serde_json::from_str::<Tagged>(text).ok();
        assert_eq!(read(r#"{"kind":"A","one":5.0,"two":6.0}"#), Some(Tagged::A { one: 5, two: Some(6) }));
        assert_eq!(read(r#"{"kind":"A","one":5,"two":null}"#), Some(Tagged::A { one: 5, two: None }));
        for text in [r#"{"kind":"A","one":5.5}"#, r#"{"kind":"A","one":"5"}"#, r#"{"kind":"A","one":-1}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn no_integer_is_rounded_to_a_float() {
        for (text, number) in [
            ("1.5", 1.5),
            ("-9007199254740992", -9_007_199_254_740_992.0),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            ("99999999999999991611392", 1e23),
            ("1e300", 1e300),
            ("9007199254740993.0", 9_007_199_254_740_992.0),
        ] {
            assert_eq!(serde_json::from_str::<Float>(text).expect(text).0.to_bits(), f64::to_bits(number));
        }
        for text in [
            "9007199254740993",
            "-9007199254740993",
            "18446744073709551617",
            "-9223372036854775809",
            "1000000000000000000000001",
        ] {
            let refused = serde_json::from_str::<Float>(text).expect_err(text).to_string();
            assert!(refused.contains(text) && refused.contains("would be rounded"), "{refused}");
        }
        let refused = serde_json::from_str::<Float>("\"1\"").expect_err("text").to_string();
        assert!(refused.contains("expected a number"), "{refused}");
    }

    #[test]
    fn what_is_not_whole_or_has_no_room_is_refused() {
        assert_eq!(read("-9223372036854775808"), (None, Some(i64::MIN)));
        for text in [
            "5.5",
            "1e300",
            "9007199254740992.0",
            "9007199254740993.0",
            "9007199254740994.0",
            "-9223372036854775809",
            "18446744073709551616",
            "\"5\"",
            "null",
            "true",
            "[5]",
        ] {
            assert_eq!(read(text), (None, None), "{text}");
        }
    }
}
