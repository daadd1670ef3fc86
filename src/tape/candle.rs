//! Candles: the trades of an interval, in five exact numbers.

use super::amount::Decimal;
use super::sum::Sum;
use super::trade::Trade;
use crate::clock::UnixMillis;

/// The trades of an interval. A candle has at least one trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candle {
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    /// The sum of the quantities.
    pub volume: Sum,
    /// The sum of price times quantity.
    pub quote: Sum,
    pub trades: u64,
    /// The time of the first trade, Unix milliseconds, which gave `open`.
    pub first: UnixMillis,
    /// The time of the last trade, which gave `close`.
    pub last: UnixMillis,
}

impl From<&Trade> for Candle {
    fn from(trade: &Trade) -> Self {
        let price = trade.price;
        Self {
            open: price,
            high: price,
            low: price,
            close: price,
            volume: trade.quantity.into(),
            quote: Sum::product(price, trade.quantity),
            trades: 1,
            first: trade.timestamp,
            last: trade.timestamp,
        }
    }
}

impl Candle {
    /// Adds trades that came later to the tape than those of this candle. Trades are in the order of their times, and
    /// those of one time in the order of the tape.
    pub fn add(&mut self, later: &Self) {
        if later.first < self.first {
            (self.open, self.first) = (later.open, later.first);
        }
        if later.last >= self.last {
            (self.close, self.last) = (later.close, later.last);
        }
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.volume = self.volume + later.volume;
        self.quote = self.quote + later.quote;
        self.trades += later.trades;
    }

    /// The text that Redis stores: open, high, low, close, volume, quote, trades, first, last.
    pub fn encode(&self) -> String {
        let Self { open, high, low, close, volume, quote, trades, first, last } = self;
        format!("{open} {high} {low} {close} {volume} {quote} {trades} {first} {last}")
    }

    /// Reads what [`Candle::encode`] writes; `None` for another text.
    pub fn decode(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(' ').collect();
        let [open, high, low, close, volume, quote, trades, first, last] = parts.as_slice() else { return None };
        Some(Self {
            open: open.parse().ok()?,
            high: high.parse().ok()?,
            low: low.parse().ok()?,
            close: close.parse().ok()?,
            volume: volume.parse().ok()?,
            quote: quote.parse().ok()?,
            trades: trades.parse().ok()?,
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(timestamp: UnixMillis, price: &str) -> Candle {
        let [price, quantity] = [price, "0.1"].map(|text| text.parse().expect(text));
        Candle::from(&Trade { id: "t".to_owned(), timestamp, price, quantity, side: None })
    }

    #[test]
    fn open_and_close_follow_time_and_then_the_tape() {
        let mut candle = trade(10, "3");
        for (timestamp, price, open, close) in [
            (20, "5", "3", "5"),
            (20, "4", "3", "4"),
            (15, "9", "3", "4"),
            (10, "1", "3", "4"),
            (9, "-2.50", "-2.5", "4"),
            (21, "3.1", "-2.5", "3.1"),
        ] {
            candle.add(&trade(timestamp, price));
            assert_eq!((candle.open.to_string(), candle.close.to_string()), (open.to_owned(), close.to_owned()));
        }
        assert_eq!(candle.encode(), "-2.5 9 -2.5 3.1 0.7 2.26 7 9 21");
        assert_eq!(Candle::decode(&candle.encode()), Some(candle));
        for other in ["", "1 2", "1 1 1 1 1 1 1 1 x", "1 1 1 1 1e3 1 1 1 1"] {
            assert_eq!(Candle::decode(other), None, "{other}");
        }
    }
}
