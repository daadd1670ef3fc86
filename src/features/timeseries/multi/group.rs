//! Groups: reduces the points of several series that have the same timestamp to one.

use std::collections::BTreeMap;

use crate::clock::UnixMillis;
use crate::features::timeseries::aggregate::{Number, Point, Summary};
use crate::features::timeseries::query::Reducer;
use crate::features::timeseries::series::SeriesKey;
use crate::features::timeseries::window::Order;

/// A group: the series that have the same value of a label.
#[derive(Debug, Default)]
pub(in crate::features::timeseries::multi) struct Group {
    pub sources: Vec<SeriesKey>,
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
            |(&timestamp, values): (&UnixMillis, &Summary)| Point { timestamp, number: number(values, reducer) };
        let points = match order {
            Order::Asc => self.points.iter().take(limit).map(point).collect(),
            Order::Desc => self.points.iter().rev().take(limit).map(point).collect(),
        };
        (points, self.truncated || self.points.len() > limit)
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
