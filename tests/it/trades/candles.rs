//! Candles and statistics equal an exact recomputation, late trades included.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{DAY, HOUR, MINUTE, decimal, items, report, texts, trade};
use crate::support::{START, TestApp, eventually};

/// A generator of pseudo-random numbers: the same ones in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) % limit
    }
}

/// What the candles of one length must be: first and last by (time, arrival), in units of 10^-18 and their products.
#[derive(Debug, Default)]
struct Expected {
    trades: Vec<(i64, i128, i128)>,
}

impl Expected {
    /// The texts of [`texts`], computed from all trades at once. Numbers are small enough for products in an `i128`.
    fn texts(&self) -> Vec<String> {
        let minimal = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
        let first = self.trades.iter().min_by_key(|(time, ..)| time).expect("a trade");
        let last = self.trades.iter().max_by_key(|(time, ..)| time).expect("a trade");
        let prices = || self.trades.iter().map(|(_, price, _)| *price);
        let volume: i128 = self.trades.iter().map(|(.., quantity)| quantity).sum();
        let quote: i128 = self.trades.iter().map(|(_, price, quantity)| price * quantity).sum();
        let unit = 10_i128.pow(36);
        let quote = minimal(format!("{}.{:036}", quote / unit, quote % unit));
        let [open, high, low, close] =
            [first.1, prices().max().expect("a price"), prices().min().expect("a price"), last.1];
        let mut texts: Vec<String> = [open, high, low, close, volume].map(|units| minimal(decimal(units))).into();
        texts.push(quote);
        texts
    }
}

#[tokio::test]
async fn candles_equal_an_exact_recomputation() {
    let app = TestApp::spawn().await;
    // Late enough for a year of candles, and trades of a quarter of a day in many minutes, in an order of their own.
    let mut numbers = Numbers(7);
    let mut all = Vec::new();
    for n in 0..3_000 {
        let timestamp = START - i64::try_from(numbers.below(21_600_000)).expect("a time");
        // Up to 5 with 18 decimals, so that 3,000 products fit.
        let mut units = || i128::from(numbers.below(5_000_000_000_000_000_000)) + 1;
        all.push((format!("t-{n}"), timestamp, units(), units()));
    }
    for part in all.chunks(200) {
        let trades: Vec<Value> = part
            .iter()
            .map(|(id, time, price, quantity)| trade(id, *time, &decimal(*price), &decimal(*quantity)))
            .collect();
        report(&app, "GRID", &trades).await.expect(201);
    }
    // A slow machine needs several requests to fold them.
    eventually("all are folded", async || app.get("/market/candles/GRID").await.is(200)).await;
    let bangkok = |time: i64| (time + 7 * HOUR) - (time + 7 * HOUR).rem_euclid(DAY) - 7 * HOUR;
    for (resolution, minutes) in [("1m", 1), ("5m", 5), ("15m", 15), ("30m", 30), ("1h", 60), ("4h", 240), ("1d", 0)] {
        let mut expected: BTreeMap<i64, Expected> = BTreeMap::new();
        for (_, time, price, quantity) in &all {
            let start = if minutes == 0 { bangkok(*time) } else { time - time.rem_euclid(minutes * MINUTE) };
            expected.entry(start).or_default().trades.push((*time, *price, *quantity));
        }
        let mut cursor = String::new();
        let mut found = Vec::new();
        loop {
            let path = format!("/market/candles/GRID?resolution={resolution}&limit=100{cursor}");
            let page = app.get(&path).await.expect(200).json();
            found.extend(page["items"].as_array().cloned().unwrap_or_default());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found.len(), expected.len(), "{resolution}");
        for (candle, (start, expected)) in found.iter().zip(expected.iter().rev()) {
            assert_eq!(candle["start"], *start, "{resolution}");
            assert_eq!(candle["trades"], expected.trades.len(), "{resolution} {start}");
            assert_eq!(texts(candle), expected.texts(), "{resolution} {start}");
        }
    }
}

#[tokio::test]
async fn a_late_trade_corrects_its_candle() {
    let app = TestApp::spawn().await;
    let of_minute = async || texts(&items(&app, "/market/candles/GRID").await[0]);
    report(&app, "GRID", &[trade("a", START + 20, "3", "1"), trade("b", START + 40, "5", "1")]).await.expect(201);
    assert_eq!(of_minute().await, ["3", "5", "3", "5", "2", "8"]);
    // Earlier than both, then between them, then at the times of both: the tape decides.
    report(&app, "GRID", &[trade("c", START + 10, "4", "1")]).await.expect(201);
    assert_eq!(of_minute().await, ["4", "5", "3", "5", "3", "12"]);
    report(&app, "GRID", &[trade("d", START + 30, "9", "1")]).await.expect(201);
    assert_eq!(of_minute().await, ["4", "9", "3", "5", "4", "21"]);
    report(&app, "GRID", &[trade("e", START + 10, "1", "1"), trade("f", START + 40, "2", "1")]).await.expect(201);
    assert_eq!(of_minute().await, ["4", "9", "1", "2", "6", "24"]);
    // A trade of last month: its minute is not stored any more, its quarter of an hour and its day are.
    report(&app, "GRID", &[trade("g", START - 31 * DAY, "7", "1")]).await.expect(201);
    for (resolution, candles) in [("1m", 1), ("15m", 2), ("1d", 2)] {
        let path = format!("/market/candles/GRID?resolution={resolution}");
        assert_eq!(items(&app, &path).await.len(), candles, "{resolution}");
    }
    let window = format!("/market/candles/GRID?resolution=1d&from={}&to={}", START - 40 * DAY, START - 20 * DAY);
    assert_eq!(items(&app, &window).await.len(), 1);
}

#[tokio::test]
async fn statistics_cover_24_hours_and_are_null_without_trades() {
    const NUMBERS: [&str; 8] = ["last", "change", "change_percent", "high", "low", "vwap", "volume", "quote_volume"];
    let app = TestApp::spawn().await;
    let empty = app.get("/market/stats/GRID").await.expect(200).json();
    for field in NUMBERS {
        assert_eq!(empty[field], Value::Null, "{field}");
    }
    let trades = [
        trade("old", START - DAY, "100", "100"),
        trade("first", START - DAY + MINUTE, "3", "1"),
        trade("high", START - HOUR, "5", "0.5"),
        trade("last", START + 1, "4", "1.5"),
    ];
    report(&app, "GRID", &trades).await.expect(201);
    let stats = app.get("/market/stats/GRID").await.expect(200).json();
    let expected = ["4", "1", "33.3333", "5", "3", "3.833333333333333333", "3", "11.5"];
    for (field, value) in NUMBERS.iter().zip(expected) {
        assert_eq!(stats[field], value, "{field}: {stats}");
    }
    assert_eq!((&stats["trades"], &stats["as_of"]), (&json!(3), &json!(START)));
    // A report by this replica is visible at once.
    report(&app, "GRID", &[trade("next", START + 2, "4.5", "1")]).await.expect(201);
    assert_eq!(app.get("/market/stats/GRID").await.json()["last"], "4.5");
    app.clock().advance(Duration::from_secs(2 * 86_400));
    assert_eq!(app.get("/market/stats/GRID").await.json()["last"], Value::Null);
}
