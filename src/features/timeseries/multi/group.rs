//! Groups: reduces the points of several series that have the same timestamp to one.

use std::collections::BTreeMap;

use crate::clock::UnixMillis;
use crate::features::timeseries::aggregate::{Extent, Moments, Number, Point, Sum, mean};
use crate::features::timeseries::query::Reducer;
use crate::features::timeseries::series::SeriesKey;
use crate::features::timeseries::window::Order;

/// A group: the series that have the same value of a label.
#[derive(Debug, Default)]
pub(in crate::features::timeseries::multi) struct Group {
    pub sources: Vec<SeriesKey>,
    points: BTreeMap<UnixMillis, Reduced>,
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
            self.points.entry(point.timestamp).or_default().add(point.number);
        }
        self.sources.push(key);
        self.points.len() - before
    }

    /// The first points in the requested order, and whether there are more.
    pub(in crate::features::timeseries::multi) fn reduce(
        &self,
        reducer: Reducer,
        order: Order,
        limit: usize,
    ) -> (Vec<Point>, bool) {
        let point =
            |(&timestamp, reduced): (&UnixMillis, &Reduced)| Point { timestamp, number: reduced.number(reducer) };
        let points = match order {
            Order::Asc => self.points.iter().take(limit).map(point).collect(),
            Order::Desc => self.points.iter().rev().take(limit).map(point).collect(),
        };
        (points, self.truncated || self.points.len() > limit)
    }
}

/// The numbers at one timestamp. Null numbers are ignored.
#[derive(Clone, Copy, Debug, Default)]
struct Reduced {
    count: u64,
    sum: Sum,
    extent: Extent,
    moments: Moments,
}

impl Reduced {
    fn add(&mut self, number: Number) {
        let value = number.float();
        if value.is_nan() {
            return;
        }
        self.count += 1;
        self.sum.add(value);
        self.extent.add(value);
        self.moments.add(value);
    }

    fn number(&self, reducer: Reducer) -> Number {
        let float = match reducer {
            Reducer::Count => return Number::Count(self.count),
            _ if self.count == 0 => return Number::NONE,
            Reducer::Avg => mean(self.sum, self.count),
            Reducer::Sum => self.sum.value(),
            Reducer::Min => self.extent.min,
            Reducer::Max => self.extent.max,
            Reducer::Range => self.extent.max - self.extent.min,
            Reducer::VarP => self.moments.var_p(),
            Reducer::StdP => self.moments.var_p().sqrt(),
            Reducer::VarS => self.moments.var_s(),
            Reducer::StdS => self.moments.var_s().sqrt(),
        };
        Number::Float(float)
    }
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
        let reduced = |reducer, order, limit| {
            let (points, more) = group.reduce(reducer, order, limit);
            (points.iter().map(|point| (point.timestamp, point.number.float())).collect::<Vec<_>>(), more)
        };
        assert_eq!(reduced(Reducer::Count, Order::Asc, 9), (vec![(1, 1.0), (2, 0.0), (3, 2.0), (4, 1.0)], false));
        assert_eq!(reduced(Reducer::Avg, Order::Desc, 2), (vec![(4, 8.0), (3, 3.0)], true));
        assert_eq!(reduced(Reducer::Range, Order::Desc, 2), (vec![(4, 0.0), (3, 2.0)], true));
        assert_eq!(reduced(Reducer::VarS, Order::Desc, 2), (vec![(4, 0.0), (3, 2.0)], true));
        assert!(group.reduce(Reducer::Sum, Order::Asc, 2).0[1].number.float().is_nan());
    }
}
