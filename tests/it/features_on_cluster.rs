//! All features on a real three-node cluster: keys in every slot, scripts, batches, indexes.

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use crate::hosts;
use crate::support::{Cluster, START, TestApp, eventually};

async fn on(cluster: &Cluster) -> TestApp {
    TestApp::builder().config(&cluster.config()).spawn().await
}

#[tokio::test]
async fn the_cache_works_on_every_node_of_a_cluster() {
    let cluster = Cluster::start().await;
    let app = on(&cluster).await;
    for n in 0..60 {
        app.put(&format!("/cache/key:{n}?tags=all,t{}", n % 3), json!(n)).await.expect(201);
    }
    for node in &cluster.nodes {
        assert!(node.command::<i64>(&["DBSIZE"]) > 5, "a node got no keys");
        let _: String = node.command(&["SCRIPT", "FLUSH"]);
    }
    for n in 0..60 {
        assert_eq!(app.get(&format!("/cache/key:{n}")).await.expect(200).json(), json!(n));
    }
    app.delete("/cache/tags/t1").await.expect(204);
    for n in 0..60 {
        let expected = if n % 3 == 1 { 404 } else { 200 };
        app.get(&format!("/cache/key:{n}")).await.expect(expected);
    }
    for n in 1..=3 {
        let counted = app.post("/cache/logins/increment", json!({ "ttl_ms": 60_000 })).await.expect(200).json();
        assert_eq!(counted["value"], n);
    }
    let batch =
        json!({ "get": ["key:0", "key:1", "key:2"], "set": [{ "key": "new:1", "value": 1 }], "delete": ["key:3"] });
    let done = app.post("/cache/batch", batch).await.expect(200).json();
    assert_eq!(done["get"][0]["value"], 0, "{done}");
    assert_eq!(done["get"][1]["status"], 404, "{done}");
    app.get("/cache/key:3").await.expect(404);
    let listed = app.get("/cache?prefix=key:&limit=1000").await.expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(39), "{listed}");
    app.delete("/cache/key:0?take=true").await.expect(200);
    app.get("/cache/key:0").await.expect_problem(404, "cache-miss");
}

#[tokio::test]
async fn a_lease_ends_with_its_tag_on_another_node() {
    let cluster = Cluster::start().await;
    let app = on(&cluster).await;
    let slot = |key: String| cluster.nodes[0].command::<u16>(&["CLUSTER", "KEYSLOT", &key]);
    let nth = |of_first: bool, key: &dyn Fn(u32) -> String| {
        (0..10_000).find(|n| (slot(key(*n)) <= 5_460) == of_first).expect("a key of that node")
    };
    for first in [true, false] {
        let value = format!("/cache/key:{}", nth(first, &|n| format!("cache:key:{n}")));
        let tag = nth(!first, &|n| format!("cache:tag:{{t{n}}}"));
        let lease = async || {
            let miss = app.get(&format!("{value}?lease_ms=60000")).await;
            miss.header("cache-lease").expect("a lease").to_owned()
        };
        let store = async |lease: &str| {
            app.send(Method::PUT, &format!("{value}?tags=t{tag}"), &[("cache-lease", lease)], "rebuilt").await
        };
        let granted = lease().await;
        app.delete(&format!("/cache/tags/t{tag}")).await.expect(204);
        store(&granted).await.expect_problem(409, "lease-lost");
        app.delete(&value).await.expect(204);
        // The lease is younger by more than the time between two exchanges with Redis.
        for _ in 0..50 {
            app.get(&value).await.expect(404);
        }
        store(&lease().await).await.expect(201);
        app.get(&value).await.expect(200);
    }
}

#[tokio::test]
async fn series_on_all_nodes_are_imported_and_read() {
    let cluster = Cluster::start().await;
    let app = on(&cluster).await;
    let mut csv = String::from("series,timestamp,value\n");
    for meter in 0..40 {
        for n in 0..600 {
            writeln!(csv, "energy:generation:m{meter},{},{}", n * 1_000, n % 7).expect("text");
        }
    }
    let headers = [("content-type", "text/csv")];
    let loaded = app.send(Method::POST, "/timeseries/samples", &headers, csv).await.expect(200).json();
    assert_eq!(loaded["stored"], 24_000, "{loaded}");
    for meter in 0..40 {
        let path = format!("/timeseries/energy:generation:m{meter}/range?agg=count&bucket=1h&from=0&to=600000");
        let counted = app.get(&path).await.expect(200).json();
        assert_eq!(counted["samples"][0]["value"], 600, "{counted}");
    }
    for meter in 0..10 {
        let series = format!("/timeseries/energy:generation:m{meter}");
        let rollup = json!({ "bucket": "1m", "agg": "sum" });
        let sums = format!("{series}/range?agg=sum&bucket=1m");
        let before = app.get(&sums).await.expect(200).json();
        app.post(&format!("{series}/rollups"), rollup).await.expect(201);
        let complete =
            async || app.get(&format!("{series}/rollups")).await.expect(200).json()["items"][0]["complete"] == true;
        eventually("the rollup is filled", complete).await;
        assert_eq!(app.get(&sums).await.expect(200).json(), before);
    }
    let listed = app.get("/timeseries?prefix=energy:&limit=1000").await.expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(40), "{listed}");
}

#[tokio::test]
async fn a_repeated_request_is_replayed_on_a_cluster() {
    let cluster = Cluster::start().await;
    let app = on(&cluster).await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    for replayed in [None, Some("true")] {
        let body = json!({ "ttl_ms": 60_000 }).to_string();
        let counted = app.send(Method::POST, "/cache/n/increment", &headers, body).await.expect(200);
        assert_eq!(counted.json()["value"], 1);
        assert_eq!(counted.header("idempotency-replayed"), replayed);
    }
}

#[tokio::test]
async fn documents_on_all_nodes_are_updated_and_batched() {
    let cluster = Cluster::start().await;
    let app = on(&cluster).await;
    let set: Vec<_> = (0..60).map(|n| json!({ "key": format!("doc:{n}"), "value": { "n": n } })).collect();
    let stored = app.post("/json/batch", json!({ "set": set })).await.expect(200).json();
    assert!(stored["set"].as_array().expect("results").iter().all(|item| item["status"] == 201), "{stored}");
    for node in &cluster.nodes {
        assert!(node.command::<i64>(&["DBSIZE"]) > 10, "a node got no documents");
        let _: String = node.command(&["SCRIPT", "FLUSH"]);
    }
    for n in 0..60 {
        let body = json!({ "path": "$.n", "by": 1 });
        let headers = [("content-type", "application/json"), ("fencing-token", "7")];
        let path = format!("/json/doc:{n}/number/increment");
        let grown = app.send(Method::POST, &path, &headers, body.to_string()).await.expect(200).json();
        assert_eq!(grown["results"], json!([n + 1]));
    }
    let get: Vec<_> = (0..60).map(|n| json!({ "key": format!("doc:{n}"), "paths": [".n"] })).collect();
    let read = app.post("/json/batch", json!({ "get": get })).await.expect(200).json();
    for n in 0..60 {
        assert_eq!(read["get"][n]["value"], n + 1, "{read}");
    }
    app.put("/users/7/preferences/language", json!("th")).await.expect(201);
    app.post("/users/7/activity", json!({ "action": "login" })).await.expect(201);
    assert_eq!(app.delete("/json/doc:1").await.expect(200).json(), json!({ "deleted": 1 }));
}

#[tokio::test]
async fn host_samples_on_all_nodes_are_written_rolled_up_and_trimmed() {
    const DAY: i64 = 86_400_000;
    let cluster = Cluster::start().await;
    let config = "hosts.cleanup_interval = \"10ms\"\nhosts.rollup_retention = \"30d\"";
    let app = TestApp::builder().config(config).config(&cluster.config()).spawn().await;
    let other = TestApp::builder().config(&cluster.config()).spawn().await;
    for host in 0..40 {
        // Two hours, on different days.
        let samples: Vec<_> = [-DAY, -1_000, 0].into_iter().map(hosts::sample).collect();
        app.post(&format!("/hosts/h{host}/metrics"), json!(samples)).await.expect(202);
    }
    for node in &cluster.nodes {
        let _: String = node.command(&["SCRIPT", "FLUSH"]);
    }
    assert_eq!(hosts::flush(&app).await, 120);
    let listed = async || app.get("/hosts?limit=1000").await.expect(200).json()["items"].as_array().map(Vec::len);
    eventually("all hosts are listed", async || listed().await == Some(40)).await;
    let read = async |host: u64| {
        let range = format!("/hosts/h{host}/metrics/range?startTime={}", START - 2 * DAY);
        assert_eq!(hosts::times(&other.get(&range).await.expect(200).json()), [-DAY, -1_000, 0]);
        let summary = format!("/hosts/h{host}/metrics/summary?bucket=1d&startTime={}", START - 2 * DAY);
        let summary = other.get(&summary).await.expect(200).json();
        let counts: Vec<_> = summary["buckets"].as_array().expect("buckets").iter().map(|day| &day["count"]).collect();
        assert_eq!(counts, [2, 1]);
    };
    for host in 0..40 {
        read(host).await;
    }
    // The number of keys in the cluster with this prefix.
    let keys = |kind: &str| -> usize {
        let pattern = format!("metrics:{kind}:*");
        cluster.nodes.iter().map(|node| node.command::<Vec<String>>(&["KEYS", &pattern]).len()).sum()
    };
    app.clock().advance(Duration::from_secs(49 * 3_600));
    other.clock().advance(Duration::from_secs(49 * 3_600));
    eventually("all days are rolled up", async || {
        app.clock().advance(Duration::from_millis(10));
        (keys("hourly"), keys("daily"), keys("days")) == (40, 40, 0)
    })
    .await;
    for host in 0..40 {
        read(host).await;
    }
    app.clock().advance(Duration::from_secs(29 * 24 * 3_600));
    eventually("histories are trimmed", async || {
        app.clock().advance(Duration::from_millis(10));
        keys("history") == 0
    })
    .await;
    other.delete("/hosts/h7/metrics").await.expect(204);
    other.get("/hosts/h7/metrics/latest").await.expect_problem(404, "host-not-found");
}
