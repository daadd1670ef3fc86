//! Names of files and directories, in UTC.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::clock::UnixMillis;
use crate::tape::{MINUTE, Symbol};

/// The length of a day, milliseconds.
pub const DAY: i64 = 1_440 * MINUTE;

/// The beginning of the day of a time.
pub fn day_of(time: UnixMillis) -> UnixMillis {
    time - time.rem_euclid(DAY)
}

fn written(time: UnixMillis, form: &str) -> String {
    // Every time of a trade is between 1970 and 9999.
    Timestamp::from_millisecond(time).unwrap_or_default().to_zoned(TimeZone::UTC).strftime(form).to_string()
}

/// The beginning of a minute, such as `2024-10-23T14:30:00.000000Z`.
pub fn timestamp(time: UnixMillis) -> String {
    written(time, "%Y-%m-%dT%H:%M:%S.000000Z")
}

/// Reads what [`timestamp`] writes, if it is the beginning of a minute.
pub fn minute_of_timestamp(text: &str) -> Option<UnixMillis> {
    let time = text.ends_with('Z').then(|| text.parse::<Timestamp>().ok())??.as_millisecond();
    (time % MINUTE == 0).then_some(time)
}

/// The directory of a symbol: everything but letters, digits, `_`, `-` and inner dots is `%XX`.
pub fn symbol_directory(symbol: &Symbol) -> String {
    let mut out = String::new();
    for (at, character) in symbol.as_str().chars().enumerate() {
        match character {
            '.' if at == 0 => out.push_str("%2E"),
            ':' => out.push_str("%3A"),
            other => out.push(other),
        }
    }
    out
}

/// The symbol of a directory; `None` for another directory.
pub fn symbol_of_directory(name: &str) -> Option<Symbol> {
    let symbol = Symbol::try_from(name.replace("%2E", ".").replace("%3A", ":")).ok()?;
    (symbol_directory(&symbol) == name).then_some(symbol)
}

/// The directory of a day of a symbol.
pub fn day_directory(symbol: &Symbol, day: UnixMillis) -> String {
    format!("{}/{}", symbol_directory(symbol), written(day, "%Y-%m-%d"))
}

/// The day of a directory such as `2024-10-23`; `None` for another directory.
pub fn day_of_directory(name: &str) -> Option<UnixMillis> {
    let date: Date = (name.len() == 10).then(|| name.parse().ok())??;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// The day in a name such as `trades_20241023_1430.json`; `None` for another name.
pub fn day_of_file(name: &str) -> Option<UnixMillis> {
    let digits = name.strip_prefix("trades_")?.get(..8)?;
    let date = Date::strptime("%Y%m%d", digits).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

pub fn manifest_name(day: UnixMillis) -> String {
    written(day, "manifest_%Y%m%d.ndjson")
}

/// Such as `trades_20241023_1430.json`, or `trades_20241023_1430.v2.json` for version 2.
pub fn minute_name(minute: UnixMillis, version: u32) -> String {
    format!("{}{}.json", written(minute, "trades_%Y%m%d_%H%M"), version_mark(version))
}

/// Such as `trades_20241023.ndjson.gz`.
pub fn pack_name(day: UnixMillis, version: u32) -> String {
    format!("{}{}.ndjson.gz", written(day, "trades_%Y%m%d"), version_mark(version))
}

/// Such as `trades_20241023.parquet`.
#[cfg(feature = "parquet")]
pub fn table_name(day: UnixMillis, version: u32) -> String {
    format!("{}{}.parquet", written(day, "trades_%Y%m%d"), version_mark(version))
}

fn version_mark(version: u32) -> String {
    if version == 1 { String::new() } else { format!(".v{version}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_utc_and_stay_inside_the_directory() {
        let minute = 1_729_693_800_000;
        assert_eq!(minute_name(minute, 1), "trades_20241023_1430.json");
        assert_eq!(minute_name(minute, 2), "trades_20241023_1430.v2.json");
        assert_eq!(manifest_name(minute), "manifest_20241023.ndjson");
        assert_eq!(pack_name(day_of(minute), 1), "trades_20241023.ndjson.gz");
        assert_eq!(day_of_directory("2024-10-23"), Some(day_of(minute)));
        assert_eq!(minute_of_timestamp(&timestamp(minute)), Some(minute));
        for other in ["2024-10-23T14:30:00", "2024-10-23T14:30:01.000000Z", "x"] {
            assert_eq!(minute_of_timestamp(other), None, "{other}");
        }
        for (symbol, directory) in
            [("GRID", "GRID"), ("..", "%2E."), (".", "%2E"), ("zone-7:interval", "zone-7%3Ainterval"), ("a.b", "a.b")]
        {
            let symbol = Symbol::try_from(symbol.to_owned()).expect("a symbol");
            assert_eq!(symbol_directory(&symbol), directory);
            assert_eq!(symbol_of_directory(directory), Some(symbol));
        }
        assert_eq!(day_of_file("trades_20241023_1430.json"), Some(day_of(minute)));
        assert_eq!((day_of_file("trades_2024.json"), day_of_file("trades_20241323_1430.json")), (None, None));
        for other in [".tmp", ".gtx-archive", "a b", "%41"] {
            assert_eq!(symbol_of_directory(other), None, "{other}");
        }
    }
}
