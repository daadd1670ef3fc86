//! The state of a book as scripts send it, and its reads that requests share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::error::BookError;
use super::model::Level;
use super::rules::{Kind, Rules, Side};
use super::scripts::Reply;
use crate::clock::UnixMillis;
use crate::tape::Symbol;

/// A level as scripts send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawLevel {
    pub side: Side,
    pub ticks: i64,
    /// In units of the last decimal; 0 if the level is gone.
    pub quantity: i128,
    pub orders: u64,
}

impl RawLevel {
    /// Reads `<b|s><ticks> <quantity> <orders>`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (side, ticks) = words.next()?.split_at_checked(1)?;
        Some(Self {
            side: Side::of_letter(side)?,
            ticks: ticks.parse().ok()?,
            quantity: words.next()?.parse().ok()?,
            orders: words.next()?.parse().ok()?,
        })
    }

    pub(super) fn show(&self, rules: &Rules) -> Level {
        Level {
            price: rules.print_price(self.ticks),
            quantity: rules.print_quantity(self.quantity),
            orders: self.orders,
        }
    }
}

/// The state of a book, with its best levels.
#[derive(Clone, Debug)]
pub(super) struct BookState {
    pub rules: Arc<Rules>,
    pub generation: u64,
    pub sequence: u64,
    pub updated: UnixMillis,
    pub orders: u64,
    pub as_of: Option<UnixMillis>,
    pub bids: Vec<Level>,
    pub asks: Vec<Level>,
    pub best_bid: Option<RawLevel>,
    pub best_ask: Option<RawLevel>,
}

impl BookState {
    /// Reads the reply of `view.lua`.
    pub(super) fn of(rules: Arc<Rules>, reply: &Reply) -> Result<Self, BookError> {
        let mut state = Self::empty(rules, reply.number(0), reply.number(1), reply.number(2));
        state.orders = reply.number::<u64>(3) + reply.number::<u64>(4);
        state.as_of = reply.word(5).parse().ok();
        state.add_levels(reply.words.iter().skip(6))?;
        Ok(state)
    }

    /// A state without levels.
    pub(super) fn empty(rules: Arc<Rules>, generation: u64, sequence: u64, updated: UnixMillis) -> Self {
        Self {
            rules,
            generation,
            sequence,
            updated,
            orders: 0,
            as_of: None,
            bids: Vec::new(),
            asks: Vec::new(),
            best_bid: None,
            best_ask: None,
        }
    }

    /// Adds the levels of a reply, best first.
    pub(super) fn add_levels<'a>(&mut self, levels: impl Iterator<Item = &'a String>) -> Result<(), BookError> {
        for text in levels {
            let level =
                RawLevel::parse(text).ok_or_else(|| BookError::Unreadable { what: format!("level `{text}`") })?;
            let (best, side) = match level.side {
                Side::Buy => (&mut self.best_bid, &mut self.bids),
                Side::Sell => (&mut self.best_ask, &mut self.asks),
            };
            best.get_or_insert(level);
            side.push(level.show(&self.rules));
        }
        Ok(())
    }

    pub(super) fn is_crossed(&self) -> bool {
        self.best_bid.zip(self.best_ask).is_some_and(|(bid, ask)| bid.ticks >= ask.ticks)
    }

    pub(super) fn spread(&self) -> Option<String> {
        self.best_bid.zip(self.best_ask).map(|(bid, ask)| self.rules.print_spread(bid.ticks, ask.ticks))
    }

    /// Whether the last snapshot of a book of levels is too old; `None` for orders.
    pub(super) fn is_stale(&self, now: UnixMillis, limit: u64) -> Option<bool> {
        let age = u64::try_from(now - self.updated).unwrap_or_default();
        (self.rules.kind == Kind::Levels).then_some(age > limit)
    }
}

/// The result of the last call for a view, and when that call began.
pub(super) type Latest = tokio::sync::Mutex<Option<(Instant, Arc<BookState>)>>;

/// The views that requests wait for.
#[derive(Debug, Default)]
pub(super) struct SharedViews(Mutex<HashMap<(Symbol, usize), Arc<Latest>>>);

impl SharedViews {
    pub(super) fn get(&self, symbol: &Symbol, depth: usize) -> Arc<Latest> {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(views.entry((symbol.clone(), depth)).or_default())
    }

    /// Forgets a view that no other request waits for.
    pub(super) fn release(&self, symbol: &Symbol, depth: usize, view: &Arc<Latest>) {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The map and the caller.
        if Arc::strong_count(view) <= 2 {
            views.remove(&(symbol.clone(), depth));
        }
    }
}
