//! Files of the system that this service replaces: one for each minute, with a local time and floating-point numbers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::UnixMillis;
use crate::tape::{Candle, Decimal, Level, Levels, MAX_LEVELS, MINUTE, Minute, Sum, Symbol};

/// What is unusual about a file, and was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// The hour came twice: the file's own time of change says which of the two it was, or it is the first one.
    Ambiguous,
    /// The clocks skipped this time; it is taken as if they had not yet.
    Nonexistent,
    /// The name says another minute than the content, which counts.
    Name,
    /// It names another symbol.
    Symbol,
    /// Its totals are not those of its volumes, from which they were calculated again.
    Totals,
    /// A number has more than 18 decimals.
    Rounded,
}

/// The time in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrittenTime {
    Local(DateTime),
    Exact(Timestamp),
}

/// A file that can be read.
#[derive(Debug)]
pub struct Original {
    pub time: WrittenTime,
    /// Volumes by price. Of the candle, only `high`, `low`, `volume` and `trades` are known.
    pub trades: Minute,
    pub remarks: BTreeSet<Remark>,
}

#[derive(Deserialize)]
struct RawOriginal<'a> {
    timestamp: String,
    symbol: Option<String>,
    #[serde(borrow)]
    price_levels: BTreeMap<String, RawLevel<'a>>,
}

#[derive(Deserialize)]
struct RawLevel<'a> {
    #[serde(borrow)]
    buy_volume: &'a RawValue,
    #[serde(borrow)]
    sell_volume: &'a RawValue,
    #[serde(borrow)]
    total_volume: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    trade_count: u64,
}

/// A difference that floating-point sums may have.
const TOLERANCE: &str = "0.000000001";

/// Reads a file.
///
/// # Errors
/// What is wrong with the content.
pub fn parse(bytes: &[u8], symbol: &Symbol) -> Result<Original, String> {
    let file: RawOriginal<'_> = serde_json::from_slice(bytes).map_err(|error| format!("is not a minute: {error}"))?;
    let time = match (file.timestamp.parse::<Timestamp>(), file.timestamp.parse::<DateTime>()) {
        (Ok(time), _) => WrittenTime::Exact(time),
        (_, Ok(time)) => WrittenTime::Local(time),
        _ => return Err(format!("has the timestamp `{}`", file.timestamp.chars().take(64).collect::<String>())),
    };
    let mut remarks = BTreeSet::new();
    if file.symbol.is_some_and(|other| other != symbol.as_str()) {
        remarks.insert(Remark::Symbol);
    }
    let mut levels: BTreeMap<Decimal, Level> = BTreeMap::new();
    let (mut all, mut quote) = (Level::default(), Sum::default());
    for (key, raw) in &file.price_levels {
        let mut number = |text: &str| {
            let Number { value, is_rounded } = text.parse()?;
            if is_rounded {
                remarks.insert(Remark::Rounded);
            }
            Ok::<_, String>(value)
        };
        let (price, buy, sell) = (number(key)?, number(raw.buy_volume.get())?, number(raw.sell_volume.get())?);
        if buy.min(sell) < Decimal::default() {
            return Err(format!("has a negative volume at {key}"));
        }
        let (exact_buy, exact_sell) = (Sum::from(buy), Sum::from(sell));
        let level = Level { buy: exact_buy, sell: exact_sell, total: exact_buy + exact_sell, trades: raw.trade_count };
        let stated = [(raw.total_volume, level.total), (raw.delta, exact_buy - exact_sell)];
        if stated.into_iter().any(|(stated, exact)| stated.is_some_and(|stated| !agrees(stated, exact))) {
            remarks.insert(Remark::Totals);
        }
        quote = quote + Sum::product(price, buy) + Sum::product(price, sell);
        all.add(&level);
        levels.entry(price).or_default().add(&level);
    }
    let (Some((low, _)), Some((high, _))) = (levels.first_key_value(), levels.last_key_value()) else {
        return Err("has no price levels".to_owned());
    };
    if all.trades == 0 {
        return Err("has no trades".to_owned());
    }
    let candle = Candle {
        open: *low,
        high: *high,
        low: *low,
        close: *high,
        volume: all.total,
        quote,
        trades: all.trades,
        first: 0,
        last: 0,
    };
    let mut kept = Levels::default();
    kept.add(&Levels { size: None, by_price: levels }, MAX_LEVELS);
    Ok(Original { time, trades: Minute { candle, levels: kept }, remarks })
}

fn agrees(stated: &RawValue, exact: Sum) -> bool {
    let Ok(Number { value, .. }) = stated.get().parse() else { return false };
    let stated = Sum::from(value);
    let difference = if stated > exact { stated - exact } else { exact - stated };
    TOLERANCE.parse().is_ok_and(|tolerance| difference <= tolerance)
}

/// A number as JSON or a key may have it.
#[derive(Debug, PartialEq, Eq)]
struct Number {
    value: Decimal,
    is_rounded: bool,
}

impl std::str::FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("has the number `{}`", text.chars().take(64).collect::<String>());
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() <= 60).ok_or_else(wrong)?;
        let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut all = format!("{whole}{fraction}");
        if whole.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        // Where the point is among the digits, after zeros on both sides.
        let point = i32::try_from(whole.len()).map_err(|_| wrong())? + exponent;
        let before = usize::try_from(1 - point.min(1)).map_err(|_| wrong())?;
        all.insert_str(0, &"0".repeat(before));
        let point = usize::try_from(point.max(1)).map_err(|_| wrong())?;
        let missing = (point + usize::from(Decimal::SCALE) + 1).saturating_sub(all.len());
        all.push_str(&"0".repeat(missing));
        let (whole, fraction) = all.split_at(point);
        let (kept, rest) = fraction.split_at(usize::from(Decimal::SCALE));
        let whole = Some(whole.trim_start_matches('0')).filter(|whole| !whole.is_empty()).unwrap_or("0");
        let magnitude: Decimal = format!("{whole}.{kept}").parse().map_err(|_| wrong())?;
        let up = i128::from(rest.bytes().next().is_some_and(|digit| digit >= b'5'));
        let units = magnitude.units() + up;
        let value = Decimal::of_units(if sign.is_empty() { units } else { -units });
        Ok(Self { value, is_rounded: rest.bytes().any(|digit| digit != b'0') })
    }
}

/// The minute of a file, and how far its neighbours were changed after their minutes.
#[derive(Debug)]
pub struct Dating {
    pub zone: TimeZone,
    /// Between the minute of the last file whose time was clear and the time at which it was changed, milliseconds.
    delay: Option<i64>,
}

impl Dating {
    pub const fn new(zone: TimeZone) -> Self {
        Self { zone, delay: None }
    }

    /// The minute of a file, which was changed at `changed`; files come in the order of their names.
    ///
    /// # Errors
    /// If the time is not within the calendar.
    pub fn minute(
        &mut self,
        time: &WrittenTime,
        changed: UnixMillis,
        remarks: &mut BTreeSet<Remark>,
    ) -> Result<UnixMillis, String> {
        let out_of_range = |error: jiff::Error| error.to_string();
        let (time, is_clear) = match time {
            WrittenTime::Exact(time) => (*time, true),
            WrittenTime::Local(local) => {
                let ambiguous = self.zone.to_ambiguous_timestamp(*local);
                match ambiguous.offset() {
                    AmbiguousOffset::Unambiguous { .. } => (ambiguous.unambiguous().map_err(out_of_range)?, true),
                    AmbiguousOffset::Gap { .. } => {
                        remarks.insert(Remark::Nonexistent);
                        (ambiguous.compatible().map_err(out_of_range)?, false)
                    }
                    AmbiguousOffset::Fold { .. } => {
                        remarks.insert(Remark::Ambiguous);
                        let [first, second] = [
                            self.zone.to_ambiguous_timestamp(*local).earlier().map_err(out_of_range)?,
                            ambiguous.later().map_err(out_of_range)?,
                        ];
                        let error = |time: &Timestamp| {
                            let delay = self.delay.unwrap_or(changed - first.as_millisecond());
                            (changed - time.as_millisecond() - delay).abs()
                        };
                        (if error(&second) < error(&first) { second } else { first }, false)
                    }
                }
            }
        };
        let time = time.as_millisecond();
        if is_clear {
            self.delay = Some(changed - time);
        }
        Ok(time - time.rem_euclid(MINUTE))
    }

    /// Whether a name such as `trades_20251024_2010.json` says this local time.
    pub fn is_name_of(&self, name: &str, time: &WrittenTime) -> bool {
        let local = match time {
            WrittenTime::Local(local) => *local,
            WrittenTime::Exact(time) => Zoned::new(*time, self.zone.clone()).datetime(),
        };
        name.starts_with(&local.strftime("trades_%Y%m%d_%H%M").to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol() -> Symbol {
        Symbol::try_from("GRID".to_owned()).expect("a symbol")
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (text, value, is_rounded) in [
            ("7e-05", "0.00007", false),
            ("60000.00", "60000", false),
            ("111479", "111479", false),
            ("-0.41524", "-0.41524", false),
            ("1.5E+3", "1500", false),
            ("0.1e1", "1", false),
            ("-0.0", "0", false),
            ("0.30000000000000004", "0.30000000000000004", false),
            ("1.2345678901234567e-05", "0.000012345678901235", true),
        ] {
            let number: Number = text.parse().expect(text);
            assert_eq!((number.value.to_string().as_str(), number.is_rounded), (value, is_rounded), "{text}");
        }
        for text in ["", "x", "1e", "1e99", "--1", "1.2.3", "1e12", "null", "NaN", ".5"] {
            assert!(text.parse::<Number>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let text = r#"{"timestamp": "2025-10-24T20:10:08.943476", "price_levels": {
            "111480": {"price_level": 111480.0, "buy_volume": 7e-05, "sell_volume": 0.0, "total_volume": 7e-05,
                "delta": 7e-05, "trade_count": 1},
            "111479": {"price_level": 111479.0, "buy_volume": 0.1, "sell_volume": 0.51524, "total_volume": 0.61524,
                "delta": -0.41524, "trade_count": 5}}}"#;
        let read = parse(text.as_bytes(), &symbol()).expect("a minute");
        assert!(read.remarks.is_empty(), "{:?}", read.remarks);
        let prices: Vec<String> = read.trades.levels.by_price.keys().map(ToString::to_string).collect();
        assert_eq!(prices, ["111479", "111480"]);
        assert_eq!((read.trades.candle.volume.to_string().as_str(), read.trades.candle.trades), ("0.61531", 6));
        for (from, to, remark) in [
            ("\"total_volume\": 0.61524", "\"total_volume\": 0.7", Remark::Totals),
            ("-0.41524", "0.41524", Remark::Totals),
            ("{\"timestamp\"", "{\"symbol\": \"BTC\", \"timestamp\"", Remark::Symbol),
            ("7e-05, \"sell", "7.0000000000000001e-05, \"sell", Remark::Rounded),
        ] {
            let read = parse(text.replacen(from, to, 1).as_bytes(), &symbol()).expect(to);
            assert!(read.remarks.contains(&remark), "{to}");
        }
        for (from, to) in [
            ("0.51524", "-1"),
            ("\"trade_count\": 5", "\"trade_count\": 5.5"),
            ("2025-10-24T", "24.10.2025 "),
            ("}}}", "}}"),
        ] {
            assert!(parse(text.replacen(from, to, 1).as_bytes(), &symbol()).is_err(), "{to}");
        }
        for text in ["", "[]", "{\"timestamp\": \"2025-10-24T20:10:08\", \"price_levels\": {}}"] {
            assert!(parse(text.as_bytes(), &symbol()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_repeated_hour_follows_the_times_of_change() {
        let mut dating = Dating::new(TimeZone::get("Europe/Berlin").expect("a zone"));
        let local = |text: &str| WrittenTime::Local(text.parse().expect("a time"));
        let utc = |text: &str| text.parse::<Timestamp>().expect("a time").as_millisecond();
        let mut date = |text: &str, changed: &str| {
            let mut remarks = BTreeSet::new();
            let minute = dating.minute(&local(text), utc(changed), &mut remarks).expect("a minute");
            (minute, remarks.into_iter().next())
        };
        // Files are written a minute after their minutes.
        assert_eq!(date("2025-10-26T01:59:01", "2025-10-26T00:00:00Z"), (utc("2025-10-25T23:59:00Z"), None));
        let ambiguous = Some(Remark::Ambiguous);
        assert_eq!(date("2025-10-26T02:30:00", "2025-10-26T00:31:00Z"), (utc("2025-10-26T00:30:00Z"), ambiguous));
        assert_eq!(date("2025-10-26T02:30:00", "2025-10-26T01:31:00Z"), (utc("2025-10-26T01:30:00Z"), ambiguous));
        assert_eq!(date("2025-10-26T03:00:00", "2025-10-26T02:01:00Z"), (utc("2025-10-26T02:00:00Z"), None));
        let nonexistent = Some(Remark::Nonexistent);
        assert_eq!(date("2026-03-29T02:30:00", "2026-03-29T02:31:00Z"), (utc("2026-03-29T01:30:00Z"), nonexistent));
    }
}
