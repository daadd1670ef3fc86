//! The window of trades: every minute by price and side.

#[cfg(feature = "object-store")]
mod copies;
mod crashes;
mod encryption;
mod files;
mod full_disk;
mod import;
mod kills;
mod retention;
#[cfg(feature = "parquet")]
mod tables;
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

/// The directory of a symbol's day with a pack of `minutes` minutes, 60 days ago; returns the first minute.
#[cfg(any(feature = "object-store", feature = "parquet"))]
async fn packed_day(dir: &std::path::Path, settings: &str, minutes: i64) -> (TestApp, i64) {
    use std::time::Duration;

    use crate::support::START;

    let config = format!("[archive]\ndir = \"{}\"\nwindow = \"2h\"\nmin_free = \"1B\"\n{settings}", dir.display());
    let app = TestApp::builder().config(&config).spawn().await;
    let first = START - 4 * HOUR;
    for n in 0..minutes {
        let trades = [
            trade(&format!("a{n}"), first + n * MINUTE, "60000.5", "0.00007", "buy"),
            trade(&format!("b{n}"), first + n * MINUTE + 1, &format!("{n}.000000000000000001"), "1.5", "sell"),
            trade(&format!("c{n}"), first + n * MINUTE + 2, "60000.5", "3", ""),
        ];
        report(&app, "GRID", &trades).await.expect(201);
    }
    let run = async |step: &str| app.post("/trades/archive/run", json!({ "step": step })).await.expect(200).json();
    crate::support::eventually("all minutes are in files", async || {
        run("archive").await;
        app.redis().command::<i64>(&["ZCARD", "trades_window:{GRID}"]) == 0
    })
    .await;
    app.clock().advance(Duration::from_secs(5 * 86_400));
    assert_eq!(run("pack").await["items"][0]["outcome"], format!("{minutes} minutes in trades_20251231.ndjson.gz"));
    (app, first)
}
