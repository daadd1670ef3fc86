//! The `align` parameter: where the buckets of a query start.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use super::super::series::MAX_TIMESTAMP;
use crate::clock::UnixMillis;
use crate::http::times::{QueryTime, text_or_integer};

/// A time at which a bucket starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum Align {
    /// The start of the window.
    Start,
    /// The end of the window.
    End,
    /// Unix milliseconds, of any sign.
    At(UnixMillis),
    /// RFC 3339, `now`, or a time relative to now.
    Time(QueryTime),
}

impl FromStr for Align {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            _ => match text.parse::<i64>() {
                Ok(ms) if (-MAX_TIMESTAMP..=MAX_TIMESTAMP).contains(&ms) && !text.starts_with('+') => Ok(Self::At(ms)),
                Ok(_) => Err(format!("must be between -{MAX_TIMESTAMP} and {MAX_TIMESTAMP}, got {text}")),
                Err(_) => text.parse().map(Self::Time).map_err(|error| format!("{error}, or `start` or `end`")),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Align {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_integer(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alignment_is_an_end_or_a_time() {
        for (text, align) in [
            ("start", Align::Start),
            ("end", Align::End),
            ("0", Align::At(0)),
            ("-25200000", Align::At(-25_200_000)),
            ("-24h", Align::Time(QueryTime::Ago(86_400_000))),
            ("2026-01-15T00:00:00+07:00", Align::Time(QueryTime::At(1_768_410_000_000))),
        ] {
            assert_eq!(text.parse(), Ok(align), "{text}");
        }
        for bad in ["", "begin", "1.5", "+5", "9007199254740992", "-9007199254740992", "2026-01-15"] {
            assert!(bad.parse::<Align>().is_err(), "{bad}");
        }
    }
}
