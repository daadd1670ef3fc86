//! Order books in mode `store`: orders, fills, views, deltas, snapshots.

mod access;
mod amending;
mod batches;
mod copy;
mod deltas;
mod documented_clients;
mod events;
mod expiry;
mod faults;
mod fills;
mod load;
mod model;
mod numbers;
mod order_snapshots;
mod orders;
mod recorded;
mod snapshots;
mod views;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const BOOK: &str = "/orderbooks/GRID";

/// A service whose matching engine needs no lock.
async fn without_fence() -> TestApp {
    TestApp::builder().config("[orderbook]\nrequire_fence = false").spawn().await
}

/// Creates a book of orders with two decimals of the price and three of the quantity.
async fn create(app: &TestApp, symbol: &str) {
    let settings = json!({ "mode": "store", "kind": "orders", "price_decimals": 2, "quantity_decimals": 3 });
    app.put(&format!("/orderbooks/{symbol}/settings"), settings).await.expect(201);
}

async fn create_levels(app: &TestApp, symbol: &str) {
    let settings = json!({ "mode": "store", "kind": "levels", "price_decimals": 2, "quantity_decimals": 3 });
    app.put(&format!("/orderbooks/{symbol}/settings"), settings).await.expect(201);
}

fn order(id: &str, side: &str, price: &str, quantity: &str) -> Value {
    json!({ "order_id": id, "owner": format!("owner-{side}"), "side": side, "price": price, "quantity": quantity })
}

async fn place(app: &TestApp, id: &str, side: &str, price: &str, quantity: &str) -> Value {
    app.post("/orderbooks/GRID/orders", order(id, side, price, quantity)).await.expect(201).json()["order"].clone()
}

fn fill(trade: &str, buy: &str, sell: &str, price: &str, quantity: &str) -> Value {
    json!({ "trade_id": trade, "buy_order_id": buy, "sell_order_id": sell, "price": price, "quantity": quantity })
}

async fn report(app: &TestApp, fills: &[Value]) -> Reply {
    app.post("/orderbooks/GRID/fills", json!({ "fills": fills })).await
}

async fn view(app: &TestApp) -> Value {
    app.get("/orderbooks/GRID?depth=1000").await.expect(200).json()
}

/// Price, quantity and number of orders of the levels of a side.
fn levels(view: &Value, side: &str) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let level =
        |level: &Value| (text(&level["price"]), text(&level["quantity"]), level["orders"].as_u64().expect("a number"));
    view[side].as_array().expect("levels").iter().map(level).collect()
}

fn level(price: &str, quantity: &str, orders: u64) -> (String, String, u64) {
    (price.to_owned(), quantity.to_owned(), orders)
}

/// The ids of the orders of a side, in the order in which they match.
async fn queue(app: &TestApp, side: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/orderbooks/GRID/orders?side={side}&limit=60{cursor}")).await.expect(200).json();
        let items = page["items"].as_array().expect("items");
        ids.extend(items.iter().map(|item| item["order_id"].as_str().expect("an id").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

/// How often Redis has run a command since it started.
fn commands(app: &TestApp, name: &str) -> u64 {
    let all: String = app.redis().command(&["INFO", "commandstats"]);
    let calls = all.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
    calls.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

async fn send(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
    let all = [&[("content-type", "application/json")], headers].concat();
    app.send(method, path, &all, Body::from(body.to_string())).await
}

/// The content of the keys of the book, apart from those that follow from it: events, candles.
fn digest(app: &TestApp) -> Vec<(String, Vec<String>)> {
    let redis = app.redis();
    let content = |key: &str| {
        let list = |parts: &[&str]| redis.command::<Vec<String>>(parts);
        let mut content = match redis.command::<String>(&["TYPE", key]).as_str() {
            "hash" => list(&["HGETALL", key]).chunks(2).map(|pair| pair.join(" ")).collect(),
            "zset" => list(&["ZRANGE", key, "0", "-1", "WITHSCORES"]),
            "stream" => vec![format!("{:?}", redis.command::<redis::Value>(&["XRANGE", key, "-", "+"]))],
            _ => vec![redis.command::<String>(&["GET", key])],
        };
        content.sort_unstable();
        content
    };
    let is_derived = |key: &str| {
        ["published", "metadata", "positions"].iter().any(|name| key.ends_with(name))
            || ["candles:", "trades_window:"].iter().any(|name| key.contains(name))
    };
    let keys =
        redis.keys().into_iter().filter(|key| key.contains("{GRID}") && !key.starts_with("pubsub") && !is_derived(key));
    keys.map(|key| (key.clone(), content(&key))).collect()
}
