//! The cursor of a range: where its next page begins.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use super::config::MAX_PAGE_POINTS;
use super::series::MAX_TIMESTAMP;
use super::window::{Order, Window};
use crate::clock::UnixMillis;

/// The start of a page in a range. It contains the absolute window, so that relative times are resolved once for all
/// pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The direction in which the window is read.
    pub order: Order,
    /// The whole window.
    pub window: Window,
    pub place: Place,
}

/// The first point of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The timestamp of the sample, or a time in a bucket that has samples.
    pub at: UnixMillis,
    /// The number of buckets between that bucket and the first point.
    pub skip: usize,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::Asc => 'a',
            Order::Desc => 'd',
        };
        let (Window { from, to }, Place { at, skip }) = (self.window, self.place);
        write!(f, "{order}{from:x}-{to:x}-{at:x}-{skip:x}")
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or("is not a valid cursor: send next_cursor of the previous page")
    }
}

fn parse(text: &str) -> Option<Cursor> {
    let (order, numbers) = match text.split_at_checked(1)? {
        ("a", numbers) => (Order::Asc, numbers),
        ("d", numbers) => (Order::Desc, numbers),
        _ => return None,
    };
    let mut numbers = numbers.split('-').map(|digits| {
        let plain =
            (1..=14).contains(&digits.len()) && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if plain { i64::from_str_radix(digits, 16).ok() } else { None }
    });
    let mut next = || numbers.next().flatten();
    let (from, to, at, skip) = (next()?, next()?, next()?, usize::try_from(next()?).ok()?);
    let fits = from <= at && at <= to && to <= MAX_TIMESTAMP && skip <= MAX_PAGE_POINTS;
    if !fits || numbers.next().is_some() {
        return None;
    }
    Some(Cursor { order, window: Window { from, to }, place: Place { at, skip } })
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let (early, late) = (1_767_225_600_000, 1_767_225_600_001);
        for (order, from, to, at, skip) in
            [(Order::Asc, 0, MAX_TIMESTAMP, 0, 0), (Order::Desc, early, late, late, MAX_PAGE_POINTS)]
        {
            let cursor = Cursor { order, window: Window { from, to }, place: Place { at, skip } };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn other_text_is_no_cursor() {
        for bad in [
            "",
            "a",
            "x1-2-1-0",
            "a1-2-1",
            "a-2-1-0",
            "a1-2-1-0-",
            "a+1-2-1-0",
            "aG-1-0-0",
            "é1-2-1-0",
            "a111111111111111-1-0-0",
            "a2-1-1-0",
            "a2-3-4-0",
            "a2-3-2-fffff",
        ] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
