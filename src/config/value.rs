//! Value types of the configuration. Every number has a unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::de::{self, Deserialize, Deserializer};

/// The longest duration of a setting: a hundred years, which clocks and timers of the operating system can represent.
const MAX_SPAN: Span = Span::from_millis(36_500 * 86_400_000);
/// The largest size of a setting, 1 TiB: no machine of this service has more memory or spool.
const MAX_SIZE: ByteSize = ByteSize(1 << 40);

/// A duration with its unit: `"500ms"`, `"30s"`, `"5m"`, `"1h"`, `"2d"`, `"52w"`.
///
/// A bare number is rejected, so that its unit is never a guess.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        // A span is parsed from u64 milliseconds, so it fits.
        self.0.as_secs() * 1_000 + self.0.subsec_millis() as u64
    }

    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        with_unit(
            text,
            &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)],
        )
        .map(Self::from_millis)
        .map_err(|units| {
            format!("`{text}` is not a duration: write a whole number and one of {units}, such as \"500ms\"")
        })
    }
}

/// Parses a whole number and its unit, and multiplies it by the factor of the unit.
///
/// # Errors
/// The names of the units.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let factor = units.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, factor)| *factor);
    let value = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    value.ok_or_else(|| units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.as_millis();
        for (factor, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
            if ms >= factor && ms.is_multiple_of(factor) {
                return write!(f, "{}{unit}", ms / factor);
            }
        }
        write!(f, "{ms}ms")
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse().map_err(de::Error::custom)? {
            span if span > MAX_SPAN => Err(de::Error::custom(format!("must be at most {MAX_SPAN}, got {text}"))),
            span => Ok(span),
        }
    }
}

/// A number of bytes with its unit: `"512B"`, `"64KiB"`, `"1MiB"`, `"2GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size as a length in memory; a size beyond the address space becomes the largest length.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        with_unit(text, &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]).map(Self).map_err(|units| {
            format!("`{text}` is not a size: write a whole number and one of {units}, such as \"1MiB\"")
        })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse().map_err(de::Error::custom)? {
            size if size > MAX_SIZE => Err(de::Error::custom(format!("must be at most 1024GiB, got {text}"))),
            size => Ok(size),
        }
    }
}

/// A zone of the IANA database. The database is the system's, or the compiled-in one if the system has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub TimeZone);

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        // The longest name in the database has about 30 characters.
        if name.len() <= 64
            && let Ok(zone) = TimeZone::get(name)
        {
            return Ok(Self(zone));
        }
        let name: String = name.chars().take(64).collect();
        Err(format!("must be a zone of the IANA database such as Asia/Bangkok, got `{name}`"))
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A value that never appears in a log: `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself; review every call.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error for a wrong type would quote the value.
        T::deserialize(deserializer).map(Self).map_err(|_| de::Error::custom("must be text in quotes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_need_a_unit() {
        assert_eq!("500ms".parse::<Span>().map(Span::as_millis), Ok(500));
        assert_eq!("2d".parse::<Span>().map(Span::as_millis), Ok(172_800_000));
        for bad in ["5", "", "ms", "-1s", "1.5s", "1 year", "99999999999999999999s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_print_in_their_largest_whole_unit() {
        for text in ["1ms", "90s", "2d", "3h", "1500ms"] {
            assert_eq!(text.parse::<Span>().map(|span| span.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!("1MiB".parse::<ByteSize>().map(ByteSize::bytes), Ok(1_048_576));
        for bad in ["1", "1MB", "-1B", "GiB", "99999999999GiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
