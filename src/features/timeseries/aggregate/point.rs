//! The results of aggregation: buckets, numbers and points.

use serde::Deserialize;
use utoipa::ToSchema;

use super::super::series::Sample;
use crate::clock::UnixMillis;

/// A range of time, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct Bucket {
    /// Unix milliseconds; a bucket can start before 1970.
    pub start: UnixMillis,
    pub end: UnixMillis,
}

/// The number of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::features::timeseries) enum Number {
    /// Not finite if a sum overflows or if there is no value; null in responses.
    Float(f64),
    Count(u64),
    Candle(Candle),
}

impl Number {
    /// The number of a bucket without a value.
    pub(in crate::features::timeseries) const NONE: Self = Self::Float(f64::NAN);

    /// The number as a float; the closing price of a candle.
    #[expect(clippy::cast_precision_loss, reason = "no bucket has 2^53 samples")]
    pub(in crate::features::timeseries) fn float(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Count(count) => count as f64,
            Self::Candle(candle) => candle.close,
        }
    }
}

/// The prices and the traded volume of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::features::timeseries) struct Candle {
    pub open: f64,
    pub high: f64,
    pub low: f64,
    pub close: f64,
    /// Absent if the query does not name a series of volumes.
    pub volume: Option<f64>,
}

impl Candle {
    /// The candle of an empty bucket, with one price: the closing price of this one, or NaN if it is unknown.
    pub(in crate::features::timeseries) fn empty(self, price: f64) -> Self {
        Self { open: price, high: price, low: price, close: price, volume: self.volume.map(|_| 0.0) }
    }
}

/// A point of a response: a sample, or a bucket with the timestamp that represents it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::features::timeseries) struct Point {
    pub timestamp: UnixMillis,
    pub number: Number,
}

/// A sample, or a bucket with the timestamp that represents it. A candle (`ohlcv`) has prices in place of `value`; they are
/// null if the bucket has no samples.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the schema of the JSON that `render` writes for a `Point`")]
#[schema(as = SeriesRangePoint)]
pub(in crate::features::timeseries) struct RangePoint {
    timestamp: i64,
    /// Null if the bucket has no samples, or if its sum overflows.
    value: Option<f64>,
    open: Option<f64>,
    high: Option<f64>,
    low: Option<f64>,
    close: Option<f64>,
    /// Null unless `volume_key` names the series of volumes.
    volume: Option<f64>,
}

impl From<Sample> for Point {
    fn from(sample: Sample) -> Self {
        Self { timestamp: sample.timestamp, number: Number::Float(sample.value) }
    }
}

/// A bucket with its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::features::timeseries) struct Slot {
    pub bucket: Bucket,
    pub number: Number,
}

/// The time of a bucket that is its timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = SeriesBucketTimestamp)]
#[serde(rename_all = "lowercase")]
pub(in crate::features::timeseries) enum BucketTimestamp {
    #[default]
    Start,
    /// The middle of the bucket.
    Mid,
    /// The start of the next bucket.
    End,
}

impl BucketTimestamp {
    pub(in crate::features::timeseries) fn point(self, slot: &Slot) -> Point {
        Point { timestamp: self.of(slot.bucket), number: slot.number }
    }

    /// The timestamp of a bucket. Timestamps start at 0, so a bucket that starts earlier is moved to 0 with its length
    /// unchanged.
    fn of(self, bucket: Bucket) -> UnixMillis {
        let Bucket { start, end } = bucket;
        start.max(0)
            + match self {
                Self::Start => 0,
                Self::Mid => (end - start) / 2,
                Self::End => end - start,
            }
    }
}
