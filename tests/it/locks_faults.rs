//! Locks while Redis is unavailable, slow or shared: never granted on a guess, never left behind.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{TestApp, eventually};

const LONG: u64 = 60_000;

#[tokio::test]
async fn no_lock_is_granted_while_redis_is_unreachable() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.proxy().cut();
    eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
    for _ in 0..3 {
        let started = Instant::now();
        let refused = app.post("/locks/a", json!({ "ttl_ms": LONG, "wait_ms": 10_000 })).await;
        assert_eq!(refused.expect_problem(503, "redis-unavailable")["outcome"], "not_applied");
        assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    }
    let token = "0123456789abcdef0123456789abcdef";
    app.patch("/locks/a", json!({ "token": token, "ttl_ms": LONG })).await.expect_problem(503, "redis-unavailable");
    let released = app.send(Method::DELETE, "/locks/a", &[("lock-token", token)], Body::empty()).await;
    released.expect_problem(503, "redis-unavailable");
    app.get("/locks/a").await.expect_problem(503, "redis-unavailable");
    app.get("/locks").await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    eventually("locks work again", async || app.post("/locks/a", json!({ "ttl_ms": LONG })).await.is(201)).await;
}

#[tokio::test]
async fn a_grant_whose_response_was_lost_is_released() {
    let app = TestApp::spawn().await;
    app.post("/locks/warm", json!({ "ttl_ms": LONG })).await.expect(201);
    app.redis().stall();
    let problem = app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect_problem(504, "redis-timeout");
    assert_eq!(problem["outcome"], "unknown");
    app.redis().resume();
    eventually("the service is back", async || app.get("/locks/a").await.is(200)).await;
    eventually("the lock is free", async || app.get("/locks/a").await.json()["held"] == false).await;
}

#[tokio::test]
async fn a_grant_that_comes_too_late_is_refused_and_released() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.post("/locks/warm", json!({ "ttl_ms": LONG })).await.expect(201);
    app.proxy().stall();
    let (refused, ()) = tokio::join!(app.post("/locks/a", json!({ "ttl_ms": 100 })), async {
        // Longer than the lease of 100 ms: only time can end it.
        tokio::time::sleep(Duration::from_millis(150)).await;
        app.proxy().heal();
    });
    let problem = refused.expect_problem(503, "lock-unavailable");
    assert_eq!(problem["outcome"], "not_applied");
    eventually("the lock is free", async || app.get("/locks/a").await.json()["held"] == false).await;
}

#[tokio::test]
async fn a_client_that_disconnects_leaves_no_lock_behind() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.post("/locks/warm", json!({ "ttl_ms": LONG })).await.expect(201);
    app.proxy().stall();
    let abandoned = tokio::time::timeout(Duration::from_millis(50), app.post("/locks/a", json!({ "ttl_ms": LONG })));
    assert!(abandoned.await.is_err(), "no response while the link is stalled");
    app.proxy().heal();
    eventually("the lock was granted and released", async || {
        let seen = app.get("/locks/a").await.json();
        seen["fencing_token"].is_u64() && seen["held"] == false
    })
    .await;
}

#[tokio::test]
async fn one_of_many_concurrent_callers_at_two_replicas_wins() {
    let one = TestApp::builder().system_clock().spawn().await;
    let other = TestApp::builder().system_clock().beside(&one).spawn().await;
    for round in 0..20 {
        let path = format!("/locks/round:{round}");
        let callers = (0..32).map(|at| {
            let app = if at % 2 == 0 { &one } else { &other };
            app.post(&path, json!({ "ttl_ms": LONG }))
        });
        let granted = join_all(callers).await.into_iter().filter(|reply| reply.is(201)).count();
        assert_eq!(granted, 1, "{path}");
    }
}

#[tokio::test]
async fn a_new_replica_knows_the_locks_of_the_old_one() {
    let old = TestApp::builder().system_clock().spawn().await;
    let grant = old.post("/locks/a", json!({ "ttl_ms": LONG, "owner": "old" })).await.expect(201).json();
    let new = TestApp::builder().system_clock().beside(&old).spawn().await;
    drop(old);
    new.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect_problem(409, "lock-held");
    assert_eq!(new.get("/locks/a").await.json()["owner"], "old");
    let token = grant["token"].as_str().expect("a token");
    new.patch("/locks/a", json!({ "token": token, "ttl_ms": LONG })).await.expect(200);
    new.send(Method::DELETE, "/locks/a", &[("lock-token", token)], Body::empty()).await.expect(204);
}

#[tokio::test]
async fn scripts_that_redis_lost_are_loaded_again() {
    let app = TestApp::spawn().await;
    let _: String = app.redis().command(&["SCRIPT", "FLUSH"]);
    app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect(201);
}

#[tokio::test]
async fn a_full_redis_grants_nothing_and_still_releases() {
    let app = TestApp::spawn().await;
    let grant = app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect(201).json();
    app.post("/locks/forced", json!({ "ttl_ms": LONG })).await.expect(201);
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    app.post("/locks/b", json!({ "ttl_ms": LONG })).await.expect_problem(507, "redis-out-of-memory");
    let token = grant["token"].as_str().expect("a token");
    let released = app.send(Method::DELETE, "/locks/a", &[("lock-token", token)], Body::empty()).await;
    released.expect(204);
    app.delete("/locks/forced?force=true").await.expect(204);
    assert_eq!(app.get("/locks/forced").await.expect(200).json()["held"], false);
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
    app.post("/locks/b", json!({ "ttl_ms": LONG })).await.expect(201);
}
