//! Each key that the service writes belongs to a capability: backups and inventories rely on it.

use gridtokenx_redis::config::Config;
use gridtokenx_redis::holdings::{OTHER, Owners};
use serde_json::{Value, json};

use crate::audit::KeyFile;
use crate::support::{RedisServer, TestApp, eventually};
use crate::{hosts, subjects};

/// The keys of a server that belong to no capability, except cached values under names that callers have chosen.
pub fn keys_without_a_holding(redis: &RedisServer, prefix: &str) -> Vec<String> {
    let config = Config::load(None, []).expect("the default configuration");
    let owners = Owners::new(&config, prefix).expect("a valid configuration");
    let index = format!("{prefix}cache:{{index}}");
    let is_cached = |key: &str| {
        let name = key.strip_prefix(prefix).unwrap_or(key);
        redis.command::<Option<f64>>(&["ZSCORE", &index, name]).is_some()
    };
    let mut keys = redis.keys();
    keys.retain(|key| owners.holding(key.as_bytes()).is_none_or(|found| found == OTHER) && !is_cached(key));
    keys
}

#[tokio::test]
async fn every_key_of_every_capability_has_a_holding() {
    for prefix in ["", "test:"] {
        let key = KeyFile::new();
        let config = format!("redis.key_prefix = \"{prefix}\"\n{}", key.config());
        let app = TestApp::builder().config(&config).spawn().await;
        subjects::plant(&app).await;
        hosts::send(&app, "/hosts/web-1/metrics", 0..3).await;
        hosts::flush(&app).await;
        app.post("/market/epoch/advance", json!({})).await;
        let event = json!({ "type": "Counted", "data": {} });
        app.post("/streams/orders/events", json!({ "events": [event] })).await.expect(201);
        app.put("/streams/orders/groups/readers", json!({})).await.expect(201);
        app.post("/streams/orders/groups/readers/claim", json!({ "consumer": "one" })).await.expect(200);
        let trade = json!({ "trade_id": "t-1", "price": "5", "quantity": "2" });
        app.post("/trades", json!({ "symbol": "GRID", "trades": [trade] })).await.expect(201);
        eventually("the trade is folded", async || app.get("/market/candles/GRID").await.is(200)).await;
        let task = json!({ "key": "market:limits:{zone}", "values": { "market:limits:a": 1 }, "ttl_ms": 600_000,
                           "strategy": { "kind": "startup" } });
        app.put("/warming/tasks/limits", task).await.expect(200);
        eventually("the value is cached", async || app.get("/cache/market:limits:a").await.is(200)).await;
        app.post("/admin/subjects/another-person/erase", json!({ "reason": "a request" })).await.expect(202);
        app.get("/admin/audit").await.expect(200);
        // It is written directly, as another service does.
        let _: i64 = app.redis().command(&["DEL", "user:wallet:person-0b5e"]);
        let found = app.redis().keys();
        assert!(found.len() > 60, "{found:?}");
        assert_eq!(keys_without_a_holding(&app.redis(), prefix), Vec::<String>::new(), "prefix {prefix:?}");
        let inventory = async || app.get("/admin/redis/inventory").await.json();
        app.post("/admin/redis/inventory", Value::Null).await.expect(202);
        eventually("the inventory is complete", async || inventory().await["status"] == "done").await;
    }
}
