//! Snapshots that replace the levels of a book.

use std::collections::HashSet;

use super::error::BookError;
use super::model::{BookReplaced, BookSnapshot, SnapshotLevel};
use super::rules::{Kind, Rules, Side};
use super::scripts::{self, SnapshotPart, thirty_digits};
use super::service::OrderBookService;
use crate::random;
use crate::redis::FencingToken;
use crate::tape::Symbol;

/// The levels of one script call: 1 ms of Redis's time.
const PART: usize = 500;
/// The most orders of a level.
const MAX_COUNT: u64 = 1_000_000;

impl OrderBookService {
    /// Replaces all levels of a book. Readers see the old levels until the last part is stored.
    ///
    /// # Errors
    /// [`BookError::StaleSnapshot`] if the book has a newer one, or another one has begun; [`BookError::FenceRequired`]; an
    /// invalid level. The book is unchanged then.
    pub(super) async fn replace(
        &self,
        symbol: &Symbol,
        snapshot: &BookSnapshot,
        token: Option<FencingToken>,
    ) -> Result<BookReplaced, BookError> {
        let _timer = self.metrics.time("replace");
        self.require_fence(token)?;
        let name = random::unique_text();
        let replaced = self.replace_by_parts(symbol, snapshot, &name, token).await;
        self.metrics.count("replace", &replaced);
        replaced
    }

    async fn replace_by_parts(
        &self,
        symbol: &Symbol,
        snapshot: &BookSnapshot,
        name: &str,
        token: Option<FencingToken>,
    ) -> Result<BookReplaced, BookError> {
        let parts = (snapshot.bids.len() + snapshot.asks.len()).div_ceil(PART).max(1);
        for at in 0..parts {
            let part = match (at, at + 1 == parts) {
                (0, true) => "only",
                (0, false) => "first",
                (_, true) => "last",
                (_, false) => "middle",
            };
            let (_, reply) = self
                .call(symbol, token, |target| {
                    let levels = levels(symbol, target.rules, snapshot)?;
                    let levels = levels.chunks(PART).nth(at).unwrap_or_default();
                    let (as_of, source) = (snapshot.as_of, snapshot.source_sequence);
                    Ok(scripts::replace_levels(target, SnapshotPart { name, part, as_of, source, levels }))
                })
                .await?;
            match reply.status.as_str() {
                "staged" => {}
                "replaced" => return Ok(BookReplaced { generation: reply.number(0), sequence: reply.number(1) }),
                "stale" => return Err(BookError::StaleSnapshot { last: reply.word(0).to_owned() }),
                _ => return Err(BookError::StaleSnapshot { last: "a snapshot that began later".to_owned() }),
            }
        }
        Err(BookError::Unreadable { what: "reply to a snapshot".to_owned() })
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
