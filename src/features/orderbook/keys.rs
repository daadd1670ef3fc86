//! The Redis keys of order books.
//!
//! All keys of a book have the symbol as their hash tag, so they share a cluster slot. Unless stated otherwise they expire
//! [`book_life`](super::config::OrderBookConfig::book_life) after the last change of the book, and DELETE removes them.
//!
//! | key | type | TTL |
//! |---|---|---|
//! | `orderbook:{<symbol>}:state` | hash: generation, sequence, rules | |
//! | `orderbook:{<symbol>}:buy`, `:sell` | sorted sets of orders, best first | |
//! | `orderbook:{<symbol>}:buy:levels`, `:sell:levels` | sorted sets of prices, best first | |
//! | `orderbook:{<symbol>}:levels` | hash: totals of prices; owners who have the most orders | |
//! | `orderbook:{<symbol>}:orders` | hash: records of orders | |
//! | `orderbook:{<symbol>}:expiry` | sorted set of order ids by their end | |
//! | `orderbook:{<symbol>}:deltas` | stream of changes, the newest 10,000 | |
//! | `orderbook:{<symbol>}:owner:<owner>` | sorted set of order ids by arrival; may have ids of ended orders | 8 days after its last order; DELETE leaves it |
//! | `orderbook:{<symbol>}:done:<hour>` | hash: orders that ended in this hour | 3 hours |
//! | `orderbook:{<symbol>}:fills:<hour>` | hash: trades that were reported in this hour | 3 hours |
//! | `orderbook:{<symbol>}:next:*` | a snapshot that is being written | 10 minutes |
//! | `orderbook:{<symbol>}:metadata` | hash of the platform: best prices; the service never reads it | 5 minutes |
//! | `orderbook:{<symbol>}:published` | string: the last sequence whose events are published | |
//! | `orderbook:{<symbol>}:fence:matching` | integer: the highest fencing token of the matching engine | `fencing.outlive` after the book; DELETE leaves it |
//! | `orderbook:{<symbol>}:moved` | channel that announces sequences | |
//! | `tape:{<symbol>}` | stream of trades, at most 1,000,000; its reader trims it, DELETE leaves it | |
//! | `orderbooks` | sorted set of symbols by their last change, Unix seconds | |
//! | `orderbooks:follower` | string: when the replica that follows the books last reported progress, Unix ms | none |

use super::identifier::Owner;
use super::record::word;
use crate::redis::{Key, KeySpace};
use crate::tape::{Symbol, WindowKeys, tape_of};

/// The hours of ended orders and trades that a call names: two before now and one after it, in case clocks differ.
const HOURS: std::ops::RangeInclusive<i64> = -2..=1;
const HOUR_MS: i64 = 3_600_000;

/// The keys that a snapshot replaces, in the order of the scripts.
const REPLACED: [&str; 7] = ["buy", "sell", "buy:levels", "sell:levels", "levels", "orders", "expiry"];

/// The keys of one book.
#[derive(Clone, Debug)]
pub(super) struct BookKeys<'a> {
    space: &'a KeySpace,
    symbol: &'a Symbol,
    /// The hour of the first key in [`BookKeys::hours`], since 1970.
    pub first_hour: i64,
}

impl<'a> BookKeys<'a> {
    /// `now` is the service's time, Unix milliseconds.
    pub(super) fn new(space: &'a KeySpace, symbol: &'a Symbol, now: i64) -> Self {
        Self { space, symbol, first_hour: now.div_euclid(HOUR_MS) + HOURS.start() }
    }

    fn part(&self, name: impl std::fmt::Display) -> Key {
        self.space.key(format_args!("orderbook:{{{}}}:{name}", self.symbol))
    }

    /// The keys with which every script of a book begins, in their order.
    pub(super) fn book(&self) -> Vec<Key> {
        let names = [&["state"], REPLACED.as_slice(), &["deltas"]].concat();
        let mut keys: Vec<Key> = names.iter().map(|name| self.part(name)).collect();
        keys.extend(self.hours("done"));
        keys
    }

    fn hours(&self, name: &str) -> impl Iterator<Item = Key> {
        let (first, count) = (self.first_hour, HOURS.end() - HOURS.start() + 1);
        (first..first + count).map(move |hour| self.part(format_args!("{name}:{hour}")))
    }

    pub(super) fn fills(&self) -> Vec<Key> {
        self.hours("fills").collect()
    }

    /// The keys of a snapshot that is being written: its progress, and what replaces the keys of the book.
    pub(super) fn staged(&self) -> Vec<Key> {
        let parts = REPLACED.iter().map(|name| self.part(format_args!("next:{name}")));
        std::iter::once(self.part("next:progress")).chain(parts).collect()
    }

    pub(super) fn staged_orders(&self) -> Key {
        self.part("next:orders")
    }

    /// Every key that DELETE removes, the state first.
    pub(super) fn all(&self) -> Vec<Key> {
        let mut keys = self.book();
        keys.extend(self.fills());
        keys.extend(self.staged());
        keys.extend([self.metadata(), self.published()]);
        keys
    }

    pub(super) fn state(&self) -> Key {
        self.part("state")
    }

    pub(super) fn owner(&self, owner: &Owner) -> Key {
        self.part(format_args!("owner:{}", word(owner.as_str())))
    }

    pub(super) fn metadata(&self) -> Key {
        self.part("metadata")
    }

    pub(super) fn published(&self) -> Key {
        self.part("published")
    }

    pub(super) fn fence(&self) -> Key {
        self.part("fence:matching")
    }

    pub(super) fn moved(&self) -> Key {
        self.part("moved")
    }

    pub(super) fn tape(&self) -> Key {
        tape_of(self.space, self.symbol)
    }

    /// The minutes of the window of trades.
    pub(super) fn window(&self) -> Key {
        WindowKeys::new(self.space, self.symbol.as_str()).index
    }
}

pub(super) fn index(space: &KeySpace) -> Key {
    space.key("orderbooks")
}

pub(super) fn follower(space: &KeySpace) -> Key {
    space.key("orderbooks:follower")
}
