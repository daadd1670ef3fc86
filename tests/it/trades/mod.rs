//! Trades and market data: each trade is on the tape once, and in the candles once.

mod candles;
mod charts;
mod fold;
mod lines;
mod record;
mod recorded;

use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const JSON: (&str, &str) = ("content-type", "application/json");
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A trade of 18 decimals: units of 10^-18.
fn decimal(units: i128) -> String {
    format!("{}.{:018}", units / 10_i128.pow(18), units % 10_i128.pow(18))
}

fn trade(id: &str, timestamp: i64, price: &str, quantity: &str) -> Value {
    json!({ "trade_id": id, "timestamp": timestamp, "price": price, "quantity": quantity })
}

async fn report(app: &TestApp, symbol: &str, trades: &[Value]) -> Reply {
    app.post("/trades", json!({ "symbol": symbol, "trades": trades })).await
}

async fn items(app: &TestApp, path: &str) -> Vec<Value> {
    let page = app.get(path).await.expect(200).json();
    page["items"].as_array().cloned().unwrap_or_else(|| panic!("{path}: {page}"))
}

fn texts(candle: &Value) -> Vec<String> {
    ["open", "high", "low", "close", "volume", "quote_volume"]
        .map(|field| candle[field].as_str().unwrap_or_else(|| panic!("{candle}")).to_owned())
        .into()
}
