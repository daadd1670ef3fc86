//! Times and durations in queries.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::clock::{MAX_TIMESTAMP, UnixMillis};
use crate::config::value::Span;
use crate::http::integer;

/// A point in time: Unix milliseconds, RFC 3339, a date (its midnight in UTC), `now`, or relative to now (`-24h`).
///
/// Times before 1970 and after 2^53 - 1 ms become the first and the last possible timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryTime {
    At(UnixMillis),
    Ago(u64),
}

impl QueryTime {
    pub fn resolve(self, now: UnixMillis) -> UnixMillis {
        match self {
            Self::At(ms) => ms.clamp(0, MAX_TIMESTAMP),
            Self::Ago(ms) => now.saturating_sub_unsigned(ms).clamp(0, MAX_TIMESTAMP),
        }
    }
}

impl FromStr for QueryTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a valid time: write Unix milliseconds, RFC 3339, a date, `now`, or a relative time such as `-24h`"
            )
        };
        if text == "now" {
            return Ok(Self::Ago(0));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let ms: i64 = text.parse().map_err(|_| wrong())?;
            return if ms <= MAX_TIMESTAMP { Ok(Self::At(ms)) } else { Err(wrong()) };
        }
        if let Some(ago) = text.strip_prefix('-') {
            let span: Span = ago.parse().map_err(|_| wrong())?;
            return Ok(Self::Ago(span.as_millis()));
        }
        let midnight = || rfc3339(&format!("{}T00:00:00Z", text.parse::<jiff::civil::Date>().ok()?));
        rfc3339(text).or_else(midnight).map(Self::At).ok_or_else(wrong)
    }
}

/// Text, or in a body also a number.
impl<'de> Deserialize<'de> for QueryTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_integer(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Reads the text of a parameter that a body may also give as an integer.
///
/// # Errors
/// If it is neither text nor an integer.
pub fn text_or_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(TextOrInteger)
}

struct TextOrInteger;

impl Visitor<'_> for TextOrInteger {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an integer")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

/// Reads Unix milliseconds, as an integer or as RFC 3339 text, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// If it is neither, or the integer does not fit.
pub fn millis_or_rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMillis, D::Error> {
    deserializer.deserialize_any(MillisOrRfc3339)
}

/// Reads an optional [`millis_or_rfc3339`]: the field may be absent (with `default`) or null.
///
/// # Errors
/// If it is something else, or the integer does not fit.
pub fn millis_or_rfc3339_if_given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMillis>, D::Error> {
    #[derive(Deserialize)]
    struct Given(#[serde(deserialize_with = "millis_or_rfc3339")] UnixMillis);

    Ok(Option::<Given>::deserialize(deserializer)?.map(|Given(ms)| ms))
}

struct MillisOrRfc3339;

impl Visitor<'_> for MillisOrRfc3339 {
    type Value = UnixMillis;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unix milliseconds as a whole number, or RFC 3339")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<UnixMillis, E> {
        rfc3339(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<UnixMillis, E> {
        Ok(number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<UnixMillis, E> {
        integer::signed(number.into_deserializer())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<UnixMillis, E> {
        integer::signed(number.into_deserializer())
    }
}

/// The Unix milliseconds of a time in RFC 3339.
pub fn rfc3339(text: &str) -> Option<UnixMillis> {
    text.parse().ok().map(jiff::Timestamp::as_millisecond)
}

/// Text in the API document, because generated clients have no common form for a choice between types.
impl PartialSchema for QueryTime {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .title(Some("QueryTime"))
            .pattern(Some(QUERY_TIME))
            .description(Some(
                "A time: Unix milliseconds, RFC 3339, a date (its midnight in UTC), `now`, or a time before now such as \
                 `-24h`.",
            ))
            .into()
    }
}

/// The forms of [`QueryTime`]. Some texts that match are refused, such as February 30.
const QUERY_TIME: &str = "^(now|[0-9]{1,15}|-[0-9]{1,9}(ms|s|m|h|d|w)|[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\
                          (T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?)$";

impl ToSchema for QueryTime {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_five_forms() {
        const NOW: i64 = 1_767_225_600_000;
        for (text, ms) in [
            ("0", 0),
            ("9007199254740991", MAX_TIMESTAMP),
            ("now", NOW),
            ("-24h", NOW - 86_400_000),
            ("-15m", NOW - 900_000),
            ("-99999999999d", 0),
            ("2026-01-01T00:00:00Z", NOW),
            ("2026-01-01T07:00:00.5+07:00", NOW + 500),
            ("2026-01-01", NOW),
            ("1066-10-14T09:00:00Z", 0),
        ] {
            assert_eq!(text.parse::<QueryTime>().map(|time| time.resolve(NOW)), Ok(ms), "{text}");
        }
        for bad in ["", "-", "-5", "24h", "9007199254740992", "1.5", "2026-02-30", "2026-13-01T00:00:00Z", "yesterday"]
        {
            assert!(bad.parse::<QueryTime>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_body_may_state_milliseconds_or_rfc_3339() {
        let read = |text: &str| millis_or_rfc3339(&mut serde_json::Deserializer::from_str(text)).ok();
        assert_eq!(read("1767225600000"), Some(1_767_225_600_000));
        assert_eq!(read("1767225600000.0"), Some(1_767_225_600_000));
        assert_eq!(read("\"2026-01-01T07:00:00+07:00\""), Some(1_767_225_600_000));
        let read_if_given = |text: &str| millis_or_rfc3339_if_given(&mut serde_json::Deserializer::from_str(text)).ok();
        assert_eq!(read_if_given("null"), Some(None));
        assert_eq!(read_if_given("\"2026-01-01T00:00:00Z\""), Some(Some(1_767_225_600_000)));
        assert_eq!(read_if_given("\"now\""), None);
        for bad in ["1.5", "18446744073709551615", "\"2026-01-01\"", "\"now\"", "\"5\"", "null", "true"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
