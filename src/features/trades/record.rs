//! Records the trades that callers report.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::error::TradeError;
use super::interval::DAY;
use super::model::{MAX_TRADES, ReportedTrade, TradeReceipt, TradeReceiptItem, TradeReport};
use super::service::TradeService;
use crate::clock::UnixMillis;
use crate::redis::{Effect, FencingToken};
use crate::tape::{self, Appended, Decimal, NewTrade, Reference, Side, Symbol};

/// How far the time of a trade may be ahead, milliseconds: clocks differ.
const MAX_AHEAD: i64 = 5_000;

/// How old a reported trade may be, milliseconds. Candles of 15 minutes are kept longer, so a late trade corrects them.
const MAX_AGE: i64 = 365 * DAY;

impl TradeService {
    /// Appends trades to the tape of their symbol, all or none. A trade whose id the tape has is not appended again.
    ///
    /// # Errors
    /// [`TradeError::Invalid`], [`TradeError::Reused`], [`TradeError::Behind`], [`TradeError::Redis`]. A repetition of the
    /// call is safe, even if its outcome is unknown.
    pub(super) async fn record(
        &self,
        report: TradeReport,
        token: Option<FencingToken>,
    ) -> Result<TradeReceipt, TradeError> {
        let count = report.trades.len();
        let recorded = self.append(report, token).await;
        match &recorded {
            Ok(receipt) => {
                self.metrics.count("stored", receipt.stored);
                self.metrics.count("repeated", receipt.replayed);
            }
            Err(_) => self.metrics.count("refused", count),
        }
        recorded
    }

    async fn append(&self, report: TradeReport, token: Option<FencingToken>) -> Result<TradeReceipt, TradeError> {
        let TradeReport { symbol, trades } = report;
        validate(&trades, self.clock.now())?;
        self.check_window(&symbol, &trades).await?;
        let ids: Vec<String> = trades.iter().map(|trade| trade.trade_id.to_string()).collect();
        let trades: Vec<NewTrade> = trades.into_iter().map(new_trade).collect();
        let keys = self.candles.keys.tape(&symbol);
        let fence = token.map(|token| self.redis.fence(keys.fence.clone(), token));
        self.listing.list(&symbol).await?;
        let appended = self.redis.call(tape::append(&keys, fence.as_ref(), &trades, &self.clock)).await?;
        let entries = match appended {
            Appended::All(entries) => entries,
            Appended::Reused(index) => return Err(TradeError::Reused { index }),
            Appended::Full => return Err(TradeError::Behind(symbol)),
        };
        self.forget_statistics(&symbol);
        let replayed = entries.iter().filter(|(_, replayed)| *replayed).count();
        let item = |(trade_id, (tape_id, replayed)): (String, (String, bool))| TradeReceiptItem {
            trade_id,
            tape_id,
            replayed,
        };
        let items: Vec<TradeReceiptItem> = ids.into_iter().zip(entries).map(item).collect();
        Ok(TradeReceipt { symbol, stored: items.len() - replayed, replayed, items })
    }
}

impl TradeService {
    /// Whether the window can take the trades, if files keep its minutes.
    async fn check_window(&self, symbol: &Symbol, trades: &[ReportedTrade]) -> Result<(), TradeError> {
        if !self.window.has_directory() {
            return Ok(());
        }
        let limit = self.window.late_limit;
        let oldest = self.clock.now().saturating_sub_unsigned(limit.as_millis());
        if let Some(index) = trades.iter().position(|trade| trade.timestamp.is_some_and(|time| time < oldest)) {
            return Err(TradeError::TooLate { index, limit });
        }
        let mut count = redis::cmd("ZCARD");
        count.arg(&self.candles.keys.tape(symbol).window.index);
        let minutes: u64 = self.redis.query(&count, Effect::Read).await?;
        if minutes >= self.window.most_minutes() {
            return Err(TradeError::ArchiveBehind(symbol.clone()));
        }
        Ok(())
    }
}

fn validate(trades: &[ReportedTrade], now: UnixMillis) -> Result<(), TradeError> {
    let refuse = |field: String, rule: String| Err(TradeError::Invalid { field, rule });
    if !(1..=MAX_TRADES).contains(&trades.len()) {
        return refuse("/trades".to_owned(), format!("must have 1 to {MAX_TRADES} items, got {}", trades.len()));
    }
    let mut ids = HashSet::new();
    for (at, trade) in trades.iter().enumerate() {
        if !ids.insert(trade.trade_id.as_str()) {
            return refuse(format!("/trades/{at}/trade_id"), "must not be repeated".to_owned());
        }
        if trade.quantity <= Decimal::default() {
            return refuse(format!("/trades/{at}/quantity"), format!("must be above 0, got {}", trade.quantity));
        }
        if let Some(timestamp) = trade.timestamp
            && !(now - MAX_AGE..=now + MAX_AHEAD).contains(&timestamp)
        {
            let rule = format!("must be at most 365 days ago and at most 5 s ahead of {now}, got {timestamp}");
            return refuse(format!("/trades/{at}/timestamp"), rule);
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
