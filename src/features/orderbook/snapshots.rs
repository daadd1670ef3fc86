//! Snapshots that replace the levels of a book, or its orders.

use std::collections::HashSet;

use super::actor::Actor;
use super::error::BookError;
use super::model::{BookReplaced, BookSnapshot, OrderRequest, SnapshotLevel};
use super::placing::{NewOrder, require_orders};
use super::rules::{Kind, Rules, Side};
use super::scripts::{self, Reply, SnapshotPart, thirty_digits};
use super::service::OrderBookService;
use crate::http::json_lines::JsonLines;
use crate::random;
use crate::redis::{Effect, FencingToken, Outcome};
use crate::tape::Symbol;

/// The levels and the orders of one script call: 1 ms of Redis's time.
const LEVELS: usize = 500;
const ORDERS: usize = 100;
/// The most orders of a level.
const MAX_COUNT: u64 = 1_000_000;

/// A snapshot whose parts are being stored.
struct Snapshot<'a> {
    symbol: &'a Symbol,
    name: String,
    source: Option<u64>,
    token: Option<FencingToken>,
}

impl OrderBookService {
    /// Replaces all levels of a book. Readers see the old levels until the last part is stored.
    ///
    /// # Errors
    /// [`BookError::StaleSnapshot`] if the book has a newer one, or another one has begun; [`BookError::FenceRequired`]; an
    /// invalid level. The book is unchanged then.
    pub(super) async fn replace_levels(
        &self,
        symbol: &Symbol,
        snapshot: &BookSnapshot,
        token: Option<FencingToken>,
    ) -> Result<BookReplaced, BookError> {
        let _timer = self.metrics.time("replace");
        let source = snapshot.source_sequence;
        let stored = Snapshot { symbol, name: random::unique_text(), source, token };
        let replaced = self.store_levels(&stored, snapshot).await;
        self.metrics.count("replace", &replaced);
        replaced
    }

    /// Replaces all orders of a book, each by its line; orders of one price match in the order of the lines. The book is
    /// unchanged until the last part is stored. `source` is the sender's sequence.
    ///
    /// # Errors
    /// Those of [`OrderBookService::replace_levels`], an invalid line, [`BookError::BookFull`] and [`BookError::OwnerFull`].
    /// The book is unchanged then.
    pub(super) async fn replace_orders(
        &self,
        symbol: &Symbol,
        actor: &Actor,
        lines: JsonLines,
        source: Option<u64>,
        token: Option<FencingToken>,
    ) -> Result<BookReplaced, BookError> {
        let stored = Snapshot { symbol, name: random::unique_text(), source, token };
        let replaced = self.store_orders(&stored, actor, lines).await;
        self.metrics.count("replace", &replaced);
        replaced
    }

    async fn store_levels(&self, stored: &Snapshot<'_>, snapshot: &BookSnapshot) -> Result<BookReplaced, BookError> {
        self.require_fence(stored.token)?;
        let parts = (snapshot.bids.len() + snapshot.asks.len()).div_ceil(LEVELS).max(1);
        for at in 0..parts {
            let (name, as_of, source) = (&stored.name, snapshot.as_of, stored.source);
            let part = SnapshotPart { name, before: at * LEVELS, is_last: at + 1 == parts, as_of, source };
            let called = self
                .call(stored.symbol, stored.token, |target| {
                    let levels = levels(stored.symbol, target.rules, snapshot)?;
                    Ok(scripts::replace_levels(target, part, levels.chunks(LEVELS).nth(at).unwrap_or_default()))
                })
                .await;
            let (_, reply) = self.or_discard(stored.symbol, at, called).await?;
            if let Some(replaced) = replaced(&reply)? {
                return Ok(replaced);
            }
        }
        Err(BookError::Unreadable { what: "reply to a snapshot".to_owned() })
    }

    async fn store_orders(
        &self,
        stored: &Snapshot<'_>,
        actor: &Actor,
        mut lines: JsonLines,
    ) -> Result<BookReplaced, BookError> {
        self.require_fence(stored.token)?;
        require_orders(stored.symbol, &*self.read_rules(stored.symbol).await?)?;
        let (mut before, mut orders) = (0, Vec::with_capacity(ORDERS));
        loop {
            let line = lines.next::<OrderRequest>().await?;
            let is_last = line.is_none();
            if let Some((number, request)) = line {
                let order = NewOrder::new(stored.symbol, actor, request).map_err(|error| error.on_line(number))?;
                orders.push((number, order));
                if before + orders.len() > self.config.max_orders {
                    return Err(BookError::BookFull { limit: self.config.max_orders });
                }
                if orders.len() < ORDERS {
                    continue;
                }
            }
            if let Some(replaced) = self.store_part(stored, before, &orders, is_last).await? {
                return Ok(replaced);
            }
            before += orders.len();
            orders.clear();
        }
    }

    /// Stores a part of the orders, each with its line. Returns the result after the last part.
    async fn store_part(
        &self,
        stored: &Snapshot<'_>,
        before: usize,
        orders: &[(u64, NewOrder)],
        is_last: bool,
    ) -> Result<Option<BookReplaced>, BookError> {
        let part = SnapshotPart { name: &stored.name, before, is_last, as_of: None, source: stored.source };
        let called = self
            .call(stored.symbol, stored.token, |target| {
                let mut placements = Vec::with_capacity(orders.len());
                for (number, order) in orders {
                    let placement = self.placement(stored.symbol, target, order);
                    placements.push(placement.map_err(|error| error.on_line(*number))?);
                }
                Ok(scripts::replace_orders(target, part, &placements))
            })
            .await;
        let (_, reply) = self.or_discard(stored.symbol, before, called).await?;
        let number = orders.get(reply.number::<usize>(1)).map_or(0, |(number, _)| *number);
        match reply.status.as_str() {
            "repeated" => Err(BookError::invalid("/order_id", "must not be repeated").on_line(number)),
            "owner-full" => Err(BookError::OwnerFull { limit: self.config.max_orders_per_owner }),
            "overflow" | "expires" => Err(self.refused(&reply).on_line(number)),
            _ => replaced(&reply),
        }
    }

    /// The result of a part. If Redis refused it, deletes the parts before it, which would otherwise stay until they expire.
    async fn or_discard<T>(
        &self,
        symbol: &Symbol,
        before: usize,
        called: Result<T, BookError>,
    ) -> Result<T, BookError> {
        if let Err(BookError::Redis(fault)) = &called
            && before > 0
            && fault.outcome == Outcome::NotApplied
        {
            let unlink = redis::cmd("UNLINK").arg(self.keys(symbol).staged()).take();
            if let Err(fault) = self.redis.query::<i64>(&unlink, Effect::Write).await {
                tracing::debug!(%symbol, %fault, "the parts of a snapshot stay until they expire");
            }
        }
        called
    }
}

/// The result of `replace.lua`; `None` if the snapshot has further parts.
fn replaced(reply: &Reply) -> Result<Option<BookReplaced>, BookError> {
    match reply.status.as_str() {
        "staged" => Ok(None),
        "replaced" => {
            let [generation, sequence, orders] = [reply.number(0), reply.number(1), reply.number(2)];
            Ok(Some(BookReplaced { generation, sequence, orders }))
        }
        "stale" => Err(BookError::StaleSnapshot { last: reply.word(0).to_owned() }),
        _ => Err(BookError::StaleSnapshot { last: "a snapshot that began later".to_owned() }),
    }
}

/// The levels of a snapshot as scripts store them.
fn levels(symbol: &Symbol, rules: &Rules, snapshot: &BookSnapshot) -> Result<Vec<(String, String)>, BookError> {
    if rules.kind != Kind::Levels {
        return Err(BookError::BookMode { symbol: symbol.clone() });
    }
    let mut all = Vec::with_capacity(snapshot.bids.len() + snapshot.asks.len());
    let mut seen = HashSet::new();
    for (side, field, levels) in [(Side::Buy, "bids", &snapshot.bids), (Side::Sell, "asks", &snapshot.asks)] {
        for (at, SnapshotLevel { price, quantity, orders }) in levels.iter().enumerate() {
            let ticks = rules.price(&format!("/{field}/{at}/price"), price)?;
            let units = rules.quantity(&format!("/{field}/{at}/quantity"), quantity)?;
            let orders = orders.unwrap_or(1);
            if !(1..=MAX_COUNT).contains(&orders) {
                let rule = format!("must be between 1 and {MAX_COUNT}, got {orders}");
                return Err(BookError::invalid(&format!("/{field}/{at}/orders"), rule));
            }
            if !seen.insert((side, ticks)) {
                return Err(BookError::invalid(&format!("/{field}/{at}/price"), "must not be repeated"));
            }
            all.push((format!("{}{ticks}", side.letter()), format!("{} {orders}", thirty_digits(units))));
        }
    }
    Ok(all)
}
