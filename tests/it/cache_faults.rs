//! Redis is disconnected, stalled, restarted or full: no false 404, and a correct outcome.

use std::time::{Duration, Instant};

use axum::http::Method;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{TestApp, eventually};

#[tokio::test]
async fn without_redis_every_route_returns_503() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.put("/cache/a", json!(1)).await.expect(201);
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    for reply in [
        app.get("/cache/a").await,
        app.get("/cache/a?lease_ms=1000").await,
        app.get("/cache/a?touch_ms=1000").await,
        app.put("/cache/a", json!(2)).await,
        app.put("/cache/a?tags=t", json!(2)).await,
        app.send(Method::PUT, "/cache/a", &[("if-match", "*")], "2").await,
        app.delete("/cache/a").await,
        app.delete("/cache/a?take=true").await,
        app.post("/cache/a/touch", json!({"ttl_ms": 1_000})).await,
        app.post("/cache/a/increment", json!({})).await,
        app.post("/cache/batch", json!({"get": ["a"], "set": [{"key": "b", "value": 1}]})).await,
        app.get("/cache").await,
        app.delete("/cache/tags/t").await,
    ] {
        let problem = reply.expect_problem(503, "redis-unavailable");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
    }
    app.send(Method::HEAD, "/cache/a", &[], "").await.expect(503);
    app.get("/cache/a?on_error=miss").await.expect_problem(404, "cache-miss");
    app.proxy().heal();
    eventually("the value is readable again", async || app.get("/cache/a").await.is(200)).await;
    assert_eq!(app.get("/cache/a").await.expect(200).text(), "1", "no write was applied");
}

#[tokio::test]
async fn a_stalled_redis_times_out_with_an_outcome() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.put("/cache/a", json!(1)).await.expect(201);
    app.proxy().stall();
    let started = Instant::now();
    let write = app.put("/cache/a", json!(2)).await.expect_problem(504, "redis-timeout");
    assert_eq!(write["outcome"], "unknown");
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    let started = Instant::now();
    let read = app.get("/cache/a").await;
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    assert!(read.is(503) || read.is(504), "{}", read.text());
    assert_eq!(read.json()["outcome"], "not_applied");
    app.proxy().heal();
    eventually("the value is readable again", async || app.get("/cache/a").await.is(200)).await;
}

#[tokio::test]
async fn late_replies_do_not_reach_other_requests() {
    let app = TestApp::spawn().await;
    app.put("/cache/a", json!("a")).await.expect(201);
    app.put("/cache/b", json!("b")).await.expect(201);
    app.redis().stall();
    let lost = app.get("/cache/a").await;
    assert!(lost.is(504) || lost.is(503), "{}", lost.text());
    app.redis().resume();
    eventually("reads succeed again", async || app.get("/cache/b").await.is(200)).await;
    for _ in 0..20 {
        assert_eq!(app.get("/cache/b").await.expect(200).json(), json!("b"));
        assert_eq!(app.get("/cache/a").await.expect(200).json(), json!("a"));
    }
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again() {
    let app = TestApp::spawn().await;
    for round in 0..3 {
        let _: () = app.redis().command(&["SCRIPT", "FLUSH"]);
        let put = app.put(&format!("/cache/a{round}?tags=t"), json!(round)).await;
        put.expect(201);
        let _: () = app.redis().command(&["SCRIPT", "FLUSH"]);
        let counted = app.post("/cache/n/increment", json!({})).await.expect(200).json();
        assert_eq!(counted["value"], round + 1, "the increment runs once");
        let _: () = app.redis().command(&["SCRIPT", "FLUSH"]);
        let set = json!([{"key": "b", "value": round}, {"key": "c", "value": round}]);
        let batch =
            app.post("/cache/batch", json!({"get": ["n"], "set": set, "delete": ["d"]})).await.expect(200).json();
        assert_eq!(batch["get"][0]["value"], round + 1, "{batch}");
        assert!(batch["set"][1]["error"].is_null() && batch["delete"][0]["status"] == 204, "{batch}");
        let _: () = app.redis().command(&["SCRIPT", "FLUSH"]);
        app.delete(&format!("/cache/a{round}?take=true")).await.expect(200);
    }
    let listed = app.get("/cache").await.expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(3), "{listed}");
}

#[tokio::test]
async fn a_redis_restarted_without_data_is_an_empty_cache() {
    let app = TestApp::builder().redis_options(&["--save", "", "--appendonly", "no"]).spawn().await;
    app.put("/cache/a?tags=t", json!(1)).await.expect(201);
    app.redis().kill();
    eventually("reads fail", async || app.get("/cache/a").await.is(503)).await;
    app.redis().boot();
    eventually("reads miss", async || app.get("/cache/a").await.is(404)).await;
    app.put("/cache/a?tags=t", json!(2)).await.expect(201);
    assert_eq!(app.get("/cache/a").await.expect(200).json(), json!(2));
    assert_eq!(app.post("/cache/n/increment", json!({})).await.expect(200).json()["value"], 1);
}

#[tokio::test]
async fn a_full_redis_rejects_writes_and_serves_reads() {
    let app = TestApp::spawn().await;
    app.put("/cache/a?tags=t", json!(1)).await.expect(201);
    app.put("/cache/tagged?tags=v", json!(1)).await.expect(201);
    for key in ["b", "c", "d", "e"] {
        app.put(&format!("/cache/{key}"), json!(1)).await.expect(201);
    }
    app.delete("/cache/tags/u").await.expect(204);
    let _: () = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    for rejected in [
        app.put("/cache/f", json!(1)).await,
        app.put("/cache/f?tags=t", json!(1)).await,
        app.post("/cache/n/increment", json!({})).await,
    ] {
        let problem = rejected.expect_problem(507, "redis-out-of-memory");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
    }
    assert_eq!(app.get("/cache/a").await.expect(200).json(), json!(1));
    app.delete("/cache/tags/t").await.expect(204);
    app.get("/cache/a").await.expect_problem(404, "cache-miss");
    let token = [("fencing-token", "7")];
    for path in ["/cache/tags/t", "/cache/tags/unknown", "/cache/b", "/cache/c?take=true", "/cache/tagged?take=true"] {
        let deleted = app.send(Method::DELETE, path, &token, "").await;
        assert!(deleted.is(204) || path.contains("take") && deleted.is(200), "{path}: {}", deleted.text());
    }
    app.send(Method::DELETE, "/cache/none?take=true", &token, "").await.expect_problem(404, "cache-miss");
    let conditional = [token[0], ("if-match", "*")];
    app.send(Method::DELETE, "/cache/d", &conditional, "").await.expect(204);
    let batch = app.post("/cache/batch", json!({"delete": ["e", "none"]})).await.expect(200).json();
    assert_eq!((&batch["delete"][0]["status"], &batch["delete"][1]["status"]), (&json!(204), &json!(204)), "{batch}");
    app.send(Method::DELETE, "/cache/tags/t", &[("fencing-token", "6")], "").await.expect_problem(409, "stale-fence");
    let _: () = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
    app.get("/cache/f").await.expect_problem(404, "cache-miss");
    app.put("/cache/a?tags=t", json!(2)).await.expect(201);
    assert_eq!(app.get("/cache/a").await.expect(200).json(), json!(2), "the tag is still usable");
}

#[tokio::test]
async fn conditional_writes_that_never_succeed_are_reported_as_contended() {
    let app = TestApp::spawn().await;
    app.put("/cache/a", json!("first")).await.expect(201);
    // All writers read the value before one of them writes; in each round one writer succeeds.
    let writers = (0..64).map(|n| {
        let body = format!("writer {n}");
        let app = &app;
        async move { (body.clone(), app.send(Method::PUT, "/cache/a", &[("if-match", "*")], body).await) }
    });
    let mut stored = Vec::new();
    let mut contended = 0;
    for (body, reply) in join_all(writers).await {
        if reply.is(204) {
            stored.push(body);
        } else {
            let problem = reply.expect_problem(409, "cache-contended");
            assert_eq!(problem["outcome"], "not_applied", "{problem}");
            contended += 1;
        }
    }
    assert!(contended > 0 && !stored.is_empty(), "{contended} of 64 writes were contended");
    assert!(stored.contains(&app.get("/cache/a").await.expect(200).text()), "a rejected value is not stored");
}
