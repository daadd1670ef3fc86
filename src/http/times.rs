//! Times and durations in queries.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::clock::{MAX_TIMESTAMP, UnixMillis};
use crate::config::value::Span;

/// A point in time: Unix milliseconds, RFC 3339, `now`, or relative to now (`-24h`).
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
                "`{text}` is not a valid time: write Unix milliseconds, RFC 3339, `now`, or a relative time such as `-24h`"
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
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        Ok(Self::At(time.as_millisecond()))
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

/// The four forms in the API document.
impl PartialSchema for QueryTime {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let millis = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(MAX_TIMESTAMP));
        let relative = text().pattern(Some("^(now|-[0-9]{1,9}(ms|s|m|h|d|w))$"));
        let absolute = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        OneOfBuilder::new()
            .item(millis.description(Some("Unix milliseconds")))
            .item(relative.description(Some("Now, or so long ago")))
            .item(absolute.description(Some("RFC 3339")))
            .into()
    }
}

impl ToSchema for QueryTime {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_four_forms() {
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
            ("1066-10-14T09:00:00Z", 0),
        ] {
            assert_eq!(text.parse::<QueryTime>().map(|time| time.resolve(NOW)), Ok(ms), "{text}");
        }
        for bad in ["", "-", "-5", "24h", "9007199254740992", "1.5", "2026-01-01", "2026-13-01T00:00:00Z", "yesterday"]
        {
            assert!(bad.parse::<QueryTime>().is_err(), "{bad}");
        }
    }
}
