//! Adds volumes to candles, from a second series.

use std::collections::HashMap;

use super::super::aggregate::{Aggregation, End, Grid, Number, Pass, Register, Slot, Slots, fold};
use super::super::error::TimeseriesError;
use super::super::series::Sample;
use super::super::window::{Order, Window};
use super::scan::{Ended, Scan};

/// Sets the volume of every candle to the sum of the volumes in its bucket, 0 if there are none.
pub(super) async fn add(
    volumes: &Scan<'_>,
    grid: Grid,
    window: Window,
    order: Order,
    candles: &mut [Slot],
) -> Result<(), TimeseriesError> {
    let ends = match order {
        Order::Asc => (candles.first(), candles.last()),
        Order::Desc => (candles.last(), candles.first()),
    };
    let (Some(oldest), Some(newest)) = ends else { return Ok(()) };
    let segment = Window { from: oldest.bucket.start.max(window.from), to: window.to.min(newest.bucket.end - 1) };
    let pass = Pass { grid, window, segment, bridges: false };
    let mut sums = fold(Aggregation::Sum, Register::default(), pass, None);
    let mut by_start: HashMap<i64, &mut Slot> = candles.iter_mut().map(|slot| (slot.bucket.start, slot)).collect();
    for slot in by_start.values_mut() {
        set_volume(slot, 0.0);
    }
    let mut slots = Slots::new(End::Oldest, usize::MAX);
    let mut settle = |slots: &mut Slots| {
        for sum in slots.list.drain(..) {
            if let Some(slot) = by_start.get_mut(&sum.bucket.start) {
                set_volume(slot, sum.number.float());
            }
        }
    };
    let take = |samples: &[Sample]| {
        sums.feed(samples, &mut slots);
        settle(&mut slots);
        true
    };
    if let Ended::Spent(_) = volumes.read(segment, Order::Asc, usize::MAX, take).await? {
        return Err(volumes.too_wide());
    }
    sums.finish(None, &mut slots);
    settle(&mut slots);
    Ok(())
}

fn set_volume(slot: &mut Slot, volume: f64) {
    if let Number::Candle(candle) = &mut slot.number {
        candle.volume = Some(volume);
    }
}
