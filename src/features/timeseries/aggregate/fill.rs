//! Fills the empty buckets between buckets that have samples.

use serde::Deserialize;
use utoipa::ToSchema;

use super::super::error::TimeseriesError;
use super::super::window::Order;
use super::grid::Grid;
use super::name::Aggregation;
use super::point::{Bucket, Number, Slot};
use crate::clock::UnixMillis;

/// The value of empty buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SeriesFill)]
pub(in crate::features::timeseries) enum Fill {
    /// Empty buckets are omitted.
    #[default]
    None,
    /// Empty buckets are null.
    Null,
    /// Empty buckets have the value of the previous bucket.
    Previous,
    /// Empty buckets are interpolated linearly between the previous and the next bucket.
    Linear,
}

/// How a query fills empty buckets, given its aggregation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::features::timeseries) enum Gap {
    LeftOut,
    Number(Number),
    Previous,
    Linear,
    /// The kernel derives a number for them; see [`super::Pass::bridges`].
    Bridged,
}

impl Gap {
    pub(in crate::features::timeseries) fn filled(fill: Fill, aggregation: Aggregation) -> Self {
        match fill {
            _ if aggregation.is_counter() => Self::Bridged,
            Fill::None => Self::LeftOut,
            Fill::Null => Self::Number(Number::NONE),
            Fill::Previous => Self::Previous,
            Fill::Linear => Self::Linear,
        }
    }

    /// The natural value of an empty bucket: 0 for a sum or a count, the previous value for a last value or a price,
    /// and the interpolated line for a time-weighted average.
    pub(in crate::features::timeseries) fn natural(aggregation: Aggregation) -> Self {
        match aggregation {
            Aggregation::Sum => Self::Number(Number::Float(0.0)),
            Aggregation::Count => Self::Number(Number::Count(0)),
            Aggregation::Last | Aggregation::Ohlcv => Self::Previous,
            Aggregation::Twa | Aggregation::Increase | Aggregation::Rate => Self::Bridged,
            _ => Self::Number(Number::NONE),
        }
    }

    /// Whether this module adds the empty buckets, once the others are complete.
    pub(in crate::features::timeseries) fn is_filled(self) -> bool {
        !matches!(self, Self::LeftOut | Self::Bridged)
    }

    fn number(self, bucket: Bucket, before: &Slot, after: &Slot) -> Number {
        match (self, before.number) {
            (Self::Previous, Number::Candle(candle)) => Number::Candle(candle.empty(candle.close)),
            (Self::Number(_), Number::Candle(candle)) => Number::Candle(candle.empty(f64::NAN)),
            (Self::Previous, number) | (Self::Number(number), _) => number,
            (Self::Linear, _) => Number::Float(interpolated(bucket, before, after)),
            (Self::LeftOut | Self::Bridged, _) => Number::NONE,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "times and their distances are below 2^53")]
fn interpolated(bucket: Bucket, before: &Slot, after: &Slot) -> f64 {
    let (from, to) = (before.number.float(), after.number.float());
    let done = (bucket.start - before.bucket.start) as f64 / (after.bucket.start - before.bucket.start) as f64;
    from + (to - from) * done
}

/// A bucket of a response, with its position: its distance in buckets from the last bucket that has samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::features::timeseries) struct Placed {
    pub slot: Slot,
    pub origin: UnixMillis,
    pub distance: usize,
}

/// Fills the gaps between ascending buckets, `wanted` buckets in all, in the given order.
///
/// # Errors
/// [`TimeseriesError::GapTooLong`] if a gap has more than `most` buckets.
pub(in crate::features::timeseries) fn fill<'a>(
    slots: impl DoubleEndedIterator<Item = &'a Slot>,
    grid: &mut Grid,
    gap: Gap,
    order: Order,
    wanted: usize,
    most: usize,
) -> Result<Vec<Placed>, TimeseriesError> {
    let mut out: Vec<Placed> = Vec::new();
    let mut origin: Option<&Slot> = None;
    let mut slots: Box<dyn Iterator<Item = &'a Slot>> = match order {
        Order::Asc => Box::new(slots),
        Order::Desc => Box::new(slots.rev()),
    };
    while out.len() < wanted
        && let Some(slot) = slots.next()
    {
        if let Some(origin) = origin.filter(|_| gap.is_filled()) {
            let (before, after) = if order == Order::Asc { (origin, slot) } else { (slot, origin) };
            let mut empty = buckets_between(before, after, grid, most)?;
            if order == Order::Desc {
                empty.reverse();
            }
            let place = |(bucket, distance): (Bucket, usize)| Placed {
                slot: Slot { bucket, number: gap.number(bucket, before, after) },
                origin: origin.bucket.start,
                distance,
            };
            out.extend(empty.into_iter().zip(1..).map(place));
        }
        out.push(Placed { slot: *slot, origin: slot.bucket.start, distance: 0 });
        origin = Some(slot);
    }
    out.truncate(wanted);
    Ok(out)
}

fn buckets_between(before: &Slot, after: &Slot, grid: &mut Grid, most: usize) -> Result<Vec<Bucket>, TimeseriesError> {
    let (from, to) = (before.bucket.end, after.bucket.start);
    if from >= to {
        return Ok(Vec::new());
    }
    let count = usize::try_from(grid.count(from, to)).unwrap_or(usize::MAX);
    if count > most {
        return Err(TimeseriesError::GapTooLong { from, to });
    }
    let mut buckets = Vec::with_capacity(count);
    let mut at = from;
    while at < to {
        let bucket = grid.bucket(at);
        at = bucket.end;
        buckets.push(bucket);
    }
    Ok(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(start: i64, value: f64) -> Slot {
        Slot { bucket: Bucket { start, end: start + 10 }, number: Number::Float(value) }
    }

    fn filled(gap: Gap, order: Order, wanted: usize) -> Vec<(i64, f64, i64, usize)> {
        let mut grid = Grid::Elapsed { width: 10, anchor: 0 };
        let slots = [slot(0, 1.0), slot(10, 2.0), slot(40, 5.0)];
        let placed = fill(slots.iter(), &mut grid, gap, order, wanted, 5).expect("short gaps");
        placed.iter().map(|p| (p.slot.bucket.start, p.slot.number.float(), p.origin, p.distance)).collect()
    }

    #[test]
    fn gaps_are_filled_from_both_sides_alike() {
        let linear = [(0, 1.0, 0, 0), (10, 2.0, 10, 0), (20, 3.0, 10, 1), (30, 4.0, 10, 2), (40, 5.0, 40, 0)];
        assert_eq!(filled(Gap::Linear, Order::Asc, 9), linear);
        assert_eq!(filled(Gap::Linear, Order::Asc, 3), linear[..3]);
        let backwards = [(40, 5.0, 40, 0), (30, 4.0, 40, 1), (20, 3.0, 40, 2), (10, 2.0, 10, 0), (0, 1.0, 0, 0)];
        assert_eq!(filled(Gap::Linear, Order::Desc, 9), backwards);
        let previous = filled(Gap::Previous, Order::Desc, 2);
        assert_eq!(previous, [(40, 5.0, 40, 0), (30, 2.0, 40, 1)]);
        assert_eq!(filled(Gap::LeftOut, Order::Desc, 9).len(), 3);
    }

    #[test]
    fn a_gap_is_not_longer_than_an_answer() {
        let mut grid = Grid::Elapsed { width: 10, anchor: 0 };
        let slots = [slot(0, 1.0), slot(1_000_000, 2.0)];
        let found = fill(slots.iter(), &mut grid, Gap::Previous, Order::Asc, 2, 5);
        assert!(matches!(found, Err(TimeseriesError::GapTooLong { from: 10, to: 1_000_000 })), "{found:?}");
    }
}
