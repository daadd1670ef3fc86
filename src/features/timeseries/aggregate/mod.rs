//! Aggregation: pure functions over ascending samples, independent of the storage.
//!
//! Files, in reading order:
//! - `name.rs`: the names of aggregations. `point.rs`: points, buckets and candles.
//! - `grid.rs`, `calendar.rs`: which bucket contains a time.
//! - `kernel.rs`: what computes a bucket's number. The kernels are in `values.rs`, `percentile.rs`, `twa.rs`
//!   and `counter.rs`, with `summation.rs` as their arithmetic.
//! - `buckets.rs`: one pass over the samples. `fill.rs`: the empty buckets.

mod buckets;
mod calendar;
mod counter;
mod fill;
mod grid;
mod kernel;
mod name;
mod percentile;
mod point;
mod summation;
mod twa;
mod values;

pub(super) use buckets::{End, Fold, Pass, Slots};
pub(super) use calendar::{Calendar, Stride};
pub(super) use counter::Register;
pub(super) use fill::{Fill, Gap, Placed, fill};
pub(super) use grid::Grid;
pub(super) use name::Aggregation;
pub(super) use percentile::Percentile;
pub(super) use point::{Bucket, BucketTimestamp, Candle, Number, Point, RangePoint, Slot};
pub(super) use summation::{Moments, Sum};
pub(super) use values::Summary;

use super::series::Sample;
use counter::Counter;
use kernel::Kernel;
use percentile::PercentileKernel;
use twa::Twa;
use values::{Extent, Values, add_price, mean};

/// Prepares a pass over samples.
///
/// `before` is the newest sample before the segment, for aggregations that need it. `register` is that of a counter.
pub(super) fn fold(aggregation: Aggregation, register: Register, pass: Pass, before: Option<Sample>) -> Fold {
    fn of<S: Copy + Send + 'static>(
        initial: S,
        add: impl Fn(&mut S, f64) + Send + 'static,
        number: impl Fn(S) -> Number + Send + 'static,
    ) -> Box<dyn Kernel> {
        Box::new(Values::new(initial, add, number))
    }
    fn variance(result: fn(Moments) -> f64) -> Box<dyn Kernel> {
        of(Moments::default(), Moments::add, move |moments| Number::Float(result(moments)))
    }
    let kernel = match aggregation {
        Aggregation::Avg => of(
            (Sum::default(), 0),
            |(sum, count), value| {
                sum.add(value);
                *count += 1;
            },
            |(sum, count)| Number::Float(mean(sum, count)),
        ),
        Aggregation::Sum => of(Sum::default(), Sum::add, |sum| Number::Float(sum.value())),
        Aggregation::Min => of(Extent::default(), Extent::add, |extent| Number::Float(extent.min)),
        Aggregation::Max => of(Extent::default(), Extent::add, |extent| Number::Float(extent.max)),
        Aggregation::Range => of(Extent::default(), Extent::add, |extent| Number::Float(extent.max - extent.min)),
        Aggregation::Count => of(0, |count, _| *count += 1, Number::Count),
        Aggregation::First => of(None, |first, value| *first = first.or(Some(value)), number),
        Aggregation::Last => of(None, |last, value| *last = Some(value), number),
        Aggregation::Ohlcv => of(None, add_price, |candle| candle.map_or(Number::NONE, Number::Candle)),
        Aggregation::StdP => variance(|moments| moments.var_p().sqrt()),
        Aggregation::StdS => variance(|moments| moments.var_s().sqrt()),
        Aggregation::VarP => variance(Moments::var_p),
        Aggregation::VarS => variance(Moments::var_s),
        Aggregation::Percentile(percentile) => Box::new(PercentileKernel::new(percentile)),
        Aggregation::Twa => Box::new(Twa::default()),
        Aggregation::Increase => Box::new(Counter::new(false, register)),
        Aggregation::Rate => Box::new(Counter::new(true, register)),
    };
    Fold::new(kernel, pass, before.filter(|_| aggregation.needs_neighbours()))
}

fn number(value: Option<f64>) -> Number {
    value.map_or(Number::NONE, Number::Float)
}
