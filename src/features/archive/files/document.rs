//! The content of a minute's file: one line of JSON, whose numbers have all their digits.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::calendar;
use crate::clock::UnixMillis;
use crate::tape::{Candle, Decimal, Level, Levels, Minute, Sum, Symbol};

/// What a minute's file says, besides its trades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    pub symbol: Symbol,
    pub minute: UnixMillis,
    pub version: u32,
    pub rev: u64,
    /// Whether it comes from files that have no candle: then `sum` has no open, no close and no times.
    pub is_imported: bool,
}

/// The bytes of a file. The same minute in the same version always has the same bytes.
pub fn encode(heading: &Heading, trades: &Minute) -> Vec<u8> {
    let Heading { symbol, minute, version, rev, is_imported } = heading;
    let Candle { open, high, low, close, volume, quote, trades: count, first, last } = &trades.candle;
    let size = trades.levels.size.map_or_else(|| "null".to_owned(), |size| size.to_string());
    let known = |value: &dyn fmt::Display| if *is_imported { "null".to_owned() } else { value.to_string() };
    let (open, close, quote, first, last) = (known(open), known(close), known(quote), known(first), known(last));
    let mut text = format!(
        "{{\"timestamp\": \"{}\", \"symbol\": \"{symbol}\", \"version\": {version}, \"rev\": {rev}, \"complete\": true, \
         \"level_size\": {size}, \"sum\": {{\"open\": {open}, \"high\": {high}, \"low\": {low}, \"close\": {close}, \
         \"volume\": {volume}, \"quote_volume\": {quote}, \"trades\": {count}, \"first_trade\": {first}, \
         \"last_trade\": {last}}}, \"price_levels\": {{",
        calendar::timestamp(*minute)
    );
    for (at, (price, level)) in trades.levels.by_price.iter().enumerate() {
        let Level { buy, sell, total, trades: count } = level;
        let comma = if at == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{comma}\"{price}\": {{\"price_level\": {price}, \"buy_volume\": {buy}, \"sell_volume\": {sell}, \
             \"total_volume\": {total}, \"delta\": {}, \"trade_count\": {count}}}",
            *buy - *sell
        );
    }
    text.push_str("}}\n");
    text.into_bytes()
}

#[derive(Deserialize)]
struct RawFile<'a> {
    timestamp: &'a str,
    symbol: Symbol,
    version: u32,
    rev: u64,
    #[serde(borrow)]
    level_size: Option<&'a RawValue>,
    #[serde(borrow)]
    sum: RawSum<'a>,
    #[serde(borrow)]
    price_levels: BTreeMap<&'a str, RawLevel<'a>>,
}

#[derive(Deserialize)]
struct RawSum<'a> {
    #[serde(borrow)]
    open: Option<&'a RawValue>,
    #[serde(borrow)]
    high: &'a RawValue,
    #[serde(borrow)]
    low: &'a RawValue,
    #[serde(borrow)]
    close: Option<&'a RawValue>,
    #[serde(borrow)]
    volume: &'a RawValue,
    #[serde(borrow)]
    quote_volume: Option<&'a RawValue>,
    trades: u64,
    first_trade: Option<UnixMillis>,
    last_trade: Option<UnixMillis>,
}

#[derive(Deserialize)]
struct RawLevel<'a> {
    #[serde(borrow)]
    buy_volume: &'a RawValue,
    #[serde(borrow)]
    sell_volume: &'a RawValue,
    #[serde(borrow)]
    total_volume: &'a RawValue,
    trade_count: u64,
}

/// Reads what [`encode`] writes, and checks that the levels have the sum that the file states.
///
/// # Errors
/// What is wrong with the content.
pub fn decode(bytes: &[u8]) -> Result<(Heading, Minute), String> {
    let file: RawFile<'_> = serde_json::from_slice(bytes).map_err(|error| format!("is not a minute: {error}"))?;
    let number = |raw: &RawValue| raw.get().parse::<Decimal>().map_err(|rule| format!("{} {rule}", raw.get()));
    let sum = |raw: &RawValue| raw.get().parse::<Sum>().map_err(|()| format!("{} is not a sum", raw.get()));
    let mut by_price = BTreeMap::new();
    let mut all = Level::default();
    for (price, level) in &file.price_levels {
        let level = Level {
            buy: sum(level.buy_volume)?,
            sell: sum(level.sell_volume)?,
            total: sum(level.total_volume)?,
            trades: level.trade_count,
        };
        all.add(&level);
        by_price.insert(price.parse::<Decimal>().map_err(|rule| format!("{price} {rule}"))?, level);
    }
    let minute = calendar::minute_of_timestamp(file.timestamp).ok_or("has no timestamp in UTC")?;
    let (low, high) = (number(file.sum.low)?, number(file.sum.high)?);
    let candle = Candle {
        open: file.sum.open.map_or(Ok(low), number)?,
        high,
        low,
        close: file.sum.close.map_or(Ok(high), number)?,
        volume: sum(file.sum.volume)?,
        quote: file.sum.quote_volume.map_or(Ok(Sum::default()), sum)?,
        trades: file.sum.trades,
        first: file.sum.first_trade.unwrap_or(minute),
        last: file.sum.last_trade.unwrap_or(minute),
    };
    if (all.total, all.trades) != (candle.volume, candle.trades) {
        return Err("its levels have another sum than the file states".to_owned());
    }
    let size = file.level_size.map(number).transpose()?;
    let is_imported = file.sum.open.is_none();
    let heading = Heading { symbol: file.symbol, minute, version: file.version, rev: file.rev, is_imported };
    Ok((heading, Minute { candle, levels: Levels { size, by_price } }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{MINUTE, Side, Trade};

    #[test]
    fn a_file_has_all_digits() {
        let trade = |timestamp, price: &str, quantity: &str, side| {
            let [price, quantity] = [price, quantity].map(|text| text.parse().expect(text));
            Trade { id: "t".to_owned(), timestamp, price, quantity, side }
        };
        let start = 1_729_693_800_000;
        let mut trades = Minute::from(&trade(start, "60000.00", "1.5", Some(Side::Buy)));
        trades.add_trade(&trade(start + 5, "60000", "0.00007", Some(Side::Sell)));
        trades.add_trade(&trade(start + 9, "-0.41524", "0.000000000000000001", None));
        let symbol = Symbol::try_from("GRID".to_owned()).expect("a symbol");
        let heading = Heading { symbol, minute: start - start % MINUTE, version: 1, rev: 17, is_imported: false };
        let bytes = encode(&heading, &trades);
        let text = String::from_utf8(bytes.clone()).expect("text");
        assert!(
            text.starts_with("{\"timestamp\": \"2024-10-23T14:30:00.000000Z\", \"symbol\": \"GRID\", \"version\": 1")
        );
        assert!(
            text.contains("\"60000\": {\"price_level\": 60000, \"buy_volume\": 1.5, \"sell_volume\": 0.00007, "),
            "{text}"
        );
        assert_eq!(decode(&bytes), Ok((heading, trades)));
        for (from, to) in [("\"trades\": 3", "\"trades\": 4"), ("\"GRID\"", "\"a b\""), ("00Z", "00")] {
            let other = text.replace(from, to);
            assert!(other != text && decode(other.as_bytes()).is_err(), "{from}");
        }
        assert!(decode(b"").is_err() && decode(&text.as_bytes()[..text.len() / 2]).is_err());
    }
}
