//! Where the next page of a range begins.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use super::backend::{Order, Window};
use super::series::MAX_TIMESTAMP;

/// What is left of a window, and from which end it is read: relative times are resolved once, for all pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub order: Order,
    pub window: Window,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::Asc => 'a',
            Order::Desc => 'd',
        };
        write!(f, "{order}{:x}-{:x}", self.window.from, self.window.to)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is no cursor of ours: send next_cursor of the page before";
        let bound = |digits: &str| {
            let plain = (1..=14).contains(&digits.len())
                && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            let number = if plain { i64::from_str_radix(digits, 16).ok() } else { None };
            number.map(|number| number.min(MAX_TIMESTAMP)).ok_or(WRONG)
        };
        let (order, bounds) = match text.split_at_checked(1) {
            Some(("a", bounds)) => (Order::Asc, bounds),
            Some(("d", bounds)) => (Order::Desc, bounds),
            _ => return Err(WRONG),
        };
        let (from, to) = bounds.split_once('-').ok_or(WRONG)?;
        Ok(Self { order, window: Window { from: bound(from)?, to: bound(to)? } })
    }
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
        for (order, from, to) in [(Order::Asc, 0, MAX_TIMESTAMP), (Order::Desc, 1_767_225_600_000, 1_767_225_600_001)] {
            let cursor = Cursor { order, window: Window { from, to } };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn other_text_is_no_cursor() {
        for bad in ["", "a", "x1-2", "a1", "a-2", "a1-", "a+1-2", "a1-2-3", "aG-1", "é1-2", "a111111111111111-1"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
