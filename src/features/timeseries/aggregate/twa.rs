//! The time-weighted average: the area below the lines that connect the samples, divided by the time that they cover.
//!
//! The lines to the samples before and after a bucket count as far as they are in the bucket. Without such a sample,
//! the time before the first or after the last sample does not count. If no time is covered, the average is the last
//! value.
//!
//! Source: the semantics of RedisTimeSeries' `twa`.

use super::super::series::Sample;
use super::kernel::{Kernel, milliseconds, value_at};
use super::point::{Bucket, Number};
use super::summation::Sum;

#[derive(Debug, Default)]
pub(super) struct Twa {
    end: i64,
    /// The newest point of the line.
    last: Option<Sample>,
    area: Sum,
    covered: f64,
    /// The start of the bucket and the sample before it, until the first sample of the bucket is known.
    before: Option<(i64, Sample)>,
}

impl Twa {
    fn line_to(&mut self, point: Sample) {
        if let Some(last) = self.last {
            let length = milliseconds(point.timestamp - last.timestamp);
            self.area.add(f64::midpoint(last.value, point.value) * length);
            self.covered += length;
        }
        self.last = Some(point);
    }
}

impl Kernel for Twa {
    fn open(&mut self, edges: Bucket, before: Option<Sample>) {
        *self = Self { end: edges.end, before: before.map(|before| (edges.start, before)), ..Self::default() };
    }

    fn add(&mut self, samples: &[Sample]) {
        if let (Some((start, before)), Some(&first)) = (self.before.take(), samples.first()) {
            self.line_to(Sample { timestamp: start, value: value_at(start, before, first) });
        }
        for &sample in samples {
            self.line_to(sample);
        }
    }

    fn close(&mut self, after: Option<Sample>) -> Number {
        let Some(last) = self.last else { return Number::NONE };
        if let Some(after) = after.filter(|_| self.end > last.timestamp) {
            self.line_to(Sample { timestamp: self.end, value: value_at(self.end, last, after) });
        }
        Number::Float(if self.covered > 0.0 { self.area.value() / self.covered } else { last.value })
    }

    fn bridge(&self, edges: Bucket, before: Sample, after: Sample) -> Number {
        Number::Float(f64::midpoint(value_at(edges.start, before, after), value_at(edges.end, before, after)))
    }
}
