//! The names of aggregations.

use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::percentile::Percentile;

/// The aggregation of the samples in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum Aggregation {
    Avg,
    Sum,
    Min,
    Max,
    /// The largest value minus the smallest.
    Range,
    Count,
    First,
    Last,
    /// The standard deviation of a population.
    StdP,
    /// The standard deviation of a sample.
    StdS,
    /// The variance of a population.
    VarP,
    /// The variance of a sample.
    VarS,
    /// The time-weighted average.
    Twa,
    Percentile(Percentile),
    /// The increase of a counter.
    Increase,
    /// The increase of a counter per second.
    Rate,
    /// Open, high, low, close and volume.
    Ohlcv,
}

/// All names except those of percentiles.
const NAMES: [(&str, Aggregation); 17] = [
    ("avg", Aggregation::Avg),
    ("sum", Aggregation::Sum),
    ("min", Aggregation::Min),
    ("max", Aggregation::Max),
    ("range", Aggregation::Range),
    ("count", Aggregation::Count),
    ("first", Aggregation::First),
    ("last", Aggregation::Last),
    ("std_p", Aggregation::StdP),
    ("std_s", Aggregation::StdS),
    ("var_p", Aggregation::VarP),
    ("var_s", Aggregation::VarS),
    ("twa", Aggregation::Twa),
    ("median", Aggregation::Percentile(Percentile::MEDIAN)),
    ("increase", Aggregation::Increase),
    ("rate", Aggregation::Rate),
    ("ohlcv", Aggregation::Ohlcv),
];

impl Aggregation {
    /// The pattern in the OpenAPI document; [`Aggregation::from_str`] accepts the same texts.
    const PATTERN: &str = "^(avg|sum|min|max|range|count|first|last|std_p|std_s|var_p|var_s|twa|median|increase|rate|ohlcv|p[0-9]{1,2}([.][0-9]{1,3})?)$";

    /// The name of the aggregation; `None` for percentiles other than the median.
    pub(in crate::features::timeseries) fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(_, aggregation)| *aggregation == self).map(|(name, _)| *name)
    }

    /// Whether the aggregation uses the samples next to a bucket.
    pub(in crate::features::timeseries) fn needs_neighbours(self) -> bool {
        matches!(self, Self::Twa | Self::Increase | Self::Rate)
    }

    /// Whether the aggregation follows a counter, so that every bucket between two samples has a result.
    pub(in crate::features::timeseries) fn is_counter(self) -> bool {
        matches!(self, Self::Increase | Self::Rate)
    }
}

impl FromStr for Aggregation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMES.iter().find(|(name, _)| *name == text).map(|(_, aggregation)| *aggregation);
        named.or_else(|| percentile(text)).ok_or_else(|| {
            let known = NAMES.map(|(name, _)| name).join(", ");
            format!("`{text}` is not an aggregation: use {known}, or a percentile such as p95 or p99.9")
        })
    }
}

/// Parses `p95`, `p99.9`: at most two digits before and three after the decimal point.
fn percentile(text: &str) -> Option<Aggregation> {
    let digits = |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.strip_prefix('p')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !digits(whole, 2) || !digits(fraction, 3) {
        return None;
    }
    let thousandths = format!("{whole}{fraction:0<3}").parse().ok()?;
    Some(Aggregation::Percentile(Percentile::of_thousandths(thousandths)))
}

impl<'de> Deserialize<'de> for Aggregation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl PartialSchema for Aggregation {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(Self::PATTERN)).into()
    }
}

impl ToSchema for Aggregation {
    fn name() -> Cow<'static, str> {
        "SeriesAggregation".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_have_two_digits_and_three_behind_the_point() {
        for (text, share) in [("p50", 50_000), ("p5", 5_000), ("p0", 0), ("p99.9", 99_900), ("p99.999", 99_999)] {
            assert_eq!(text.parse(), Ok(Aggregation::Percentile(Percentile::of_thousandths(share))), "{text}");
        }
        for bad in ["p", "p100", "p.5", "p5.", "p1.2345", "p-1", "p+5", "p1e1", "q5", "P95", "AVG", "std.p", ""] {
            assert!(bad.parse::<Aggregation>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_document_knows_every_name() {
        for (name, aggregation) in &NAMES {
            assert!(Aggregation::PATTERN.contains(name), "{name}");
            assert_eq!(name.parse(), Ok(*aggregation));
        }
    }
}
