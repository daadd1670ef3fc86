//! Writes of every route, and the data on which they work.

use axum::http::Method;
use serde_json::{Value, json};

use crate::pubsub::socket::price;
use crate::support::{Reply, TestApp};

/// A write of one route.
#[derive(Clone)]
pub struct Write {
    pub method: Method,
    pub path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Write {
    #[expect(clippy::needless_pass_by_value, reason = "callers pass literals")]
    fn new(method: Method, path: &str, body: impl ToString) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { method, path: path.to_owned(), headers, body: body.to_string() }
    }

    fn post(path: &str, body: Value) -> Self {
        Self::new(Method::POST, path, body)
    }

    fn put(path: &str, body: Value) -> Self {
        Self::new(Method::PUT, path, body)
    }

    fn patch(path: &str, body: Value) -> Self {
        let write = Self::new(Method::PATCH, path, body);
        Self { headers: vec![("content-type", "application/merge-patch+json".to_owned())], ..write }
    }

    fn delete(path: &str) -> Self {
        Self { headers: Vec::new(), ..Self::new(Method::DELETE, path, "") }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The write with an `Idempotency-Key`.
    pub fn with_key(self) -> Self {
        self.with("idempotency-key", "k")
    }

    fn body(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }
    }

    pub async fn send(&self, app: &TestApp) -> Reply {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        app.send(self.method.clone(), &self.path, &headers, self.body.clone()).await
    }
}

/// A minute before the clock of the tests.
const AT: i64 = crate::support::START - 60_000;

/// Data of every capability.
pub fn seeds() -> Vec<Write> {
    let samples = json!({ "samples": [{ "timestamp": AT, "value": 1.5 }] });
    vec![
        Write::put("/cache/a?tags=t&ttl_ms=60000", json!({ "a": 1 })),
        Write::put("/cache/b?tags=t&ttl_ms=60000", json!({ "b": 1 })),
        Write::post("/cache/n/increment", json!({ "by": 1, "ttl_ms": 60_000 })),
        Write::post("/ratelimit/check", json!({ "limiter": "orders", "key": "k" })),
        Write::post("/ratelimit/check", json!({ "limiter": "orders", "key": "k2" })),
        Write::put("/ratelimit/limiters/orders/exceptions/denied", json!({ "action": "deny" })),
        Write::put("/json/d", json!({ "n": 1, "s": "x", "b": true, "a": [1, 2, 3], "o": { "x": 1 } })),
        Write::put("/json/e", json!({ "n": 1 })),
        Write::put("/users/u/preferences", json!({ "language": "th", "theme": "dark" })),
        Write::post("/users/u/activity", json!({ "action": "login" })),
        Write::put("/config/market/grid", json!({ "symbol": "GRID", "base_currency": "THBC" })),
        Write::put("/forms/f", json!({ "meter": "MTR-001" })),
        Write::put("/timeseries/energy:consumption:M", json!({ "labels": { "zone": "1" } })),
        Write::post("/timeseries/energy:consumption:M/samples", samples),
        Write::put("/timeseries/own", json!({ "labels": { "zone": "1" } })),
        Write::post("/timeseries/own/rollups", json!({ "agg": "max", "bucket": "1h" })),
        Write::put("/orderbooks/GRID/settings", book("orders")),
        Write::put("/orderbooks/LEVELS/settings", book("levels")),
        Write::post("/orderbooks/GRID/orders", order("b1", "buy", "4.35")),
        Write::post("/orderbooks/GRID/orders", order("b2", "buy", "4.35")),
        Write::post("/orderbooks/GRID/orders", order("s1", "sell", "4.35")),
        Write::post("/streams/orders/events", events(6)),
        Write::put("/streams/orders/groups/g", json!({})),
        Write::put("/streams/orders/groups/unused", json!({})),
        Write::post("/pubsub/user:u", message()),
        Write::post("/pubsub/market:events", price(0)),
        Write::post("/market/epoch/advance", json!({ "length_ms": 900_000 })),
        Write::post("/trades", trade("t0")),
        Write::post("/hosts/h1/metrics", host()),
        Write::post("/hosts/flush", json!({})),
        Write::put("/warming/tasks/mine", task()),
        Write::post("/warming/tasks/mine/pause", json!({})),
    ]
}

fn book(kind: &str) -> Value {
    json!({ "mode": "store", "kind": kind, "price_decimals": 2, "quantity_decimals": 3 })
}

fn order(id: &str, side: &str, price: &str) -> Value {
    json!({ "order_id": id, "owner": format!("of-{side}"), "side": side, "price": price, "quantity": "10" })
}

fn events(count: u32) -> Value {
    let events: Vec<Value> = (0..count).map(|n| json!({ "type": "Counted", "data": { "n": n } })).collect();
    json!({ "events": events })
}

fn message() -> Value {
    json!({ "message_type": "TokenMinted", "data": { "amount": "1", "timestamp": 1 } })
}

fn trade(id: &str) -> Value {
    json!({ "symbol": "T", "trades": [{ "trade_id": id, "timestamp": AT, "price": "1.5", "quantity": "2" }] })
}

fn host() -> Value {
    json!({
        "cpu": { "usage": 12.5, "cores": 4, "loadAvg": [1, 1, 1] },
        "memory": { "total": 100, "used": 50, "free": 50, "usagePercent": 50 },
        "disk": { "total": 100, "used": 50, "free": 50, "usagePercent": 50 },
        "network": { "bytesIn": 1, "bytesOut": 1, "packetsIn": 1, "packetsOut": 1 },
    })
}

/// A task that does not run by itself.
fn task() -> Value {
    json!({ "key": "market:limits:{zone}", "values": { "market:limits:north": 1 }, "ttl_ms": 60_000,
            "strategy": { "kind": "on_demand", "factor": 1.5, "trigger": 5 } })
}

/// What only the replies to [`seeds`] and to requests after them say.
pub struct Planted {
    pub lock: String,
    pub reservation: String,
    pub receipts: Vec<String>,
}

/// One write of each route, and several where its parts may fail one by one.
pub fn writes(planted: &Planted) -> Vec<Write> {
    let mut writes = first_writes(&planted.lock, &planted.reservation);
    writes.extend(further_writes(planted));
    writes.extend(freeing_posts(planted).into_iter().map(Write::with_key));
    writes
}

/// Writes that free memory of Redis, or take none, and may have an `Idempotency-Key`.
pub fn freeing_posts(planted: &Planted) -> Vec<Write> {
    let change = |path: &str, change: Value| Write::new(Method::PATCH, path, change);
    let receipt = json!({ "receipts": planted.receipts.get(..1).expect("a receipt") });
    vec![
        Write::post("/cache/batch", json!({ "delete": ["a", "b"] })),
        Write::post("/json/batch", json!({ "delete": [{ "key": "e" }] })),
        Write::post("/json/d/clear", json!({ "path": "$.o" })),
        Write::patch("/json/d", json!({ "s": null, "a": null })),
        Write::patch("/users/u/preferences", json!({ "language": null })),
        change("/locks/r", json!({ "token": planted.lock, "ttl_ms": 60_000 })),
        Write::post(&format!("/ratelimit/reservations/{}/settle", planted.reservation), json!({ "cost": 2 })),
        change("/orderbooks/GRID/orders/b1", json!({ "quantity": "5" })),
        Write::post("/orderbooks/GRID/orders/batch", json!({ "cancel": ["b2"] })),
        Write::post("/streams/orders/groups/g/ack", receipt.clone()),
        Write::post("/streams/orders/groups/g/nack", receipt.clone()),
        Write::post("/streams/orders/groups/g/extend", receipt),
        Write::post("/history_remove", json!({ "channel": "user:u" })),
    ]
}

/// The writes of locks, limits, the cache, documents and series.
fn first_writes(lock: &str, reservation: &str) -> Vec<Write> {
    let set = json!([{ "key": "a", "ttl_ms": 60_000, "value": 1 }, { "key": "c", "ttl_ms": 60_000, "value": 2 }]);
    let samples = json!({ "samples": [{ "timestamp": AT + 1, "value": 1.5 }] });
    let series = |key: &str| json!({ "series": key, "timestamp": AT + 1, "value": 1.5 });
    let line = format!("power,meter=M import=0.4,export=0 {}000000\n", AT + 1);
    let at = |path: &str| json!({ "path": path });
    let mut writes = vec![
        Write::put("/cache/a?tags=t2&ttl_ms=60000", json!(1)),
        Write::put("/cache/c?tags=t&ttl_ms=60000", json!(1)),
        Write::post("/cache/batch", json!({ "set": set, "delete": ["b"] })),
        Write::post("/cache/n/increment", json!({ "by": 1 })),
        Write::post("/cache/a/touch", json!({ "ttl_ms": 5_000 })),
        Write::delete("/cache/a"),
        Write::delete("/cache/a?take=true"),
        Write::delete("/cache/tags/t"),
        Write::post("/locks/r2", json!({ "ttl_ms": 30_000 })),
        Write::post("/locks/acquire-all", json!({ "resources": ["r3", "r4"], "ttl_ms": 30_000 })),
        Write::patch("/locks/r", json!({ "token": lock, "ttl_ms": 60_000 })).with("content-type", "application/json"),
        Write::delete("/locks/r").with("lock-token", lock),
        Write::delete("/locks/r?force=true"),
        Write::post("/ratelimit/check", json!({ "limiter": "orders", "key": "k" })),
        Write::post("/ratelimit/check", json!({ "limiter": "trading", "key": "k" })),
        Write::post("/ratelimit/check", json!({ "limiter": "sensitive", "key": "k", "cost": 3 })),
        Write::post(
            "/ratelimit/check-all",
            json!({ "checks": [{ "limiter": "orders", "key": "k" },
            { "limiter": "trading", "key": "k" }, { "limiter": "sensitive", "key": "k" }] }),
        ),
        Write::post("/ratelimit/enforce", json!({ "limiter": "orders", "key": "new" })),
        Write::post("/json", json!({ "domain": "gateway", "descriptors": [{ "entries": [{ "key": "user" }] }] })),
        Write::post("/ratelimit/reserve", json!({ "limiter": "trading", "key": "k", "cost": 1 })),
        Write::post(&format!("/ratelimit/reservations/{reservation}/settle"), json!({ "cost": 2 })),
        Write::post(&format!("/ratelimit/reservations/{reservation}/settle"), json!({ "cost": 60 })),
        Write::put("/ratelimit/limiters/orders/exceptions/k", json!({ "action": "allow" })),
        Write::delete("/ratelimit/limiters/orders/exceptions/denied"),
        Write::delete("/ratelimit/orders/k"),
        Write::delete("/ratelimit/orders?prefix=k"),
        Write::put("/json/d", json!({ "n": 2 })),
        Write::put("/json/d?path=$.n", json!(2)),
        Write::put("/json/new?ttl_ms=60000", json!({ "n": 2 })),
        Write::patch("/json/d", json!({ "n": 2, "s": null })),
        Write::patch("/json/d", json!([{ "op": "remove", "path": "/n" }]))
            .with("content-type", "application/json-patch+json"),
        Write::delete("/json/d"),
        Write::delete("/json/d?path=$.n"),
        Write::post(
            "/json/batch",
            json!({ "set": [{ "key": "d", "value": 1 }, { "key": "f", "value": 2 }], "delete": [{ "key": "e" }] }),
        ),
        Write::post("/json/d/array/append", json!({ "path": "$.a", "values": [4] })),
        Write::post("/json/d/array/insert", json!({ "path": "$.a", "index": 0, "values": [4] })),
        Write::post("/json/d/array/pop", at("$.a")),
        Write::post("/json/d/array/trim", json!({ "path": "$.a", "start": 0, "stop": 0 })),
        Write::post("/json/d/clear", at("$.o")),
        Write::post("/json/d/number/increment", json!({ "path": "$.n", "by": 1 })),
        Write::post("/json/d/number/multiply", json!({ "path": "$.n", "by": 2 })),
        Write::post("/json/d/string/append", json!({ "path": "$.s", "value": "y" })),
        Write::post("/json/d/toggle", at("$.b")),
        Write::post("/json/d/touch", json!({ "ttl_ms": 60_000 })),
        Write::put("/timeseries/energy:consumption:N", json!({ "labels": { "zone": "1" } })),
        Write::patch("/timeseries/energy:consumption:M", json!({ "labels": { "zone": "2" } }))
            .with("content-type", "application/json"),
        Write::delete("/timeseries/energy:consumption:M"),
        Write::post("/timeseries/energy:consumption:M/samples", samples.clone()),
        Write::post("/timeseries/energy:consumption:N/samples", samples.clone()),
        Write::post(
            "/timeseries/samples",
            json!({ "samples": [series("energy:consumption:M"), series("energy:consumption:N")] }),
        ),
        Write::delete(&format!("/timeseries/energy:consumption:M/samples?from={AT}&to={AT}")),
        Write::post("/timeseries/energy:consumption:M/rollups", json!({ "agg": "max", "bucket": "1h" })),
        Write::new(Method::POST, "/write", &line).with("content-type", "text/plain"),
        Write::post(
            "/energy/meters/M/readings",
            json!({ "readings": [{ "energy_consumed": 0.5, "energy_generated": 0.3, "timestamp": AT + 1 }] }),
        ),
        Write::post("/market/prices/GRID", json!({ "prices": [{ "price": 4.25, "timestamp": AT, "volume": 12.5 }] })),
        Write::post("/market/volume", samples.clone()),
        Write::post("/settlements/thbc", samples),
        Write::post("/users/u/activity", json!({ "action": "logout" })),
        Write::delete("/users/u/activity"),
        Write::put("/users/u/preferences/language", json!("en")),
        Write::delete("/users/u/preferences/language"),
    ];
    for (path, change) in [
        ("/users/u/preferences", json!({ "theme": "light" })),
        ("/config/market/grid", json!({ "symbol": "GRID", "base_currency": "THB" })),
        ("/forms/f", json!({ "meter": "MTR-002" })),
    ] {
        writes.extend([Write::put(path, change.clone()), Write::patch(path, change), Write::delete(path)]);
    }
    writes
}

/// The writes of the other capabilities.
fn further_writes(planted: &Planted) -> Vec<Write> {
    let line = format!("power,meter=M import=0.4,export=0 {}000000\n", AT + 1);
    let receipts =
        |range: std::ops::Range<usize>| json!({ "receipts": planted.receipts.get(range).expect("receipts") });
    let fill =
        json!({ "trade_id": "f", "buy_order_id": "b1", "sell_order_id": "s1", "price": "4.35", "quantity": "1" });
    let batch = json!({ "cancel": ["b1"], "amend": [{ "order_id": "b2", "quantity": "3" }],
        "place": [order("n2", "buy", "4.30")] });
    let levels = json!({ "bids": [{ "price": "4.35", "quantity": "10" }], "asks": [] });
    // More orders than one part has.
    let orders: String = (0..250).map(|n| order(&format!("q{n}"), "buy", "4.30").to_string() + "\n").collect();
    let in_channel = |channel: &str, mut message: Value| {
        message["channel"] = channel.into();
        message
    };
    let many = json!({ "messages": [in_channel("user:u", message()), in_channel("user:v", message())] });
    vec![
        Write::post("/api/v2/write", Value::Null).with("content-type", "text/plain").body(&line),
        Write::post("/timeseries/own/rollups", json!({ "agg": "sum", "bucket": "1h" })),
        Write::delete("/timeseries/own/rollups/max:1h"),
        Write::delete("/timeseries/none").with("fencing-token", "7"),
        Write::delete("/fences/cache/a"),
        Write::delete("/fences/cache-tags/t"),
        Write::delete("/fences/json/d"),
        Write::delete("/fences/timeseries/own"),
        Write::put("/orderbooks/NEW/settings", book("orders")),
        Write::put("/orderbooks/LEVELS/settings", json!({ "mode": "store", "kind": "levels", "price_decimals": 3 })),
        Write::post("/orderbooks/GRID/orders", order("n1", "buy", "4.30")),
        Write::patch("/orderbooks/GRID/orders/b1", json!({ "quantity": "5" })).with("content-type", "application/json"),
        Write::patch("/orderbooks/GRID/orders/b1", json!({ "price": "4.30" })).with("content-type", "application/json"),
        Write::post("/orderbooks/GRID/orders/batch", batch),
        Write::post("/orderbooks/GRID/fills", json!({ "fills": [fill] })),
        Write::put("/orderbooks/GRID", Value::Null).with("content-type", "application/x-ndjson").body(&orders),
        Write::put("/orderbooks/LEVELS", levels),
        Write::delete("/orderbooks/GRID/orders/b1"),
        Write::delete("/orderbooks/GRID/orders?owner=of-buy"),
        Write::delete("/orders?owner=of-buy"),
        Write::delete("/orderbooks/GRID"),
        Write::post("/trades", trade("t1")),
        Write::post("/market/epoch/advance", json!({ "length_ms": 900_000 })),
        Write::post("/pubsub/user:u", message()),
        Write::post("/pubsub/market:events:E", price(1)),
        Write::post("/pubsub", many),
        Write::post("/publish", json!({ "channel": "user:u", "data": message() })),
        Write::delete("/pubsub/user:u/history"),
        Write::post("/streams/orders/events", events(1)),
        Write::post("/streams/new/events", events(1)),
        Write::put("/streams/orders/groups/new", json!({})),
        Write::put("/streams/orders/groups/g", json!({ "ack_timeout_ms": 10_000 })),
        Write::post("/streams/orders/groups/g/claim", json!({ "consumer": "w", "count": 2 })),
        Write::post("/streams/orders/groups/g/extend", receipts(0..1)),
        Write::post("/streams/orders/groups/g/ack", receipts(0..1)),
        Write::post("/streams/orders/groups/g/nack", receipts(1..2)),
        Write::post("/streams/orders/groups/g/replay", json!({ "from_version": 1 })),
        Write::post("/streams/orders/groups/g/dead-letters/redrive", json!({})),
        Write::delete("/streams/orders/groups/unused"),
        Write::delete("/streams/orders"),
        Write::put("/warming/tasks/mine", task()),
        Write::post("/warming/tasks/mine/pause", json!({})),
        Write::post("/warming/tasks/mine/resume", json!({})),
        Write::post("/warming/tasks/mine/run", json!({})),
        Write::delete("/warming/tasks/mine"),
        Write::post("/alerts/RedisDown/ack", json!({ "until": AT + 3_600_000 })),
        Write::post("/hosts/h2/metrics", host()),
        Write::delete("/hosts/h1/metrics"),
    ]
}
