//! Volumes by price over a range of time.

use std::ops::Range;

use super::coverage::Coverage;
use super::error::ArchiveError;
use super::model::{Order, Profile, ValueArea};
use super::service::ArchiveService;
use crate::clock::UnixMillis;
use crate::tape::{Decimal, Level, Levels, MAX_LEVELS, Sum, Symbol};

/// The most minutes that are in memory at a time.
const PAGE: usize = 500;

/// After merging so many minutes, which takes about a millisecond, other requests have a turn.
const MERGES: usize = 4;

/// The most price levels of a bucket of a footprint.
const MAX_BUCKET_LEVELS: usize = 250;

/// The share of the volume in the value area: tenths.
const VALUE_AREA: u32 = 7;

/// Volumes by price.
#[derive(Debug)]
pub(super) struct Volumes {
    /// By the beginning of the bucket.
    pub buckets: Vec<(UnixMillis, Profile)>,
    /// `None` without a directory of files.
    pub coverage: Option<Coverage>,
}

impl ArchiveService {
    /// The volumes of the minutes that begin within a range, in buckets of `bucket` milliseconds, oldest first. Buckets
    /// without trades are left out. Levels are at least `step` wide.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(super) async fn volumes(
        &self,
        symbol: &Symbol,
        range: &Range<UnixMillis>,
        bucket: Option<i64>,
        step: Option<Decimal>,
    ) -> Result<Volumes, ArchiveError> {
        let limit = if bucket.is_some() { MAX_BUCKET_LEVELS } else { MAX_LEVELS };
        let begin = |minute: UnixMillis| bucket.map_or(range.start, |length| minute - minute.rem_euclid(length));
        let mut buckets: Vec<(UnixMillis, Levels)> = Vec::new();
        let mut rest = range.clone();
        let mut coverage: Option<Coverage> = None;
        let hot = self.fold(symbol).await?;
        loop {
            let page = self.minutes(symbol, &rest, Order::Asc, PAGE, &hot).await?;
            match (&mut coverage, page.coverage) {
                (Some(all), Some(next)) => all.join(next),
                (None, next) => coverage = next,
                (Some(_), None) => {}
            }
            for (number, found) in page.items.iter().enumerate() {
                if number % MERGES == 0 {
                    tokio::task::yield_now().await;
                }
                let start = begin(found.minute);
                if buckets.last().is_none_or(|(last, _)| *last != start) {
                    let mut empty = Levels::default();
                    if let Some(step) = step {
                        empty.widen(step);
                    }
                    buckets.push((start, empty));
                }
                if let Some((_, levels)) = buckets.last_mut() {
                    levels.add(&found.trades.levels, limit);
                }
            }
            match page.next {
                Some(next) => rest.start = next,
                None => break,
            }
        }
        let buckets = buckets.into_iter().map(|(start, levels)| (start, profile(levels))).collect();
        Ok(Volumes { buckets, coverage })
    }
}

/// What follows from the volumes by price.
pub(super) fn profile(levels: Levels) -> Profile {
    let total = levels.by_price.values().fold(Level::default(), |mut total, level| {
        total.add(level);
        total
    });
    // The lowest price of those with the most volume.
    let point_of_control = levels.by_price.iter().rev().max_by_key(|(_, level)| level.total).map(|(price, _)| *price);
    let value_area = point_of_control.map(|point| value_area(&levels, point, total.total));
    Profile { levels, total, point_of_control, value_area }
}

/// The prices around the point of control that have 70 % of the volume: the neighbour with more volume comes first, of equal
/// ones the upper one.
fn value_area(levels: &Levels, point: Decimal, total: Sum) -> ValueArea {
    let prices: Vec<(Decimal, Sum)> = levels.by_price.iter().map(|(price, level)| (*price, level.total)).collect();
    let at = prices.iter().position(|(price, _)| *price == point).unwrap_or_default();
    let (lower, upper) = prices.split_at(at);
    let (mut below, mut above) = (lower.iter().rev().peekable(), upper.iter().skip(1).peekable());
    let mut area = ValueArea { low: point, high: point };
    let mut volume = upper.first().map_or(Sum::default(), |(_, volume)| *volume);
    while times(volume, 10) < times(total, VALUE_AREA) {
        let (down, up) = (below.peek().map(|(_, volume)| *volume), above.peek().map(|(_, volume)| *volume));
        let next = if up >= down { above.next() } else { below.next() };
        let Some((price, added)) = next else { break };
        volume = volume + *added;
        area.low = area.low.min(*price);
        area.high = area.high.max(*price);
    }
    area
}

fn times(sum: Sum, factor: u32) -> Sum {
    (0..factor).fold(Sum::default(), |product, _| product + sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(volumes: &[(&str, &str)]) -> Levels {
        let level = |volume: &str| Level {
            total: volume.parse().expect(volume),
            buy: volume.parse().expect(volume),
            sell: Sum::default(),
            trades: 1,
        };
        let by_price = volumes.iter().map(|(price, volume)| (price.parse().expect(price), level(volume))).collect();
        Levels { size: None, by_price }
    }

    #[test]
    fn the_value_area_grows_from_the_point_of_control() {
        let found = profile(levels(&[("1", "10"), ("2", "20"), ("3", "40"), ("4", "20"), ("5", "10")]));
        let area = found.value_area.expect("an area");
        assert_eq!(found.point_of_control.map(|price| price.to_string()).as_deref(), Some("3"));
        // 40 + 20 (the upper one first) + 20 = 80 of 100.
        assert_eq!((area.low.to_string(), area.high.to_string()), ("2".to_owned(), "4".to_owned()));
        assert_eq!(found.total.total.to_string(), "100");
        let one = profile(levels(&[("7", "1"), ("8", "1")]));
        assert_eq!(one.point_of_control.map(|price| price.to_string()).as_deref(), Some("7"));
        let none = profile(Levels::default());
        assert!(none.point_of_control.is_none() && none.value_area.is_none());
    }
}
