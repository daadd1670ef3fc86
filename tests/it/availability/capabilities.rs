//! Every capability that stores something, on a cluster whose masters are replaced meanwhile.
//!
//! Each is used, then all masters are replaced, and it is used again: what it stored is there, and it goes on.

use axum::http::Method;
use serde_json::{Value, json};

use crate::audit::KeyFile;
#[cfg(feature = "backup")]
use crate::backup::Vault;
use crate::support::{Cluster, START, TestApp, eventually, replication_has};

const JSON: (&str, &str) = ("content-type", "application/json");
const ONE: (&str, &str) = ("durability", "replicated=1");
const HOUR: i64 = 3_600_000;

/// The writes of these wait for a replica.
const DURABLE: &str = "[redis.min_replicas]\ncache = 1\norderbook = 1\npubsub = 1\nstreams = 1\ntrades = 1\n";

struct Scene {
    cluster: Cluster,
    app: TestApp,
    /// The directory of the key of the audit log and of the archive.
    _files: KeyFile,
}

impl Scene {
    async fn begin() -> Self {
        let (cluster, key) = (Cluster::with_replicas().await, KeyFile::new());
        let archive = key.directory().join("archive");
        std::fs::create_dir(&archive).expect("a directory");
        let archive = format!("[archive]\ndir = \"{}\"\nwindow = \"2h\"\nmin_free = \"1B\"\n", archive.display());
        // A slow machine must not look like a replica that lags.
        let patience = "http.request_deadline = \"20s\"\n";
        let servers = format!("{}command_timeout = \"4s\"\n", cluster.config());
        let config = [patience, &servers, DURABLE, &key.config(), &archive].concat();
        let app = TestApp::builder().config(&config).spawn().await;
        Self { cluster, app, _files: key }
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.app.post(path, body).await.expect(status).json()
    }

    async fn get(&self, path: &str) -> Value {
        self.app.get(path).await.expect(200).json()
    }

    /// Uses a capability, replaces all masters, and uses it again.
    async fn twice(mut self, used: impl AsyncFn(&Self, u64)) {
        used(&self, 1).await;
        for shard in 0..3 {
            self.cluster.replace_master(shard).await;
        }
        let all = || self.cluster.nodes.iter().zip(&self.cluster.replicas);
        eventually("every former master follows", async || {
            all().all(|(master, replica)| {
                replication_has(replica, "master_link_status:up") && replication_has(master, "connected_slaves:1")
            })
        })
        .await;
        eventually("every new master serves, and its replica confirms", async || {
            for number in 0..30 {
                let path = format!("/cache/ready-{number}");
                if !self.app.send(Method::PUT, &path, &[JSON, ONE], "1").await.status.is_success() {
                    return false;
                }
            }
            true
        })
        .await;
        used(&self, 2).await;
    }
}

#[tokio::test]
async fn orders_are_placed_before_and_after_all_masters_were_replaced() {
    let use_it = async |scene: &Scene, nth: u64| {
        for zone in 0..6 {
            let book = format!("/orderbooks/zone-{zone}");
            if nth == 1 {
                let settings = json!({ "mode": "store", "kind": "orders" });
                scene.app.put(&format!("{book}/settings"), settings).await.expect(201);
            }
            let order =
                json!({ "order_id": format!("o{nth}"), "owner": "u", "side": "buy", "price": "4", "quantity": "1" });
            scene.post(&format!("{book}/orders"), order, 201).await;
            let view = scene.get(&book).await;
            assert_eq!(view["bids"][0]["orders"], nth, "{view}");
        }
    };
    Scene::begin().await.twice(use_it).await;
}

#[tokio::test]
async fn trades_are_counted_and_archived_before_and_after_all_masters_were_replaced() {
    let use_it = async |scene: &Scene, nth: u64| {
        for zone in 0..6 {
            let symbol = format!("zone-{zone}");
            let trade = |id: &str, timestamp: i64| json!({ "trade_id": id, "timestamp": timestamp, "price": "3", "quantity": "1" });
            let trades = [trade(&format!("new-{nth}"), START), trade(&format!("old-{nth}"), START - 4 * HOUR)];
            scene.post("/trades", json!({ "symbol": symbol, "trades": trades }), 201).await;
            let candles = scene.get(&format!("/market/candles/{symbol}?resolution=1d")).await;
            let counted = candles["items"].as_array().expect("candles").iter().map(|candle| candle["trades"].as_u64());
            assert_eq!(counted.sum::<Option<u64>>(), Some(2 * nth), "{candles}");
            // What is older than the window moves to a file.
            eventually("the old minute is archived", async || {
                scene.post("/trades/archive/run", json!({ "step": "archive" }), 200).await;
                let window = format!("trades_window:{{{symbol}}}");
                let left = |node: &crate::support::RedisServer| node.try_command::<i64>(&["ZCARD", &window]).ok();
                scene.cluster.nodes.iter().find_map(left) == Some(1)
            })
            .await;
            let range = format!("from={}&to={}", START - 5 * HOUR, START + HOUR);
            let windows = scene.get(&format!("/trades/windows?symbol={symbol}&{range}")).await;
            let minutes = windows["items"].as_array().expect("minutes").iter();
            let counted = minutes.map(|minute| minute["sum"]["trades"].as_u64()).sum::<Option<u64>>();
            assert_eq!(counted, Some(2 * nth), "{windows}");
        }
    };
    Scene::begin().await.twice(use_it).await;
}

#[tokio::test]
async fn events_and_messages_go_on_after_all_masters_were_replaced() {
    let use_it = async |scene: &Scene, nth: u64| {
        for name in 0..6 {
            let stream = format!("/streams/s{name}");
            scene.post(&format!("{stream}/events"), json!({ "events": [{ "type": "a", "data": nth }] }), 201).await;
            let group = format!("{stream}/groups/g");
            scene.app.put(&group, json!({})).await.expect(if nth == 1 { 201 } else { 200 });
            let claimed = scene.post(&format!("{group}/claim"), json!({ "consumer": "c" }), 200).await;
            let item = &claimed["items"][0];
            assert_eq!((&item["event"]["data"], &claimed["items"][1]), (&json!(nth), &Value::Null), "{claimed}");
            scene.post(&format!("{group}/ack"), json!({ "receipts": [item["receipt"]] }), 200).await;
            let read = scene.get(&format!("{stream}/events")).await;
            assert_eq!(read["items"].as_array().map(Vec::len), usize::try_from(nth).ok(), "{read}");

            let channel = format!("/pubsub/orderbook:S{name}");
            scene.post(&channel, json!({ "message_type": "message", "data": nth }), 201).await;
            let latest = scene.get(&format!("{channel}/latest")).await;
            assert_eq!(latest["items"][0]["data"], nth, "{latest}");
        }
    };
    Scene::begin().await.twice(use_it).await;
}

#[tokio::test]
async fn values_are_warmed_and_persons_erased_before_and_after_all_masters_were_replaced() {
    let use_it = async |scene: &Scene, nth: u64| {
        let values: serde_json::Map<String, Value> =
            (0..6).map(|zone| (format!("market:limits:{zone}"), json!(nth))).collect();
        let task = json!({ "key": "market:limits:{zone}", "values": values, "strategy": { "kind": "startup" }, "ttl_ms": 600_000 });
        scene.app.put("/warming/tasks/limits", task).await.expect(200);
        let run = scene.post("/warming/tasks/limits/run", json!({ "wait_ms": 20_000 }), 200).await;
        assert_eq!(run["run"]["result"], "succeeded", "{run}");
        for zone in 0..6 {
            assert_eq!(scene.get(&format!("/cache/market:limits:{zone}")).await, nth);
        }

        let person = format!("person-0b5e-{nth}");
        for number in 0..6 {
            scene.app.put(&format!("/json/notes:{number}"), json!({ "user_id": person })).await.expect(201);
        }
        let reason = json!({ "reason": "a request" });
        let begun = scene.post(&format!("/admin/subjects/{person}/erase"), reason, 202).await;
        let id = begun["receipt"]["id"].as_str().expect("an id");
        eventually("the person is erased", async || {
            scene.get(&format!("/admin/erasures/{id}")).await["receipt"]["status"] == "complete"
        })
        .await;
        let receipt = scene.get(&format!("/admin/erasures/{id}")).await;
        assert_eq!(receipt["receipt"]["capabilities"]["json"]["erased"], 6, "{receipt}");
        // The log has a chain that no failover breaks.
        let verified = scene.get("/admin/audit/verify").await;
        assert!(verified["checked"].as_u64() > Some(nth) && verified["first_break"].is_null(), "{verified}");
    };
    Scene::begin().await.twice(use_it).await;
}

#[cfg(feature = "backup")]
#[tokio::test]
async fn a_cluster_is_backed_up_before_and_after_all_masters_were_replaced() {
    let vault = Vault::new();
    let use_it = async |scene: &Scene, nth: u64| {
        for number in 0..30 {
            scene.app.put(&format!("/json/notes-{nth}:{number}"), json!({ "n": number })).await.expect(201);
        }
        let run = |words: &[&str]| {
            let done =
                vault.command("", &scene.cluster.config(), words).env_remove("REDIS_URL").output().expect("it runs");
            let text = crate::support::output_text(&done);
            assert!(done.status.success(), "{text}");
            text
        };
        let made = run(&["backup"]);
        assert!(made.contains("one moment"), "{made}");
        let identity = vault.identity_file().display().to_string();
        let drill = run(&["drill", "--identity", &identity]);
        assert!(drill.contains("passed"), "{drill}");
    };
    Scene::begin().await.twice(use_it).await;
}
