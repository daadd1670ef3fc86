//! A minute of trades: its candle, and its volumes by price and side.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::amount::Decimal;
use super::candle::Candle;
use super::sum::Sum;
use super::trade::{Side, Trade};

/// The length of a minute, milliseconds.
pub const MINUTE: i64 = 60_000;

/// The most price levels of a minute.
pub const MAX_LEVELS: usize = 1_000;

/// The volumes of a price level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// The volume that takers bought.
    pub buy: Sum,
    /// The volume that takers sold.
    pub sell: Sum,
    /// The volume of all trades, those without a taker included.
    pub total: Sum,
    pub trades: u64,
}

impl From<&Trade> for Level {
    fn from(trade: &Trade) -> Self {
        let (quantity, none) = (Sum::from(trade.quantity), Sum::default());
        let (buy, sell) = match trade.side {
            Some(Side::Buy) => (quantity, none),
            Some(Side::Sell) => (none, quantity),
            None => (none, none),
        };
        Self { buy, sell, total: quantity, trades: 1 }
    }
}

impl Level {
    /// Adds the trades of another level.
    pub fn add(&mut self, other: &Self) {
        self.buy = self.buy + other.buy;
        self.sell = self.sell + other.sell;
        self.total = self.total + other.total;
        self.trades += other.trades;
    }

    fn contains(&self, other: &Self) -> bool {
        self.buy >= other.buy && self.sell >= other.sell && self.total >= other.total && self.trades >= other.trades
    }
}

/// The volumes of a number of price levels, which may be ranges of prices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// The width of a level, 1 or 2 times a power of ten; `None` if each level is one exact price.
    pub size: Option<Decimal>,
    /// The volumes by the lowest price of the level.
    pub by_price: BTreeMap<Decimal, Level>,
}

impl Levels {
    /// Adds other levels, and makes levels wider until there are at most `limit`. Volumes stay exact.
    pub fn add(&mut self, other: &Self, limit: usize) {
        if let Some(size) = self.size.max(other.size) {
            self.widen(size);
        }
        for (price, level) in &other.by_price {
            self.add_level(*price, level);
        }
        self.limit(limit);
    }

    fn add_level(&mut self, price: Decimal, level: &Level) {
        let price = self.size.map_or(price, |size| floor(price, size));
        self.by_price.entry(price).or_default().add(level);
    }

    fn limit(&mut self, limit: usize) {
        while self.by_price.len() > limit.max(1) {
            self.widen(self.size.map_or_else(|| self.tick(), wider));
        }
    }

    /// Merges levels to those of `size`, unless they are wider.
    pub fn widen(&mut self, size: Decimal) {
        if self.size.is_some_and(|own| own >= size) {
            return;
        }
        self.size = Some(size);
        for (price, level) in std::mem::take(&mut self.by_price) {
            self.by_price.entry(floor(price, size)).or_default().add(&level);
        }
    }

    /// Whether these levels have at least the volumes of the other ones.
    pub fn contain(&self, other: &Self) -> bool {
        let (mut all, mut part) = (self.clone(), other.clone());
        if let Some(size) = self.size.max(other.size) {
            all.widen(size);
            part.widen(size);
        }
        let has = |(price, level): (&Decimal, &Level)| all.by_price.get(price).is_some_and(|own| own.contains(level));
        part.by_price.iter().all(has)
    }

    /// The largest power of ten that divides all prices.
    fn tick(&self) -> Decimal {
        let mut tick = 10_i128.pow(u32::from(Decimal::SCALE));
        while tick > 1 && self.by_price.keys().any(|price| price.units() % tick != 0) {
            tick /= 10;
        }
        Decimal::of_units(tick)
    }
}

/// Whether a width is 1 or 2 times a power of ten: of two such widths, one divides the other.
pub fn is_level_size(size: Decimal) -> bool {
    let mut units = size.units();
    while units > 0 && units % 10 == 0 {
        units /= 10;
    }
    [1, 2].contains(&units)
}

/// The next width: 2 after 1, and 10 after 2.
fn wider(size: Decimal) -> Decimal {
    let mut leading = size.units();
    while leading >= 10 {
        leading /= 10;
    }
    Decimal::of_units(size.units() * if leading == 1 { 2 } else { 5 })
}

/// The lowest price of the level that contains a price.
fn floor(price: Decimal, size: Decimal) -> Decimal {
    Decimal::of_units(price.units() - price.units().rem_euclid(size.units().max(1)))
}

/// The trades of a minute, or some of them. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minute {
    pub candle: Candle,
    pub levels: Levels,
}

impl From<&Trade> for Minute {
    fn from(trade: &Trade) -> Self {
        let levels = Levels { size: None, by_price: BTreeMap::from([(trade.price, Level::from(trade))]) };
        Self { candle: Candle::from(trade), levels }
    }
}

impl Minute {
    /// Adds a trade that came later to the tape than those of this minute.
    pub fn add_trade(&mut self, later: &Trade) {
        self.candle.add(&Candle::from(later));
        self.levels.add_level(later.price, &Level::from(later));
        self.levels.limit(MAX_LEVELS);
    }

    /// Adds trades that came later to the tape than those of this minute.
    pub fn add(&mut self, later: &Self) {
        self.candle.add(&later.candle);
        self.levels.add(&later.levels, MAX_LEVELS);
    }

    /// Whether this minute has all trades of the other one, as far as volumes show.
    pub fn contains(&self, other: &Self) -> bool {
        self.candle.trades >= other.candle.trades && self.levels.contain(&other.levels)
    }

    /// The text that Redis stores: the width of the levels or `-`, the candle, and for each level `|` and its price, buy
    /// volume, sell volume, total volume and number of trades.
    pub fn encode(&self) -> String {
        let mut text = self.levels.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        text.push(' ');
        text.push_str(&self.candle.encode());
        for (price, Level { buy, sell, total, trades }) in &self.levels.by_price {
            // Writing to a String cannot fail.
            let _ = write!(text, "|{price} {buy} {sell} {total} {trades}");
        }
        text
    }

    /// Reads what [`Minute::encode`] writes; `None` for another text.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split('|');
        let (size, candle) = parts.next()?.split_once(' ')?;
        let size = if size == "-" { None } else { Some(size.parse().ok()?) };
        let mut by_price = BTreeMap::new();
        for part in parts {
            let words: Vec<&str> = part.split(' ').collect();
            let [price, buy, sell, total, trades] = words.as_slice() else { return None };
            let [buy, sell, total] = [buy, sell, total].map(|volume| volume.parse().ok());
            let level = Level { buy: buy?, sell: sell?, total: total?, trades: trades.parse().ok()? };
            by_price.insert(price.parse().ok()?, level);
        }
        Some(Self { candle: Candle::decode(candle)?, levels: Levels { size, by_price } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(price: &str, quantity: &str, side: Option<Side>) -> Minute {
        let [price, quantity] = [price, quantity].map(|text| text.parse().expect(text));
        Minute::from(&Trade { id: "t".to_owned(), timestamp: 5, price, quantity, side })
    }

    fn decimal(text: &str) -> Decimal {
        text.parse().expect(text)
    }

    #[test]
    fn volumes_are_kept_by_price_and_side() {
        let mut all = minute("3.41", "0.1", Some(Side::Buy));
        for (price, quantity, side) in
            [("3.410", "0.2", Some(Side::Sell)), ("3.41", "0.3", None), ("-2.5", "7", Some(Side::Sell))]
        {
            all.add(&minute(price, quantity, side));
        }
        let text = all.encode();
        assert!(text.ends_with("|-2.5 0 7 7 1|3.41 0.1 0.2 0.6 3"), "{text}");
        assert_eq!(Minute::decode(&text), Some(all.clone()));
        assert!(all.contains(&minute("3.41", "0.2", Some(Side::Sell))));
        assert!(!all.contains(&minute("3.41", "0.2", Some(Side::Buy))));
        for other in ["", "-", "- 1", "- 1 1 1 1 1 1 1 1 1|1 2", "x 1 1 1 1 1 1 1 1 1|1 1 1 1 1"] {
            assert_eq!(Minute::decode(other), None, "{other}");
        }
    }

    #[test]
    fn more_levels_than_the_limit_become_wider_without_losing_volume() {
        let (mut all, mut count) = (minute("10.00", "1", Some(Side::Buy)), 1_u64);
        for cents in 1..5_000 {
            all.add(&minute(&decimal_of_cents(1_000 + cents), "1", Some(Side::Buy)));
            count += 1;
        }
        assert!(all.levels.by_price.len() <= MAX_LEVELS);
        assert_eq!(all.levels.size, Some(decimal("0.1")), "0.01 and 0.02 are too narrow for 5,000 prices");
        let total = all.levels.by_price.values().fold(Sum::default(), |sum, level| sum + level.total);
        assert_eq!((total.to_string(), all.candle.trades), (count.to_string(), count));
        // The order of the trades makes no difference, even if the prices are below 0.
        let mut parts = [minute("-0.05", "1", None), minute("-0.15", "1", None)];
        for part in &mut parts {
            part.levels.widen(decimal("0.1"));
        }
        assert_eq!(
            parts.map(|part| part.levels.by_price.keys().next().map(ToString::to_string)),
            [Some("-0.1".to_owned()), Some("-0.2".to_owned())]
        );
    }

    fn decimal_of_cents(cents: u32) -> String {
        format!("{}.{:02}", cents / 100, cents % 100)
    }

    #[test]
    fn of_two_widths_one_divides_the_other() {
        let mut sizes = vec![decimal("0.000000000000000001")];
        while sizes.last().is_some_and(|size| *size < decimal("100000")) {
            sizes.push(wider(sizes[sizes.len() - 1]));
        }
        for pair in sizes.windows(2) {
            assert_eq!(pair[1].units() % pair[0].units(), 0);
        }
        assert!(sizes.into_iter().all(is_level_size));
        for other in ["0", "-1", "5", "0.3", "12"] {
            assert!(!is_level_size(decimal(other)), "{other}");
        }
    }
}
