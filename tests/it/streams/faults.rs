//! Redis that is unavailable, stopped, restarted or replaced.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{append, append_numbers, claim, event, items, put_group, settle, versions};
use crate::support::{RedisServer, SentinelGroup, TestApp, eventually};

#[tokio::test]
async fn every_call_fails_at_once_without_redis() {
    let app = TestApp::builder().behind_proxy().system_clock().spawn().await;
    append(&app, "orders", &[event(1)]).await.expect(201);
    put_group(&app, "billing", json!({})).await;
    app.proxy().cut();
    let begun = Instant::now();
    let group = "/streams/orders/groups/billing";
    append(&app, "orders", &[event(2)]).await.expect_problem(503, "redis-unavailable");
    append(&app, "others", &[event(2)]).await.expect_problem(503, "redis-unavailable");
    for path in ["/streams", "/streams/orders", "/streams/orders/events", "/streams/orders/events?wait_ms=20000", group]
    {
        app.get(path).await.expect_problem(503, "redis-unavailable");
    }
    let request = json!({ "consumer": "c", "wait_ms": 20_000 });
    app.post(&format!("{group}/claim"), request).await.expect_problem(503, "redis-unavailable");
    app.post(&format!("{group}/ack"), json!({ "receipts": ["1-1"] })).await.expect_problem(503, "redis-unavailable");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    app.proxy().heal();
    eventually("the stream is there again", async || app.get("/streams/orders").await.is(200)).await;
}

#[tokio::test]
async fn an_append_with_an_unknown_outcome_can_be_repeated() {
    let app = TestApp::builder().behind_proxy().system_clock().spawn().await;
    append(&app, "orders", &[event(1)]).await.expect(201);
    let events = [json!({ "type": "Created", "data": 1, "id": "a" })];
    eventually("a reply is lost, and not one to the work in the background", async || {
        app.proxy().cut_next_reply();
        append(&app, "orders", &events).await.json()["outcome"] == "unknown"
    })
    .await;
    app.proxy().heal();
    eventually("the repetition finds its events", async || {
        let again = append(&app, "orders", &events).await;
        again.is(201) && again.json()["version"] == 2
    })
    .await;
    assert_eq!(app.get("/streams/orders").await.expect(200).json()["version"], 2);
}

#[tokio::test]
async fn a_stopped_redis_is_a_timeout_and_a_waiting_consumer_goes_on_later() {
    let app = TestApp::builder().system_clock().spawn().await;
    append(&app, "orders", &[event(1)]).await.expect(201);
    put_group(&app, "billing", json!({ "start": "now" })).await;
    let waiting = claim(&app, "billing", json!({ "consumer": "c", "wait_ms": 20_000 }));
    let fault = async {
        // The consumer waits when Redis stops.
        tokio::time::sleep(Duration::from_millis(300)).await;
        app.redis().stall();
        let begun = Instant::now();
        let problem = append(&app, "orders", &[event(2)]).await;
        assert!(problem.is(504) || problem.is(503), "{}", problem.text());
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        app.redis().resume();
        eventually("appends work again", async || append(&app, "orders", &[event(3)]).await.is(201)).await;
    };
    let (claimed, ()) = tokio::join!(waiting, fault);
    assert_eq!(claimed["items"].as_array().map(Vec::len), Some(1), "{claimed}");
}

#[tokio::test]
async fn streams_and_groups_survive_a_restart_of_redis() {
    let redis = RedisServer::with_options(&["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
    let app = TestApp::builder().on(redis).system_clock().spawn().await;
    append_numbers(&app, "orders", 1..=5).await;
    put_group(&app, "billing", json!({})).await;
    let claimed = items(&claim(&app, "billing", json!({ "consumer": "c", "count": 3 })).await);
    settle(&app, "billing", "ack", &claimed[..1], json!({})).await.expect(200);
    app.redis().kill();
    app.redis().boot();
    eventually("Redis is back", async || app.get("/streams/orders").await.is(200)).await;
    let body = json!({ "events": [event(6)], "expected_version": 5 });
    app.post("/streams/orders/events", body).await.expect(201);
    settle(&app, "billing", "ack", &claimed[1..], json!({})).await.expect(200);
    let rest = claim(&app, "billing", json!({ "consumer": "c", "count": 100 })).await;
    assert_eq!(versions(&rest["items"]), [4, 5, 6]);
}

#[tokio::test]
async fn acknowledged_versions_go_on_after_a_failover() {
    let mut group = SentinelGroup::start().await;
    let app = TestApp::builder().config(&group.config()).system_clock().spawn().await;
    append_numbers(&app, "orders", 1..=20).await;
    put_group(&app, "billing", json!({ "ack_timeout_ms": 1_000 })).await;
    let claimed = items(&claim(&app, "billing", json!({ "consumer": "c", "count": 10 })).await);
    settle(&app, "billing", "ack", &claimed, json!({})).await.expect(200);
    let replicated = async || {
        let state: String = group.replica.command(&["HGET", "streams:groups:{orders}", "billing|low"]);
        state == "11"
    };
    eventually("the replica has the acknowledgements", replicated).await;
    let waiting = claim(&app, "billing", json!({ "consumer": "d", "count": 100, "wait_ms": 1 })).await;
    assert_eq!(versions(&waiting["items"]), (11..=20).collect::<Vec<_>>());
    group.master.kill();
    eventually("appends work at the new master", async || {
        append(&app, "orders", &[json!({ "type": "T", "data": 1, "id": "after" })]).await.is(201)
    })
    .await;
    let stream = app.get("/streams/orders").await.expect(200).json();
    assert_eq!(stream["version"], 21, "{stream}");
    // Those that were not acknowledged are delivered again, at least once.
    let mut found = std::collections::BTreeSet::new();
    let begun = Instant::now();
    while found.len() < 11 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{found:?}");
        let claimed = items(&claim(&app, "billing", json!({ "consumer": "e", "count": 100, "wait_ms": 2_000 })).await);
        found.extend(claimed.iter().filter_map(|item| item["event"]["version"].as_u64()));
        if !claimed.is_empty() {
            settle(&app, "billing", "ack", &claimed, json!({})).await.expect(200);
        }
    }
    assert!(found.into_iter().eq(11..=21));
}
