use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use super::source::{HttpSource, reply};
use super::{http_task, limits};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn three_replicas_run_a_task_once() {
    let app = TestApp::spawn().await;
    app.put("/warming/tasks/limits", limits(&json!({ "market:limits:a": 1 }))).await.expect(200);
    let others = [TestApp::builder().beside(&app).spawn().await, TestApp::builder().beside(&app).spawn().await];
    let runs = async || {
        app.get("/warming/tasks/limits/runs").await.json()["items"].as_array().map(Vec::len).unwrap_or_default()
    };
    eventually("the first run", async || runs().await == 1).await;
    let hour = std::time::Duration::from_secs(3_600);
    for replica in others.iter().chain([&app]) {
        replica.clock().advance(hour);
    }
    eventually("the second run", async || runs().await == 2).await;
    // A request of any replica is done by one of them.
    for replica in &others {
        let request = json!({ "dry_run": true, "wait_ms": 20_000 });
        replica.post("/warming/tasks/limits/run", request).await.expect(200);
    }
    assert_eq!(runs().await, 4);
}

/// The other replica's clock jumps over the lease of a runner whose source does not answer, as if the runner were frozen.
#[tokio::test]
async fn a_runner_that_was_frozen_writes_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let source = HttpSource::start(move |nth, _| {
        let gate = Arc::clone(&inner);
        async move {
            if nth == 0 {
                gate.acquire().await.expect("a permit").forget();
            }
            reply(200, format!("{{\"nth\":{nth}}}"))
        }
    })
    .await;
    let config = http_task(&source.url(), "strategy = { kind = \"startup\" }\nkeys = [\"market:rate:a\"]\n");
    let app = TestApp::builder().config(&config).spawn().await;
    eventually("the source is asked", async || source.requests() == 1).await;
    let other = TestApp::builder().config(&config).beside(&app).spawn().await;
    // Otherwise the other replica would leave the key to the holder of the lease.
    app.redis().command::<i64>(&["DEL", "cache:lease:{cache:market:rate:a}"]);
    other.clock().advance(std::time::Duration::from_secs(45));
    app.clock().advance(std::time::Duration::from_secs(45));
    eventually("the other replica has taken over", async || other.get("/cache/market:rate:a").await.is(200)).await;
    let first = other.get("/cache/market:rate:a").await.text();
    app.delete("/cache/market:rate:a").await.expect(204);
    gate.add_permits(1);
    let request = json!({ "dry_run": true, "wait_ms": 20_000 });
    app.post("/warming/tasks/rates/run", request).await.expect(200);
    assert_eq!(first, "{\"nth\":1}");
    app.get("/cache/market:rate:a").await.expect(404);
    let runs = app.get("/warming/tasks/rates/runs").await.json();
    let kinds: Vec<_> = runs["items"].as_array().expect("a list").iter().map(|run| run["dry_run"].clone()).collect();
    assert_eq!(kinds, [json!(true), json!(false)], "the frozen runner left no record: {runs}");
}
