//! Groups: reduces the points of several series that have the same timestamp to one.

use std::collections::BTreeMap;

use crate::clock::UnixMillis;
use crate::features::timeseries::aggregate::{Number, Point, Summary};
use crate::features::timeseries::query::Reducer;
use crate::features::timeseries::series::SeriesKey;
use crate::features::timeseries::window::Order;

/// How many series of a group are named, so that a response with many series stays small.
const NAMED_SOURCES: usize = 1_000;

/// A group: the series that have the same value of a label.
#[derive(Debug, Default)]
pub(in crate::features::timeseries::multi) struct Group {
    /// The first [`NAMED_SOURCES`] series.
    pub sources: Vec<SeriesKey>,
    /// The number of series.
    pub series: usize,
    /// The numbers at each timestamp, except null.
    points: BTreeMap<UnixMillis, Summary>,
    /// Whether a series of the group has more points than were added.
    truncated: bool,
}

impl Group {
    /// Adds a series; `more` says whether it has more points than these. Returns how many timestamps are new to the
    /// group.
    pub(in crate::features::timeseries::multi) fn add(
        &mut self,
        key: SeriesKey,
        points: &[Point],
        more: bool,
    ) -> usize {
        self.truncated |= more;
        let before = self.points.len();
        for point in points {
            let values = self.points.entry(point.timestamp).or_default();
            let value = point.number.float();
            if !value.is_nan() {
                values.add(value);
            }
        }
        self.series += 1;
        if self.sources.len() < NAMED_SOURCES {
            self.sources.push(key);
        }
        self.points.len() - before
    }

    /// Removes the next points, at most `count`, in the given order.
    pub(in crate::features::timeseries::multi) fn take(
        &mut self,
        reducer: Reducer,
        order: Order,
        count: usize,
    ) -> Vec<Point> {
        let next = || match order {
            Order::Asc => self.points.pop_first(),
            Order::Desc => self.points.pop_last(),
        };
        let point = |(timestamp, values): (UnixMillis, Summary)| Point { timestamp, number: number(&values, reducer) };
        std::iter::from_fn(next).take(count).map(point).collect()
    }

    /// Whether the group has points that were not taken.
    pub(in crate::features::timeseries::multi) fn has_more(&self) -> bool {
        self.truncated || !self.points.is_empty()
    }
}

fn number(values: &Summary, reducer: Reducer) -> Number {
    let float = match reducer {
        Reducer::Count => return Number::Count(values.count),
        _ if values.count == 0 => return Number::NONE,
        Reducer::Avg => values.mean(),
        Reducer::Sum => values.sum.value(),
        Reducer::Min => values.extent.min,
        Reducer::Max => values.extent.max,
        Reducer::Range => values.extent.max - values.extent.min,
        Reducer::VarP => values.moments.var_p(),
        Reducer::StdP => values.moments.var_p().sqrt(),
        Reducer::VarS => values.moments.var_s(),
        Reducer::StdS => values.moments.var_s().sqrt(),
    };
    Number::Float(float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_meet_at_their_timestamps() {
        let key = |name: &str| SeriesKey::new(name).expect("a key");
        let points = |values: &[(i64, f64)]| -> Vec<Point> {
            values.iter().map(|&(timestamp, value)| Point { timestamp, number: Number::Float(value) }).collect()
        };
        let mut group = Group::default();
        assert_eq!(group.add(key("a"), &points(&[(1, 1.0), (2, f64::NAN), (3, 4.0)]), false), 3);
        assert_eq!(group.add(key("b"), &points(&[(2, f64::NAN), (3, 2.0), (4, 8.0)]), false), 1);
        let mut reduced = |reducer, order, count| {
            let points = group.take(reducer, order, count);
            let points: Vec<_> = points.iter().map(|point| (point.timestamp, point.number.float())).collect();
            (points, group.has_more())
        };
        assert!(reduced(Reducer::Sum, Order::Asc, 0).0.is_empty());
        assert_eq!(reduced(Reducer::Count, Order::Asc, 1), (vec![(1, 1.0)], true));
        assert_eq!(reduced(Reducer::Range, Order::Desc, 2), (vec![(4, 0.0), (3, 2.0)], true));
        let (last, has_more) = reduced(Reducer::Sum, Order::Asc, 9);
        assert!(last.len() == 1 && last[0].1.is_nan() && !has_more, "{last:?}");
        group.add(key("a"), &points(&[(3, 4.0)]), true);
        group.add(key("b"), &points(&[(3, 2.0), (4, 8.0)]), false);
        assert_eq!(group.take(Reducer::VarS, Order::Desc, 2).iter().map(|point| point.timestamp).max(), Some(4));
        assert!(group.has_more());
        assert_eq!((group.series, group.sources.len()), (4, 4));
    }
}
