//! Changes of a book after a sequence, read at once or as they come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::checksum::checksum;
use super::error::BookError;
use super::model::{BookDeltas, DeltaContent, DeltaKind, LevelChange, MAX_DELTAS, OrderChange, OrderStatus};
use super::rules::{Rules, Side};
use super::scripts::{self, Reply};
use super::service::OrderBookService;
use super::state::{BookState, RawLevel};
use crate::clock::UnixMillis;
use crate::lifecycle::large_work;
use crate::redis::unescape;
use crate::tape::Symbol;

/// How often a waiting client asks Redis without being woken, in case the announcement was lost.
const RECHECK: Duration = Duration::from_secs(1);

/// An entry of the stream of deltas.
#[derive(Clone, Debug)]
pub(super) struct Delta {
    pub sequence: u64,
    pub kind: String,
    pub at: UnixMillis,
    pub changes: Vec<RawLevel>,
    pub orders: Vec<OrderLine>,
    /// The id of the trade of a fill.
    pub trade: Option<String>,
}

/// An order in a delta.
#[derive(Clone, Debug)]
pub(super) struct OrderLine {
    pub id: String,
    pub side: Side,
    pub ticks: i64,
    pub remaining: i128,
    pub quantity: i128,
    pub owner: String,
    pub status: OrderStatus,
}

/// Deltas, and the state of the book after the last of all.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    pub deltas: Vec<Delta>,
    pub state: BookState,
}

impl Delta {
    /// Reads the six words of a delta: sequence, kind, time, changes, orders, trade.
    fn parse(words: &[String]) -> Option<Self> {
        let [sequence, kind, at, changes, orders, trade] = words else { return None };
        let lines = |text: &str, separator| {
            let lines = text.split(separator).filter(|line| !line.is_empty()).map(str::to_owned);
            lines.collect::<Vec<String>>()
        };
        Some(Self {
            sequence: sequence.parse().ok()?,
            kind: kind.clone(),
            at: at.parse().ok()?,
            changes: lines(changes, ';').iter().map(|text| RawLevel::parse(text)).collect::<Option<_>>()?,
            orders: lines(orders, '\n').iter().map(|text| OrderLine::parse(text)).collect::<Option<_>>()?,
            trade: trade.split(' ').next().filter(|id| !id.is_empty()).map(str::to_owned),
        })
    }
}

impl OrderLine {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        Some(Self {
            id: words.next()?.to_owned(),
            side: Side::of_letter(words.next()?)?,
            ticks: words.next()?.parse().ok()?,
            remaining: words.next()?.parse().ok()?,
            quantity: words.next()?.parse().ok()?,
            owner: unescape(words.next()?),
            status: match words.next()? {
                "active" => OrderStatus::Active,
                "partially_filled" => OrderStatus::PartiallyFilled,
                "filled" => OrderStatus::Filled,
                "cancelled" => OrderStatus::Cancelled,
                "expired" => OrderStatus::Expired,
                _ => return None,
            },
        })
    }
}

impl Changes {
    /// Reads the reply of `changes.lua`.
    fn parse(rules: Arc<Rules>, reply: &Reply) -> Result<Self, BookError> {
        let unreadable = || BookError::Unreadable { what: "delta".to_owned() };
        let count: usize = reply.number(3);
        let words = reply.words.get(4..4 + 6 * count).ok_or_else(unreadable)?;
        let deltas = words.chunks(6).map(Delta::parse).collect::<Option<Vec<_>>>().ok_or_else(unreadable)?;
        let mut state = BookState::empty(rules, reply.number(0), reply.number(1), reply.number(2));
        state.add_levels(reply.words.iter().skip(4 + 6 * count))?;
        Ok(Self { deltas, state })
    }

    /// The changes as one message for a client that has the sequence `after`.
    pub(super) fn into_message(self, symbol: &Symbol, after: u64, content: DeltaContent) -> BookDeltas {
        let Self { deltas, state } = self;
        let last_sequence = deltas.last().map_or(after, |delta| delta.sequence);
        let is_current = last_sequence == state.sequence;
        let is_snapshot = deltas.iter().any(|delta| delta.kind == "snapshot");
        let mut changes: Vec<LevelChange> = Vec::new();
        let mut places: HashMap<(Side, i64), usize> = HashMap::new();
        for level in deltas.iter().flat_map(|delta| &delta.changes).filter(|_| !is_snapshot) {
            let shown = level.show(&state.rules);
            let change =
                LevelChange { side: level.side, price: shown.price, quantity: shown.quantity, orders: shown.orders };
            let place = *places.entry((level.side, level.ticks)).or_insert(changes.len());
            match changes.get_mut(place) {
                Some(earlier) => *earlier = change,
                None => changes.push(change),
            }
        }
        let orders = (content == DeltaContent::Orders)
            .then(|| deltas.iter().flat_map(|delta| delta.order_changes(&state.rules)).collect());
        BookDeltas {
            symbol: symbol.clone(),
            generation: state.generation,
            kind: if is_snapshot { DeltaKind::Snapshot } else { DeltaKind::Delta },
            first_sequence: deltas.first().map_or(after + 1, |delta| delta.sequence),
            last_sequence,
            timestamp: state.updated,
            changes,
            orders,
            checksum: is_current.then(|| checksum(&state.bids, &state.asks)),
            more: !is_current,
        }
    }
}

impl Delta {
    fn order_changes<'a>(&'a self, rules: &'a Rules) -> impl Iterator<Item = OrderChange> + 'a {
        self.orders.iter().map(move |order| OrderChange {
            sequence: self.sequence,
            kind: self.kind.clone(),
            order_id: order.id.clone(),
            side: order.side,
            price: rules.print_price(order.ticks),
            quantity: rules.print_quantity(order.quantity),
            remaining: rules.print_quantity(order.remaining),
            status: order.status,
            trade_id: self.trade.clone(),
        })
    }
}

impl OrderBookService {
    /// At most [`MAX_DELTAS`] deltas after a sequence. `for_events` reads those of earlier generations too.
    ///
    /// # Errors
    /// [`BookError::DeltasTrimmed`] if some of them are gone, or a fault.
    pub(super) async fn changes(&self, symbol: &Symbol, after: u64, for_events: bool) -> Result<Changes, BookError> {
        let (rules, reply) =
            self.call(symbol, None, |target| Ok(scripts::changes(target, after, MAX_DELTAS, for_events))).await?;
        match reply.status.as_str() {
            "trimmed" => Err(BookError::DeltasTrimmed { after, sequence: reply.number(1) }),
            _ => Changes::parse(rules, &reply),
        }
    }

    /// The changes after a sequence. Without any, waits for the next one, at most for `wait`.
    ///
    /// # Errors
    /// [`BookError::DeltasTrimmed`] if the client must read the book again, or a fault.
    pub(super) async fn deltas(
        &self,
        symbol: &Symbol,
        after: u64,
        content: DeltaContent,
        wait: Duration,
    ) -> Result<BookDeltas, BookError> {
        let deadline = Instant::now() + wait;
        let mut moved: Option<watch::Receiver<()>> = None;
        loop {
            if let Some(moved) = &mut moved {
                moved.mark_unchanged();
            }
            let changes = self.changes(symbol, after, false).await?;
            if !changes.deltas.is_empty() || Instant::now() >= deadline || self.phase.is_draining() {
                return Ok(changes.into_message(symbol, after, content));
            }
            match &mut moved {
                // The book exists, so its channel may be followed. It may have changed since the call.
                None => moved = Some(self.movements.follow(&self.keys(symbol).moved())),
                Some(moved) => {
                    let recheck = deadline.min(Instant::now() + RECHECK);
                    // The sender lives as long as the service.
                    let _ = large_work::idle(tokio::time::timeout_at(recheck, moved.changed())).await;
                }
            }
        }
    }
}
