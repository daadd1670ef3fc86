//! Liveness and readiness.

use axum::body::Body;
use axum::http::Method;
use serde_json::Value;

use crate::auth::{READER, WRITER, key};
use crate::support::{ADMIN_KEY, TestApp, eventually};

#[tokio::test]
async fn readiness_reports_a_healthy_service() {
    let app = TestApp::spawn().await;
    eventually("the server's role report is complete", async || {
        app.get("/health/ready").await.json()["redis"][0]["eviction_policy"] == "noeviction"
    })
    .await;
    let ready = app.get("/health/ready").await.expect(200).json();
    assert_eq!(ready["status"], "ok", "{ready}");
    assert_eq!(ready["redis"][0]["connected"], true, "{ready}");
    assert_eq!(ready["reasons"], serde_json::json!([]), "{ready}");
}

#[tokio::test]
async fn only_administrators_see_the_address_of_redis() {
    let app =
        TestApp::builder().admin_key().config(&key("reader", READER, "scopes = [\"metrics:read\"]")).spawn().await;
    let address = async |headers: &[(&str, &str)]| {
        let reply = app.send(Method::GET, "/health/ready", headers, Body::empty()).await;
        assert!(reply.is(200) || reply.is(503), "{}", reply.text());
        reply.json()["redis"][0]["address"].clone()
    };
    for headers in [&[][..], &[("x-api-key", READER)], &[("x-api-key", WRITER)], &[("authorization", "Bearer x")]] {
        assert_eq!(address(headers).await, Value::Null, "{headers:?}");
    }
    // The URL of the shipped ACL user carries its password in the query.
    let url = app.redis().url();
    assert_eq!(address(&[("x-api-key", ADMIN_KEY)]).await.as_str(), url.split('?').next());
}

#[tokio::test]
async fn eviction_on_the_state_role_degrades_the_service() {
    let app = TestApp::builder().redis_options(&["--save", "", "--maxmemory-policy", "allkeys-lru"]).spawn().await;
    eventually("the service is degraded", async || app.get("/health/ready").await.json()["status"] == "degraded").await;
    let ready = app.get("/health/ready").await.expect(200).json();
    let reason = ready["reasons"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("`state`") && reason.contains("allkeys-lru"), "{reason}");
}

/// Waits until a reason of readiness contains `text`.
async fn found(app: &TestApp, text: &str) {
    let reasons = async || app.get("/health/ready").await.expect(200).json()["reasons"].to_string();
    eventually(text, async || reasons().await.contains(text)).await;
}

#[tokio::test]
async fn missing_persistence_degrades_the_service() {
    let app = TestApp::builder().redis_options(&["--save", "", "--appendonly", "no"]).spawn().await;
    found(&app, "nothing persists").await;
    let ready = app.get("/health/ready").await.json();
    assert_eq!((&ready["status"], &ready["redis"][0]["persistence"]), (&"degraded".into(), &"none".into()), "{ready}");
    let app = TestApp::builder().redis_options(&["--save", "900 1", "--appendonly", "no"]).spawn().await;
    eventually("snapshots are known", async || {
        app.get("/health/ready").await.json()["redis"][0]["persistence"] == "snapshots"
    })
    .await;
    assert_eq!(app.get("/health/ready").await.json()["status"], "ok");
}

#[tokio::test]
async fn full_memory_and_refused_writes_degrade_the_service() {
    let options = ["--appendonly", "yes"];
    let app = TestApp::builder().config("redis.check_interval = \"50ms\"").redis_options(&options).spawn().await;
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    found(&app, "of its maxmemory: it refuses writes").await;
    app.put("/json/a", serde_json::json!({ "a": 1 })).await.expect_problem(507, "redis-out-of-memory");
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
    found(&app, "refused writes within the last minute").await;
}

#[tokio::test]
async fn writes_that_are_refused_in_a_pipeline_or_denied_degrade_the_service() {
    let options = ["--appendonly", "yes"];
    let spawn = || TestApp::builder().config("redis.check_interval = \"50ms\"").redis_options(&options).spawn();
    let batch = async |app: &TestApp| {
        let sets = serde_json::json!({ "set": [{ "key": "a", "value": 1 }, { "key": "b", "value": 1 }] });
        app.post("/cache/batch", sets).await.expect(503);
    };
    let app = spawn().await;
    let _: String = app.redis().command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    batch(&app).await;
    found(&app, "refused writes within the last minute").await;
    let app = spawn().await;
    let _: String = app.redis().command(&["ACL", "SETUSER", "default", "-@write", "+evalsha"]);
    batch(&app).await;
    found(&app, "denied the service's user a write within the last minute").await;
}

#[tokio::test]
async fn traffic_goes_elsewhere_only_while_the_service_drains() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    assert_eq!(app.get("/health/traffic").await.expect(200).json()["status"], "ok");
    app.app().deps.phase.begin_draining();
    assert_eq!(app.get("/health/traffic").await.expect(503).json()["status"], "draining");
}

#[tokio::test]
async fn without_redis_the_service_is_live_but_not_ready() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    app.get("/health/live").await.expect(200);
    app.proxy().heal();
    eventually("the service is ready again", async || app.get("/health/ready").await.is(200)).await;
}
