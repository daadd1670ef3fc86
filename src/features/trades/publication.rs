//! The events of trades: each entry of a tape becomes `TradeExecuted`, and the newest price `PriceUpdate`.
//!
//! Fills of the order book and reported trades are both on the tape, so both are published here. The publication has a position
//! of its own on each tape, which moves after its messages were published. What a crash repeats has the same ids, by which
//! channels recognise it.

use serde::Serialize;

use super::error::TradeError;
use super::service::TradeService;
use crate::clock::UnixMillis;
use crate::events::{ChannelName, Message};
use crate::tape::{self, Advance, Decimal, Entry, Symbol, Trade, WindowChange};

/// The name of the publication's position on a tape.
const READER: &str = "published";

/// The most entries of one step.
const STEP: usize = 500;

/// The most steps of one round, so that a busy tape does not delay the others.
const STEPS: usize = 10;

/// The data of `TradeExecuted`.
#[derive(Serialize)]
struct TradeExecuted<'a> {
    trade_id: &'a str,
    symbol: &'a Symbol,
    price: Decimal,
    quantity: Decimal,
    buyer: &'a str,
    seller: &'a str,
    timestamp: UnixMillis,
}

/// The data of `PriceUpdate`.
#[derive(Serialize)]
struct PriceUpdate<'a> {
    symbol: &'a Symbol,
    price: Decimal,
    timestamp: UnixMillis,
    /// The change within 24 hours; 0 if the first price was 0.
    change_percent: Decimal,
}

impl TradeService {
    /// Publishes the trades of a tape that are not published yet.
    ///
    /// # Errors
    /// [`TradeError::Behind`], [`TradeError::Redis`]. What was published may be published again.
    pub(super) async fn publish(&self, symbol: &Symbol) -> Result<(), TradeError> {
        let keys = self.candles.keys.tape(symbol);
        for _ in 0..STEPS {
            let pending = self.redis.call(tape::pending(&keys, READER, STEP)).await?;
            let Some((position, _)) = pending.entries.last() else { return Ok(()) };
            if let Ok(channel) = ChannelName::parse(&format!("market:events:{symbol}")) {
                let trades: Vec<(&Entry, Trade)> =
                    pending.entries.iter().filter_map(|entry| Some((entry, Trade::of_entry(entry)?))).collect();
                let mut messages: Vec<Message> =
                    trades.iter().filter_map(|(entry, trade)| executed(symbol, entry, trade)).collect();
                messages.extend(self.price(symbol, &trades).await?);
                let items: Vec<_> = messages.into_iter().map(|message| (channel.clone(), message)).collect();
                self.events.publish_of_service(&items).await?;
            }
            let expected = &pending.position;
            let step = Advance {
                reader: READER,
                expected,
                position,
                trims: false,
                window: &WindowChange::default(),
                results: &[],
            };
            self.redis.call(tape::advance(&keys, &step, &self.clock)).await?;
            if pending.entries.len() < STEP {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The new price of a symbol; `None` if later trades have another one.
    async fn price(&self, symbol: &Symbol, trades: &[(&Entry, Trade)]) -> Result<Option<Message>, TradeError> {
        // Of trades of the same time, the last one counts.
        let Some((entry, trade)) = trades.iter().max_by_key(|(_, trade)| trade.timestamp) else { return Ok(None) };
        self.forget_statistics(symbol);
        let statistics = self.statistics(symbol).await?;
        if statistics.last != Some(trade.price) {
            return Ok(None);
        }
        let data = PriceUpdate {
            symbol,
            price: trade.price,
            timestamp: trade.timestamp,
            change_percent: statistics.change_percent.unwrap_or_default(),
        };
        Ok(Message::of_service(format!("price-{symbol}-{}", entry.0), "PriceUpdate", symbol.as_str(), &data))
    }
}

fn executed(symbol: &Symbol, entry: &Entry, trade: &Trade) -> Option<Message> {
    let party = |name| tape::field(entry, name).unwrap_or_default();
    let data = TradeExecuted {
        trade_id: &trade.id,
        symbol,
        price: trade.price,
        quantity: trade.quantity,
        buyer: party("buyer"),
        seller: party("seller"),
        timestamp: trade.timestamp,
    };
    Message::of_service(format!("trade-{symbol}-{}", entry.0), "TradeExecuted", &trade.id, &data)
}
