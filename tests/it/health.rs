//! Liveness and readiness.

use crate::support::{TestApp, eventually};

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
async fn eviction_on_the_state_role_degrades_the_service() {
    let app = TestApp::builder().redis_options(&["--save", "", "--maxmemory-policy", "allkeys-lru"]).spawn().await;
    eventually("the service is degraded", async || app.get("/health/ready").await.json()["status"] == "degraded").await;
    let ready = app.get("/health/ready").await.expect(200).json();
    let reason = ready["reasons"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("`state`") && reason.contains("allkeys-lru"), "{reason}");
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
