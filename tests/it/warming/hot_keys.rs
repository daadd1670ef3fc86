use std::time::Duration;

use serde_json::json;

use super::http_task;
use super::source::{HttpSource, reply};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn keys_that_clients_use_are_fetched_before_they_expire() {
    let source = HttpSource::start(|_, _| async { reply(200, "{\"fresh\":true}") }).await;
    let config = http_task(&source.url(), "strategy = { kind = \"access_pattern\", threshold = 10 }\n");
    let app = TestApp::builder().config(&config).spawn().await;
    for _ in 0..12 {
        app.get("/cache/market:rate:hot").await.expect(404);
    }
    app.get("/cache/market:rate:cold").await.expect(404);
    app.clock().advance(Duration::from_secs(6));
    eventually("the hot key is cached", async || {
        app.get("/warming/tasks/rates").await.json()["last_result"].is_null()
            && app.redis().command::<i64>(&["EXISTS", "cache:market:rate:hot"]) == 1
    })
    .await;
    assert_eq!(app.redis().command::<i64>(&["EXISTS", "cache:market:rate:cold"]), 0);
    let hot = app.get("/warming/hot?task=rates&limit=1").await.expect(200).json();
    assert_eq!(hot["items"][0]["key"], "market:rate:hot");
    assert_eq!((&hot["items"][0]["uses"], &hot["items"][0]["error"]), (&json!(12), &json!(0)), "own uses do not count");
    app.get("/warming/hot?task=none").await.expect_problem(404, "warming-task-not-found");
    app.get("/warming/hot?task=rates&limit=0").await.expect_violation(422, "invalid-query", "/limit");
}

#[tokio::test]
async fn values_on_demand_are_refreshed_before_their_life_ends() {
    let source = HttpSource::start(|nth, _| async move { reply(200, nth.to_string()) }).await;
    let config = http_task(&source.url(), super::ON_DEMAND);
    let app = TestApp::builder().config(&config).spawn().await;
    app.get("/warming/values/market:rate:a").await.expect(200);
    for _ in 0..6 {
        assert_eq!(app.get("/cache/market:rate:a").await.expect(200).text(), "0");
    }
    // The last third of its life begins.
    app.redis().command::<i64>(&["PEXPIRE", "cache:market:rate:a", "150000"]);
    app.clock().advance(Duration::from_secs(6));
    eventually("the value is fetched again", async || {
        let value: String = app.redis().command(&["GET", "cache:market:rate:a"]);
        value == "1"
    })
    .await;
    assert!(app.redis().command::<i64>(&["PTTL", "cache:market:rate:a"]) > 500_000);
}
