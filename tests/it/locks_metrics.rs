//! The counts of locks in `/metrics` and `/locks/stats`: every event is caused once.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Exposition, Reply, TestApp, eventually};

const LONG: u64 = 60_000;

async fn acquire(app: &TestApp, request: Value) -> Value {
    app.post("/locks/a", request).await.expect(201).json()
}

async fn release(app: &TestApp, grant: &Value) -> Reply {
    let token = grant["token"].as_str().expect("a token");
    app.send(Method::DELETE, "/locks/a", &[("lock-token", token)], Body::empty()).await
}

async fn metrics(app: &TestApp) -> Exposition {
    Exposition::parse(&app.get("/metrics").await.text())
}

/// A field of the statistics, the metric behind it, the metric's label, and the number that both must have.
type Count<'a> = (&'a str, &'a str, Option<(&'a str, &'a str)>, u64);

async fn expect_counts(app: &TestApp, expected: &[Count<'_>]) {
    let stats = app.get("/locks/stats").await.expect(200).json();
    let metrics = metrics(app).await;
    for (field, metric, label, count) in expected {
        assert_eq!(stats[field], *count, "{field}: {stats}");
        assert_eq!(metrics.count(metric, label.as_slice()), *count, "{metric} {label:?}");
    }
}

#[tokio::test]
async fn every_result_of_an_attempt_is_counted_once() {
    let app = TestApp::builder().system_clock().config("[locks]\nqueue_limit = 1").behind_proxy().spawn().await;
    let held = acquire(&app, json!({ "ttl_ms": LONG })).await;
    app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect_problem(409, "lock-held");
    let wait = || app.post("/locks/a", json!({ "ttl_ms": LONG, "wait_ms": 20_000 }));
    let is_queued = || eventually("it waits in the queue", async || app.get("/locks/a").await.json()["waiters"] == 1);
    // A second waiter is refused, then the first one disconnects.
    {
        let mut waiter = Box::pin(wait());
        tokio::select! {
            _ = &mut waiter => panic!("the lock is held"),
            () = is_queued() => {}
        }
        wait().await.expect_problem(429, "too-many-waiters");
    }
    eventually("its queue entry is gone", async || app.get("/locks/a").await.json()["waiters"] == 0).await;
    let (waited, _) = tokio::join!(wait(), async {
        is_queued().await;
        release(&app, &held).await.expect(204)
    });
    waited.expect(201);
    app.proxy().cut();
    eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
    app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    eventually("Redis is back", async || app.get("/locks/stats").await.is(200)).await;

    let metrics = metrics(&app).await;
    for (result, count) in [("granted", 2), ("held", 1), ("refused", 1), ("failed", 1), ("given_up", 1)] {
        assert_eq!(metrics.count("lock_attempts_total", &[("result", result)]), count, "{result}");
    }
    expect_counts(
        &app,
        &[
            ("grants", "lock_attempts_total", Some(("result", "granted")), 2),
            ("failed", "lock_attempts_total", Some(("result", "failed")), 1),
            // The refused one, the one that disconnected and the one that waited.
            ("contended", "lock_contended_total", None, 3),
            ("waits", "lock_wait_seconds_count", None, 2),
            ("waiting", "lock_waiting", None, 0),
        ],
    )
    .await;
    assert_eq!(app.get("/locks/stats").await.json()["attempts"], 6, "the sum of the results");
}

#[tokio::test]
async fn every_event_of_a_lease_is_counted_once() {
    let app = TestApp::builder().system_clock().spawn().await;
    let grant = acquire(&app, json!({ "ttl_ms": LONG })).await;
    app.patch("/locks/a", json!({ "token": grant["token"], "ttl_ms": LONG })).await.expect(200);
    release(&app, &grant).await.expect(204);
    release(&app, &grant).await.expect_problem(409, "lock-lost");
    acquire(&app, json!({ "ttl_ms": LONG })).await;
    app.delete("/locks/a?force=true").await.expect(204);
    let _: String = app.redis().command(&["SET", "lock:a", "a clock that jumped", "PX", "86400000"]);
    app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect_problem(409, "lock-held");
    let _: u64 = app.redis().command(&["DEL", "lock:a"]);
    acquire(&app, json!({ "ttl_ms": 100 })).await;
    eventually("its end is seen", async || app.get("/locks/stats").await.json()["expired"] == 1).await;
    expect_counts(
        &app,
        &[
            ("extensions", "lock_events_total", Some(("event", "extended")), 1),
            ("releases", "lock_events_total", Some(("event", "released")), 1),
            ("lost", "lock_events_total", Some(("event", "lost")), 1),
            ("forced", "lock_events_total", Some(("event", "forced")), 1),
            ("expired", "lock_events_total", Some(("event", "expired")), 1),
        ],
    )
    .await;
    assert_eq!(metrics(&app).await.count("lock_events_total", &[("event", "overlong")]), 1);
}

#[tokio::test]
async fn an_expiry_that_hands_the_lock_over_is_counted_and_a_release_is_not() {
    let app = TestApp::builder().system_clock().spawn().await;
    acquire(&app, json!({ "ttl_ms": 200 })).await;
    let next = acquire(&app, json!({ "ttl_ms": LONG, "wait_ms": 15_000 })).await;
    eventually("the end is counted", async || app.get("/locks/stats").await.json()["expired"] == 1).await;
    release(&app, &next).await.expect(204);
    acquire(&app, json!({ "ttl_ms": LONG })).await;
    eventually("the last one is listed", async || app.get("/locks/stats").await.json()["held"] == 1).await;
    assert_eq!(app.get("/locks/stats").await.json()["expired"], 1);
}

#[tokio::test]
async fn the_histogram_covers_the_longest_wait() {
    let app = TestApp::builder().system_clock().spawn().await;
    let grant = acquire(&app, json!({ "ttl_ms": LONG, "wait_ms": 20_000 })).await;
    assert_eq!(app.get("/locks/stats").await.json()["waits"], 0, "a free lock is not waited for");
    let (waited, _) = tokio::join!(acquire(&app, json!({ "ttl_ms": LONG, "wait_ms": 20_000 })), async {
        eventually("it waits in the queue", async || app.get("/locks/a").await.json()["waiters"] == 1).await;
        release(&app, &grant).await.expect(204)
    });
    release(&app, &waited).await.expect(204);
    let metrics = metrics(&app).await;
    for bound in ["0.001", "1", "10", "30"] {
        let count = metrics.count("lock_wait_seconds_bucket", &[("le", bound)]);
        assert_eq!(count, u64::from(bound != "0.001"), "a hand-over takes between 1 ms and 1 s: {bound}");
    }
    let stats = app.get("/locks/stats").await.json();
    let sum = metrics.value("lock_wait_seconds_sum", &[]) * 1_000.0;
    assert!(stats["waited_ms"].as_f64().is_some_and(|waited| (waited - sum).abs() <= 1.0), "{sum}: {stats}");
}
