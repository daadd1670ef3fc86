//! What aggregation answers.

use super::super::series::Sample;
use crate::clock::UnixMillis;

/// A stretch of time, its end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct Bucket {
    /// It may be before 1970.
    pub start: UnixMillis,
    pub end: UnixMillis,
}

/// The number of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::features::timeseries) enum Number {
    /// Not finite where a sum is out of range, or where there is none; shown as null.
    Float(f64),
    Count(u64),
    Candle(Candle),
}

impl Number {
    /// The number of a bucket about which nothing is known.
    pub(in crate::features::timeseries) const NONE: Self = Self::Float(f64::NAN);

    /// As a float; a candle is its closing price.
    #[expect(clippy::cast_precision_loss, reason = "no bucket has 2^53 samples")]
    pub(in crate::features::timeseries) fn float(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Count(count) => count as f64,
            Self::Candle(candle) => candle.close,
        }
    }
}

/// The prices of a bucket, and what was traded in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::features::timeseries) struct Candle {
    pub open: f64,
    pub high: f64,
    pub low: f64,
    pub close: f64,
    /// Absent when no series of volumes was named.
    pub volume: Option<f64>,
}

impl Candle {
    /// A bucket without a trade, at the price of the one before.
    pub(in crate::features::timeseries) fn flat(self) -> Self {
        let price = self.close;
        Self { open: price, high: price, low: price, close: price, volume: self.volume.map(|_| 0.0) }
    }

    /// A bucket about which nothing is known.
    pub(in crate::features::timeseries) fn unknown(self) -> Self {
        let price = f64::NAN;
        Self { open: price, high: price, low: price, close: price, volume: self.volume.map(|_| 0.0) }
    }
}

/// A point of an answer: a sample, or a bucket by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::features::timeseries) struct Point {
    pub timestamp: UnixMillis,
    pub number: Number,
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
