//! The window of trades: every minute by price and side.

mod crashes;
mod encryption;
mod files;
mod import;
mod windows;

use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn trade(id: &str, timestamp: i64, price: &str, quantity: &str, side: &str) -> Value {
    let side = if side.is_empty() { Value::Null } else { json!(side) };
    json!({ "trade_id": id, "timestamp": timestamp, "price": price, "quantity": quantity, "side": side })
}

async fn report(app: &TestApp, symbol: &str, trades: &[Value]) -> Reply {
    app.post("/trades", json!({ "symbol": symbol, "trades": trades })).await
}

/// All items of a list, page by page.
async fn all_items(app: &TestApp, path: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("{path}{cursor}")).await.expect(200).json();
        items.extend(page["items"].as_array().cloned().unwrap_or_else(|| panic!("{path}: {page}")));
        let Some(next) = page["next_cursor"].as_str() else { return items };
        cursor = format!("&cursor={next}");
    }
}
