//! Attacks on the cache, limits and locks: the largest batches, values that are read at once, many keys, waiting clients.

use serde_json::{Value, json};

use super::Size;
use super::client::{Attack, JSON, Manner, call};

/// Values of 1 MB that the attacks read.
const VALUES: usize = 300;

fn post(path: &str, body: &Value) -> Vec<u8> {
    call("POST", path, JSON, body.to_string())
}

fn list(count: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..count).map(item).collect()
}

pub fn stored(size: &Size) -> Vec<Vec<u8>> {
    let text = format!("\"{}\"", "\\u20ac ".repeat(1_000_000 / 7));
    let first = post("/streams/big/events", &json!({ "events": [{ "type": "T", "data": 1 }] }));
    let group = call("PUT", "/streams/big/groups/all", JSON, "{}");
    let values = (0..size.of_many(VALUES)).map(|n| call("PUT", &format!("/cache/large:{n}"), JSON, &text));
    values.chain([first, group]).collect()
}

/// Many and large messages, also to subscribers that do not read them.
pub fn channels(size: &Size) -> Vec<Attack> {
    let send = |channel: &dyn Fn(usize) -> String| {
        let message = |n: usize| json!({ "channel": channel(n), "message_type": "X", "key": format!("k{n}"), "data": "x".repeat(60_000) });
        post("/pubsub", &json!({ "messages": list(16, message) }))
    };
    let several = send(&|n| format!("orderbook:A{}", n % 4));
    let broadcast =
        json!({ "channels": list(1_000, |n| json!(format!("orderbook:B{n}"))), "data": "x".repeat(15_000) });
    let calls =
        vec![several.clone(), call("GET", "/pubsub/orderbook:A0/latest", "", ""), post("/broadcast", &broadcast)];
    let followed = (0..48).flat_map(|n| {
        let channel = format!("orderbook:S{n}");
        [call("GET", &format!("/pubsub/sse?channel={channel}"), "", ""), send(&|_| channel.clone())]
    });
    vec![
        Attack::new("channels", Manner::Read, size.of_many(64), calls),
        Attack::new("channels: many senders", Manner::Read, size.of_many(300), vec![several]),
        Attack::new("channels: slow readers", Manner::Stall, size.of_many(1_000), followed.collect()),
    ]
}

pub fn attacks(size: &Size) -> Vec<Attack> {
    let count = size.of_many(VALUES);
    let key = |n: usize| json!(format!("large:{}", n % count));
    let reads = json!({ "get": list(1_000, key) });
    let small = |n: usize| json!({ "key": format!("small:{n}"), "value": "x".repeat(900), "tags": ["a", "b"] });
    let cache = vec![
        post("/cache/batch", &json!({ "set": list(1_000, small) })),
        post("/cache/batch", &reads),
        post("/cache/batch", &json!({ "get": list(8, key) })),
        post("/cache/batch", &json!({ "delete": list(1_000, |n| json!(format!("small:{n}"))) })),
        call("DELETE", "/cache/tags/a", "", ""),
        call("GET", "/cache?limit=1000", "", ""),
    ];
    let document = |n: usize| json!({ "key": format!("batch:{n}"), "value": vec![n; 1_700] });
    let whole = |_| json!({ "key": "zeros" });
    let all = |_| json!({ "key": "lists", "paths": ["$..*", "$..[?(@..*)]"] });
    let json = vec![
        post("/json/batch", &json!({ "set": list(100, document) })),
        post("/json/batch", &json!({ "get": list(100, whole) })),
        post("/json/batch", &json!({ "get": list(100, all) })),
    ];
    let values: Vec<_> = (0..count).map(|n| call("GET", &format!("/cache/large:{n}"), "", "")).collect();
    let compressed = ["gzip", "br", "zstd"].iter().flat_map(|coding| {
        let coding = format!("Accept-Encoding: {coding}\r\n");
        (0..count).map(move |n| call("GET", &format!("/cache/large:{n}"), &coding, ""))
    });
    let compressed: Vec<_> = compressed.collect();
    let few = json!({ "get": list(7, key) });
    let repeated = (0..size.of_many(2_000)).map(|n| {
        let header = format!("{JSON}Idempotency-Key: \"k-{n}\"\r\n");
        let set = json!({ "get": few["get"], "set": [{ "key": "k", "value": n }] });
        call("POST", "/cache/batch", &header, set.to_string())
    });
    let inline = json!({ "kind": "sliding_window", "limit": 10_000, "window_ms": 3_600_000 });
    let limits = (0..64).flat_map(|round| {
        let name = move |n: usize| format!("user-{round}-{n}");
        let check = |n: usize| json!({ "limiter": "orders", "key": name(n) });
        let entry = |n: usize| json!({ "entries": [{ "key": "remote_address", "value": name(n) }] });
        [
            post("/ratelimit/check-all", &json!({ "checks": list(100, check) })),
            post("/json", &json!({ "domain": "gateway", "descriptors": list(100, entry) })),
            post("/ratelimit/check", &json!({ "strategy": inline, "key": name(0) })),
            post("/ratelimit/reserve", &json!({ "limiter": "trading", "key": name(0), "cost": 1 })),
            call("GET", "/ratelimit/stats", "", ""),
        ]
    });
    let locks = (0..64).flat_map(|round| {
        let name = |n: usize| json!(format!("lock-{round}-{n}"));
        [
            post("/locks/acquire-all", &json!({ "resources": list(16, name), "ttl_ms": 200 })),
            post(&format!("/locks/one-{round}"), &json!({ "ttl_ms": 100 })),
            call("GET", "/locks?limit=1000", "", ""),
        ]
    });
    let waiting = post("/locks/contended", &json!({ "ttl_ms": 1_000, "wait_ms": 30_000 }));
    let event = |n: usize| json!({ "type": "T", "data": format!("{n}{}", "x".repeat(60_000)) });
    let streams = vec![
        post("/streams/big/events", &json!({ "events": list(16, event) })),
        call("GET", "/streams/big/events?limit=1000", "", ""),
        post("/streams/big/groups/all/claim", &json!({ "consumer": "c", "count": 100, "wait_ms": 0 })),
        call("PUT", "/cache/one", JSON, format!("\"{}\"", "x".repeat(1_000_000))),
    ];
    let holds: Vec<_> = (0..64)
        .map(|n| {
            let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            call("GET", &format!("/locks/held-{n}/hold?ttl_ms=60000&wait_ms=30000"), upgrade, "")
        })
        .collect();
    vec![
        Attack::new("cache: batches", Manner::Read, size.of_many(64), cache),
        Attack::new("json: batches", Manner::Read, size.of_many(64), json),
        Attack::new("cache: 1 MB values", Manner::Read, size.of_many(300), values.clone()),
        Attack::new("cache: slow readers", Manner::Stall, size.of_many(1_000), values),
        Attack::new("cache: compressed", Manner::Read, size.of_many(64), compressed.clone()),
        Attack::new("cache: slow, compressed", Manner::Stall, size.of_many(1_000), compressed),
        Attack::new("cache: slow batches", Manner::Stall, size.of_many(300), vec![post("/cache/batch", &reads)]),
        Attack::new("idempotent large responses", Manner::Read, size.of_many(32), repeated.collect()),
        Attack::new("limits: batches and keys", Manner::Read, size.of_many(64), limits.collect()),
        Attack::new("streams and 1 MB writes", Manner::Read, size.of_many(64), streams),
        Attack::new("locks: batches and lists", Manner::Read, size.of_many(64), locks.collect()),
        Attack::new("locks: waiting", Manner::Read, size.of_many(2_000), vec![waiting.clone()]),
        Attack::new("locks: waiting, abandoned", Manner::Abandon, size.of_many(256), vec![waiting]),
        Attack::new("holds", Manner::Stall, size.of_many(3_000), holds.clone()),
        Attack::new("holds, abandoned", Manner::Abandon, size.of_many(256), holds),
    ]
}
