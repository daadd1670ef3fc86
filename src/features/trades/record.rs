//! Records the trades that callers report.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::error::TradeError;
use super::interval::DAY;
use super::model::{MAX_TRADES, ReportedTrade, TradeReceipt, TradeReceiptItem};
use super::service::TradeService;
use crate::clock::UnixMillis;
use crate::redis::{FencingToken, RedisFault};
use crate::tape::{self, Appended, Decimal, NewTrade, Reference, Side, Symbol};

/// How far the time of a trade may be ahead, milliseconds: clocks differ.
const MAX_AHEAD: i64 = 5_000;

/// How old a reported trade may be, milliseconds. Candles of 15 minutes are kept longer, so a late trade corrects them.
const MAX_AGE: i64 = 365 * DAY;

/// Trades of one symbol that a caller reports.
#[derive(Debug)]
pub(super) struct Report {
    pub symbol: Symbol,
    /// Each with its place in the body, a JSON pointer.
    pub trades: Vec<(String, ReportedTrade)>,
}

impl TradeService {
    /// Forgets the fencing tokens that the trades of a symbol have seen.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn reset_fence(&self, symbol: &Symbol, by: &str) -> Result<(), RedisFault> {
        self.redis.reset_fence(&self.candles.keys.tape(symbol).fence, by).await
    }

    /// Appends trades to the tape of their symbol, after all of them were checked. Up to [`MAX_TRADES`] are appended together
    /// or not at all, more in parts. A trade whose id the tape has is not appended again.
    ///
    /// # Errors
    /// [`TradeError::Invalid`], [`TradeError::Reused`], [`TradeError::TooLate`], [`TradeError::ArchiveBehind`],
    /// [`TradeError::Behind`], [`TradeError::Redis`]; [`TradeError::Partly`] with one of them if some parts are on the tape. A
    /// repetition of the call is safe, even if its outcome is unknown.
    pub(super) async fn record(&self, report: Report, token: Option<FencingToken>) -> Result<TradeReceipt, TradeError> {
        let Report { symbol, trades } = report;
        let count = trades.len();
        let mut receipt = TradeReceipt { symbol, stored: 0, replayed: 0, items: Vec::with_capacity(count) };
        let recorded = self.append(trades, token, &mut receipt).await;
        let stored = receipt.items.len();
        self.metrics.count("stored", receipt.stored);
        self.metrics.count("repeated", receipt.replayed);
        self.metrics.count("refused", count - stored);
        match recorded {
            Ok(()) => Ok(receipt),
            Err(error) if stored == 0 => Err(error),
            Err(error) => Err(TradeError::Partly { stored, cause: Box::new(error) }),
        }
    }

    async fn append(
        &self,
        trades: Vec<(String, ReportedTrade)>,
        token: Option<FencingToken>,
        receipt: &mut TradeReceipt,
    ) -> Result<(), TradeError> {
        validate(&trades, self.clock.now())?;
        self.check_age(&trades)?;
        let symbol = receipt.symbol.clone();
        let (places, trades): (Vec<String>, Vec<NewTrade>) =
            trades.into_iter().map(|(place, trade)| (place, new_trade(trade))).unzip();
        let keys = self.candles.keys.tape(&symbol);
        let fence = token.map(|token| self.redis.fence(keys.fence.clone(), token));
        let most = self.window.most_minutes();
        self.listing.list(&symbol).await?;
        for (trades, places) in trades.chunks(MAX_TRADES).zip(places.chunks(MAX_TRADES)) {
            let entries = match self.redis.call(tape::append(&keys, fence.as_ref(), trades, most, &self.clock)).await? {
                Appended::All(entries) => entries,
                Appended::Reused(at) => {
                    return Err(TradeError::Reused { trade: places.get(at).cloned().unwrap_or_default() });
                }
                Appended::Full => return Err(TradeError::Behind(symbol)),
                Appended::Behind => return Err(TradeError::ArchiveBehind(symbol)),
            };
            self.forget_statistics(&symbol);
            let replayed = entries.iter().filter(|(_, replayed)| *replayed).count();
            receipt.replayed += replayed;
            receipt.stored += entries.len() - replayed;
            receipt.items.extend(trades.iter().zip(entries).map(|(trade, (tape_id, replayed))| TradeReceiptItem {
                trade_id: trade.id.to_string(),
                tape_id,
                replayed,
            }));
        }
        Ok(())
    }
}

impl TradeService {
    /// Refuses trades that are too old to be added to the file of their minute, if files keep the minutes.
    fn check_age(&self, trades: &[(String, ReportedTrade)]) -> Result<(), TradeError> {
        let limit = self.window.late_limit;
        let oldest = self.clock.now().saturating_sub_unsigned(limit.as_millis());
        let is_late = |trade: &ReportedTrade| trade.timestamp.is_some_and(|time| time < oldest);
        match trades.iter().find(|(_, trade)| self.window.has_directory() && is_late(trade)) {
            Some((trade, _)) => Err(TradeError::TooLate { trade: trade.clone(), limit }),
            None => Ok(()),
        }
    }
}

fn validate(trades: &[(String, ReportedTrade)], now: UnixMillis) -> Result<(), TradeError> {
    let refuse = |field: String, rule: String| Err(TradeError::Invalid { field, rule });
    let mut ids = HashSet::with_capacity(trades.len());
    for (place, trade) in trades {
        if !ids.insert(trade.trade_id.as_str()) {
            return refuse(format!("{place}/trade_id"), "must not be repeated".to_owned());
        }
        if trade.quantity <= Decimal::default() {
            return refuse(format!("{place}/quantity"), format!("must be above 0, got {}", trade.quantity));
        }
        if let Some(timestamp) = trade.timestamp
            && !(now - MAX_AGE..=now + MAX_AHEAD).contains(&timestamp)
        {
            let rule = format!("must be at most 365 days ago and at most 5 s ahead of {now}, got {timestamp}");
            return refuse(format!("{place}/timestamp"), rule);
        }
    }
    Ok(())
}

fn new_trade(trade: ReportedTrade) -> NewTrade {
    let fingerprint = xxh3_64(said_by(&trade).as_bytes());
    let ReportedTrade {
        trade_id: id,
        price,
        quantity,
        timestamp,
        side,
        buyer,
        seller,
        buy_order_id: buy_order,
        sell_order_id: sell_order,
    } = trade;
    NewTrade { id, fingerprint, timestamp, price, quantity, side, buyer, seller, buy_order, sell_order }
}

/// What a caller has said about a trade, in one spelling.
fn said_by(trade: &ReportedTrade) -> String {
    let ReportedTrade { price, quantity, timestamp, side, buyer, seller, buy_order_id, sell_order_id, .. } = trade;
    let (timestamp, side) = (timestamp.map(|ms| ms.to_string()), side.map(Side::name));
    let references = [buyer, seller, buy_order_id, sell_order_id].map(|one| one.as_ref().map_or("", Reference::as_str));
    format!(
        "{price} {quantity} {} {} {}",
        timestamp.unwrap_or_default(),
        side.unwrap_or_default(),
        references.join(" ")
    )
}
