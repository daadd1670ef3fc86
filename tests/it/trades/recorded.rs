//! Recorded trades of an exchange, loaded as lines: the candles are those of an exact recomputation.
//!
//! `GTX_TEST_RECORDED_TRADES` is the path of a file in the form of Kraken's public trades: arrays of price, volume, time in
//! seconds, `b` or `s`, the type of the order, a remark, and an id.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::{Value, json};

use super::{MINUTE, items, texts};
use crate::support::{NDJSON, TestApp, ndjson};

/// The decimals of prices and volumes in the file.
const PRICE: usize = 5;
const VOLUME: usize = 8;

/// A decimal with this many decimals, as an integer.
fn units(text: &str, decimals: usize) -> i128 {
    let (whole, fraction) = text.split_once('.').expect("a decimal");
    assert_eq!(fraction.len(), decimals, "{text}");
    format!("{whole}{fraction}").parse().expect("digits")
}

fn printed(units: i128, decimals: usize) -> String {
    let scale = 10_i128.pow(u32::try_from(decimals).expect("small"));
    let text = format!("{}.{:0decimals$}", units / scale, units % scale);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[tokio::test]
#[ignore = "needs recorded trades: GTX_TEST_RECORDED_TRADES"]
#[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
async fn recorded_trades_leave_exact_candles() {
    let path = std::env::var("GTX_TEST_RECORDED_TRADES").expect("GTX_TEST_RECORDED_TRADES is the path of the trades");
    let file: Value = serde_json::from_slice(&std::fs::read(path).expect("the trades")).expect("JSON");
    let pairs = file["result"].as_object().expect("pairs");
    let trades = pairs.values().find_map(Value::as_array).expect("trades");
    // Time, price and volume of each trade, by quarter of an hour.
    let mut quarters: BTreeMap<i64, Vec<(i64, i128, i128)>> = BTreeMap::new();
    let mut reported = Vec::new();
    for trade in trades {
        let text = |at: usize| trade[at].as_str().expect("text");
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds")]
        let time = (trade[2].as_f64().expect("seconds") * 1_000.0) as i64;
        let side = if text(3) == "b" { "buy" } else { "sell" };
        let line = json!({ "trade_id": trade[6].to_string(), "price": text(0), "quantity": text(1), "side": side,
            "timestamp": time });
        reported.push(line);
        let quarter = quarters.entry(time - time.rem_euclid(15 * MINUTE)).or_default();
        quarter.push((time, units(text(0), PRICE), units(text(1), VOLUME)));
    }
    let (app, lines) = (TestApp::spawn().await, ndjson(&reported));
    for status in [201, 200] {
        app.send(Method::POST, "/trades?symbol=BTC", &[NDJSON], lines.clone()).await.expect(status);
    }
    let candles = items(&app, "/market/candles/BTC?resolution=15m&limit=1000").await;
    assert_eq!(candles.len(), quarters.len());
    for (candle, (start, trades)) in candles.iter().rev().zip(&quarters) {
        assert_eq!((candle["start"].as_i64(), candle["trades"].as_u64()), (Some(*start), Some(trades.len() as u64)));
        let prices = || trades.iter().map(|(_, price, _)| *price);
        // Of trades with the same time, the first one opens and the last one closes.
        let open = trades.iter().min_by_key(|(time, ..)| time).expect("a trade").1;
        let close = trades.iter().max_by_key(|(time, ..)| time).expect("a trade").1;
        let [high, low] = [prices().max(), prices().min()].map(|price| price.expect("a trade"));
        let volume: i128 = trades.iter().map(|(.., volume)| volume).sum();
        let quote: i128 = trades.iter().map(|(_, price, volume)| price * volume).sum();
        let mut expected: Vec<String> = [open, high, low, close].map(|price| printed(price, PRICE)).into();
        expected.extend([printed(volume, VOLUME), printed(quote, PRICE + VOLUME)]);
        assert_eq!(texts(candle), expected, "{start}");
    }
    println!("{} trades, {} candles", trades.len(), candles.len());
}
