//! Redis is disconnected, stalled, restarted or full: the service never answers a false 404 and always states the outcome.

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::json;

use crate::support::{TestApp, eventually};

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

#[tokio::test]
async fn a_cut_redis_is_503_on_every_route_and_never_404() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.put("/json/a", json!({ "n": 1, "l": [1] })).await.expect(201);
    app.proxy().cut();
    eventually("the cut is noticed", async || app.get("/health/ready").await.is(503)).await;
    for reply in [
        app.get("/json/a").await,
        app.get("/json/a?path=$.n").await,
        app.get("/json/a/type").await,
        app.get("/json/a/length").await,
        app.get("/json/a/keys").await,
        app.put("/json/a", json!(2)).await,
        app.put("/json/a?path=$.n", json!(2)).await,
        app.send(Method::PATCH, "/json/a", &[MERGE], "{}").await,
        app.delete("/json/a").await,
        app.delete("/json/a?path=$.n").await,
        app.post("/json/a/touch", json!({ "ttl_ms": 1_000 })).await,
        app.post("/json/a/number/increment", json!({ "path": "$.n", "by": 1 })).await,
        app.post("/json/a/array/append", json!({ "path": "$.l", "values": [1] })).await,
        app.get("/users/7/preferences").await,
        app.put("/users/7/preferences/language", json!("th")).await,
        app.get("/users/7/activity").await,
        app.post("/users/7/activity", json!({ "action": "login" })).await,
        app.get("/config/market/grid").await,
        app.get("/forms/7").await,
    ] {
        let problem = reply.expect_problem(503, "redis-unavailable");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
    }
    let batch = app.post("/json/batch", json!({ "get": [{ "key": "a" }], "set": [{ "key": "b", "value": 1 }] })).await;
    assert_eq!(batch.expect_problem(503, "redis-unavailable")["outcome"], "not_applied");
    app.proxy().heal();
    eventually("it is read again", async || app.get("/json/a").await.is(200)).await;
    assert_eq!(app.get("/json/a").await.json(), json!({ "n": 1, "l": [1] }), "nothing was applied");
}

#[tokio::test]
async fn a_stalled_redis_leads_to_a_timely_reply_with_the_outcome() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.put("/json/a", json!({ "n": 1 })).await.expect(201);
    app.proxy().stall();
    let started = Instant::now();
    let write = app.put("/json/a", json!(2)).await.expect_problem(504, "redis-timeout");
    assert_eq!(write["outcome"], "unknown");
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    for reply in
        [app.get("/json/a").await, app.post("/json/a/number/increment", json!({ "path": "$.n", "by": 1 })).await]
    {
        assert!(reply.is(503) || reply.is(504), "{}", reply.text());
        assert_eq!(reply.json()["outcome"], "not_applied", "a change that stopped at its read is not applied");
    }
    app.proxy().heal();
    eventually("it is read again", async || app.get("/json/a").await.is(200)).await;
}

#[tokio::test]
async fn lost_scripts_are_loaded_again() {
    let app = TestApp::spawn().await;
    app.put("/json/n", json!(0)).await.expect(201);
    for round in 1..=3 {
        let _: () = app.redis().command(&["SCRIPT", "FLUSH"]);
        let counted = app.post("/json/n/number/increment", json!({ "by": 1 })).await.expect(200).json();
        assert_eq!(counted["results"], json!([round]), "once, not twice");
        let _: () = app.redis().command(&["SCRIPT", "FLUSH"]);
        app.post("/json/n/touch", json!({ "ttl_ms": 60_000 })).await.expect(204);
    }
}

#[tokio::test]
async fn after_a_data_loss_documents_are_missing_and_versions_are_not_reused() {
    let app = TestApp::builder().redis_options(&["--save", "", "--appendonly", "no"]).spawn().await;
    let before = app.put("/json/a", json!(1)).await.expect(201).header("etag").map(str::to_owned);
    app.redis().kill();
    eventually("reads fail", async || app.get("/json/a").await.is(503)).await;
    app.redis().boot();
    eventually("the document is gone", async || app.get("/json/a").await.is(404)).await;
    let after = app.put("/json/a", json!(1)).await.expect(201).header("etag").map(str::to_owned);
    assert_ne!(before, after);
}

#[tokio::test]
async fn documents_survive_a_restart() {
    let app = TestApp::builder().redis_options(&["--appendonly", "yes", "--appendfsync", "always"]).spawn().await;
    let written = app.put("/json/a", json!({ "n": 1 })).await.expect(201).header("etag").map(str::to_owned);
    app.redis().kill();
    eventually("reads fail", async || app.get("/json/a").await.is(503)).await;
    app.redis().boot();
    eventually("it is read again", async || app.get("/json/a").await.is(200)).await;
    let read = app.get("/json/a").await;
    assert_eq!(read.header("etag").map(str::to_owned), written);
    app.post("/json/a/number/increment", json!({ "path": "$.n", "by": 1 })).await.expect(200);
}

#[tokio::test]
async fn a_full_redis_rejects_writes_and_still_reads_and_deletes() {
    let app = TestApp::spawn().await;
    app.put("/json/a", json!({ "n": 1 })).await.expect(201);
    let text = "x".repeat(1_000);
    app.put("/json/c", json!({ "a": &text, "b": &text, "c": &text, "l": [1, 2, 3], "o": { "a": 1 } }))
        .await
        .expect(201);
    app.put("/users/7/preferences", json!({ "a": &text, "b": 1 })).await.expect(201);
    let _: () = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    for refused in [
        app.put("/json/b", json!(1)).await,
        app.post("/json/a/number/increment", json!({ "path": "$.n", "by": 1 })).await,
    ] {
        let problem = refused.expect_problem(507, "redis-out-of-memory");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
    }
    // What makes a document smaller frees memory, under a lock, too.
    let token = [("fencing-token", "7")];
    for (method, path, headers, body) in [
        (Method::DELETE, "/json/c?path=$.a", &[][..], ""),
        (Method::DELETE, "/json/c?path=$.b", &token, ""),
        (Method::DELETE, "/json/none?path=$.b", &token, ""),
        (Method::PATCH, "/json/c", &[MERGE], r#"{"c":null}"#),
        (Method::POST, "/json/c/array/pop", &[JSON], r#"{"path":"$.l"}"#),
        (Method::POST, "/json/c/array/trim", &[JSON], r#"{"path":"$.l","start":0,"stop":0}"#),
        (Method::POST, "/json/c/clear", &[JSON], r#"{"path":"$.o"}"#),
        (Method::DELETE, "/users/7/preferences/a", &[], ""),
    ] {
        let reply = app.send(method, path, headers, body).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text());
    }
    assert_eq!(app.get("/json/c").await.expect(200).json(), json!({ "l": [1], "o": {} }));
    assert_eq!(app.get("/users/7/preferences").await.expect(200).json(), json!({ "b": 1 }));
    let stale = app.send(Method::DELETE, "/json/c?path=$.l", &[("fencing-token", "6")], "").await;
    stale.expect_problem(409, "stale-fence");
    let batch = app.post("/json/batch", json!({ "delete": [{ "key": "c", "path": "$.l" }] })).await.expect(200).json();
    assert_eq!(batch["delete"][0]["deleted"], 1, "{batch}");
    assert_eq!(app.get("/json/a").await.expect(200).json(), json!({ "n": 1 }));
    assert_eq!(app.delete("/json/a").await.expect(200).json(), json!({ "deleted": 1 }));
}
