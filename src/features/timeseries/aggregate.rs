//! Aggregation: pure functions over ascending samples, whatever keeps them.

use serde::Deserialize;
use utoipa::ToSchema;

use super::backend::Window;
use super::series::Sample;
use super::summation::Sum;
use crate::clock::UnixMillis;

/// What a bucket's samples become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Aggregation {
    Avg,
    Sum,
    Min,
    Max,
    Count,
    First,
    Last,
}

/// The number of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// Not finite where a sum is out of range; shown as null.
    Float(f64),
    Count(u64),
}

/// A point of an answer: a sample, or a bucket by its start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub timestamp: UnixMillis,
    pub number: Number,
}

impl From<Sample> for Point {
    fn from(sample: Sample) -> Self {
        Self { timestamp: sample.timestamp, number: Number::Float(sample.value) }
    }
}

/// The values of a bucket so far; never without one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accumulator {
    pub count: u64,
    sum: Sum,
    pub min: f64,
    pub max: f64,
    pub first: f64,
    pub last: f64,
}

impl Accumulator {
    pub(super) fn new(first: f64) -> Self {
        let mut sum = Sum::default();
        sum.add(first);
        Self { count: 1, sum, min: first, max: first, first, last: first }
    }

    /// Adds the next value in time.
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum.add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum.value()
    }

    pub(super) fn avg(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "no series has 2^53 samples")]
        let count = self.count as f64;
        self.sum() / count
    }

    fn number(&self, aggregation: Aggregation) -> Number {
        match aggregation {
            Aggregation::Avg => Number::Float(self.avg()),
            Aggregation::Sum => Number::Float(self.sum()),
            Aggregation::Min => Number::Float(self.min),
            Aggregation::Max => Number::Float(self.max),
            Aggregation::Count => Number::Count(self.count),
            Aggregation::First => Number::Float(self.first),
            Aggregation::Last => Number::Float(self.last),
        }
    }
}

/// Where buckets begin: at every whole `width` from `align`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Milliseconds, at least 1.
    pub width: i64,
    /// Unix milliseconds, of any sign.
    pub align: i64,
}

impl Grid {
    /// One bucket for all of a window.
    pub(super) fn whole(window: Window) -> Self {
        // A cursor that was made up may end before it begins; such a window has no samples.
        Self { width: (window.to - window.from + 1).max(1), align: window.from }
    }

    /// The start of the bucket that a time falls into; it may be before 1970.
    pub(super) fn start(self, time: UnixMillis) -> UnixMillis {
        time - (time - self.align).rem_euclid(self.width)
    }
}

/// Turns ascending samples into buckets, one at a time; buckets without samples do not appear.
#[derive(Debug)]
pub(super) struct Buckets {
    grid: Grid,
    aggregation: Aggregation,
    open: Option<(UnixMillis, Accumulator)>,
}

impl Buckets {
    pub(super) fn new(grid: Grid, aggregation: Aggregation) -> Self {
        Self { grid, aggregation, open: None }
    }

    /// Adds a sample; the bucket before it, once it is complete.
    pub(super) fn add(&mut self, sample: Sample) -> Option<Point> {
        let start = self.grid.start(sample.timestamp);
        if let Some((open, accumulator)) = &mut self.open
            && *open == start
        {
            accumulator.add(sample.value);
            return None;
        }
        let complete = self.finish();
        self.open = Some((start, Accumulator::new(sample.value)));
        complete
    }

    /// The last bucket.
    pub(super) fn finish(&mut self) -> Option<Point> {
        let (start, accumulator) = self.open.take()?;
        // Time begins at 0 here; at most one bucket begins before it.
        Some(Point { timestamp: start.max(0), number: accumulator.number(self.aggregation) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(grid: Grid, aggregation: Aggregation, samples: &[(i64, f64)]) -> Vec<(i64, Number)> {
        let mut buckets = Buckets::new(grid, aggregation);
        let mut out: Vec<Point> =
            samples.iter().filter_map(|&(timestamp, value)| buckets.add(Sample { timestamp, value })).collect();
        out.extend(buckets.finish());
        out.into_iter().map(|point| (point.timestamp, point.number)).collect()
    }

    #[test]
    fn empty_buckets_are_left_out() {
        let grid = Grid { width: 10, align: 0 };
        let samples = [(1, 1.0), (9, 2.0), (10, 4.0), (39, 8.0)];
        let sums = points(grid, Aggregation::Sum, &samples);
        assert_eq!(sums, [(0, Number::Float(3.0)), (10, Number::Float(4.0)), (30, Number::Float(8.0))]);
        let counts = points(grid, Aggregation::Count, &samples);
        assert_eq!(counts, [(0, Number::Count(2)), (10, Number::Count(1)), (30, Number::Count(1))]);
    }

    #[test]
    fn a_bucket_that_begins_before_time_is_shown_at_its_beginning() {
        for align in [-3, 7, 17] {
            let grid = Grid { width: 10, align };
            let last = points(grid, Aggregation::Last, &[(0, 1.0), (6, 2.0), (7, 3.0)]);
            assert_eq!(last, [(0, Number::Float(2.0)), (7, Number::Float(3.0))], "{align}");
        }
    }

    #[test]
    fn each_aggregation_has_its_number() {
        let grid = Grid { width: 100, align: 0 };
        for (aggregation, number) in [
            (Aggregation::Avg, 2.0),
            (Aggregation::Sum, 6.0),
            (Aggregation::Min, 1.0),
            (Aggregation::Max, 3.0),
            (Aggregation::First, 3.0),
            (Aggregation::Last, 2.0),
        ] {
            let found = points(grid, aggregation, &[(0, 3.0), (1, 1.0), (2, 2.0)]);
            assert_eq!(found, [(0, Number::Float(number))], "{aggregation:?}");
        }
    }
}
