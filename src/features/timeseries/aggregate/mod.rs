//! Aggregation: pure functions over ascending samples, independent of the storage.
//!
//! Files, in reading order:
//! - `name.rs`: the names of aggregations. `point.rs`: points, buckets and candles.
//! - `grid.rs`, `calendar.rs`: which bucket contains a time.
//! - `kernel.rs`: what computes a bucket's number. The kernels are in `values.rs`, `variance.rs`, `percentile.rs`,
//!   `twa.rs` and `counter.rs`, with `summation.rs` and `interpolate.rs` as their arithmetic.
//! - `buckets.rs`: one pass over the samples. `fill.rs`: the empty buckets.

mod buckets;
mod calendar;
mod counter;
mod fill;
mod grid;
mod interpolate;
mod kernel;
mod name;
mod percentile;
mod point;
mod summation;
mod twa;
mod values;
mod variance;

pub(super) use buckets::{End, Fold, Pass, Slots};
pub(super) use calendar::{Calendar, Stride};
pub(super) use fill::{Fill, Gap, GapTooLong, Placed, fill};
pub(super) use grid::Grid;
pub(super) use name::Aggregation;
pub(super) use percentile::Percentile;
pub(super) use point::{Bucket, Candle, Number, Point, Slot};
pub(super) use summation::{Moments, Sum};
pub(super) use values::{Extent, mean};

use super::series::Sample;
use crate::features::timeseries::aggregate::variance::SpreadKernel;
use buckets::Buckets;
use counter::Counter;
use kernel::{Kernel, Plain};
use percentile::PercentileKernel;
use twa::Twa;

/// Prepares a pass over samples.
///
/// `before` is the newest sample before the segment, for aggregations that need it. `wrap` is the value at which the
/// register of a counter restarts at 0.
pub(super) fn fold(aggregation: Aggregation, wrap: Option<f64>, pass: Pass, before: Option<Sample>) -> Box<dyn Fold> {
    fn of(kernel: impl Kernel + 'static, pass: Pass, before: Option<Sample>) -> Box<dyn Fold> {
        Box::new(Buckets::new(kernel, pass, before))
    }
    fn plain<V: kernel::Values + 'static>(pass: Pass) -> Box<dyn Fold> {
        of(Plain::<V>::default(), pass, None)
    }
    match aggregation {
        Aggregation::Avg => plain::<values::Avg>(pass),
        Aggregation::Sum => plain::<Sum>(pass),
        Aggregation::Min => plain::<values::Min>(pass),
        Aggregation::Max => plain::<values::Max>(pass),
        Aggregation::Range => plain::<values::Range>(pass),
        Aggregation::Count => plain::<values::Count>(pass),
        Aggregation::First => plain::<values::First>(pass),
        Aggregation::Last => plain::<values::Last>(pass),
        Aggregation::Ohlcv => plain::<values::Ohlc>(pass),
        Aggregation::Spread(spread) => of(SpreadKernel::new(spread), pass, None),
        Aggregation::Percentile(percentile) => of(PercentileKernel::new(percentile), pass, None),
        Aggregation::Twa => of(Twa::default(), pass, before),
        Aggregation::Increase => of(Counter::new(false, wrap), pass, before),
        Aggregation::Rate => of(Counter::new(true, wrap), pass, before),
    }
}
