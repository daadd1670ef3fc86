//! Redis is unavailable: samples are accepted, reads name their source, and waiting samples are written afterwards.

use axum::http::Method;
use serde_json::{Value, json};

use super::{WEB, flush, sample, send, times};
use crate::support::{TestApp, eventually};

/// Cuts the connection to Redis.
async fn cut(app: &TestApp) {
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
}

/// Restores the connection to Redis.
async fn heal(app: &TestApp) {
    app.proxy().heal();
    eventually("the service is ready", async || app.get("/health/ready").await.is(200)).await;
}

#[tokio::test]
async fn samples_are_accepted_without_redis_and_written_when_it_is_available() {
    let app = TestApp::builder().behind_proxy().config("hosts.recent_samples = 2").spawn().await;
    send(&app, WEB, [0]).await;
    flush(&app).await;
    cut(&app).await;
    send(&app, WEB, [1_000, 2_000, 3_000, 4_000]).await;
    send(&app, "/hosts/new/metrics", [0]).await;
    app.post("/hosts/flush", Value::Null).await.expect_problem(503, "redis-unavailable");

    let recent = app.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    // The oldest sample is in Redis and no longer in memory.
    assert_eq!(times(&recent), [4_000, 3_000, 2_000, 1_000]);
    assert_eq!(recent["source"], "memory");
    let range = app.get("/hosts/new/metrics/range").await.expect(200).json();
    assert_eq!((times(&range), &range["source"]), (vec![0], &json!("memory")));
    app.clock().advance(std::time::Duration::from_secs(60));
    assert_eq!(app.get("/hosts/web-1/metrics/latest").await.expect(200).json()["source"], "memory");
    let listed = app.get("/hosts").await.expect(200).json();
    assert_eq!((listed["items"].as_array().map(Vec::len), &listed["source"]), (Some(2), &json!("memory")));
    let all = app.get("/hosts/metrics/latest").await.expect(200).json();
    assert_eq!((all["items"].as_array().map(Vec::len), &all["source"]), (Some(2), &json!("memory")));
    app.get("/hosts/unknown/metrics/latest").await.expect_problem(503, "redis-unavailable");
    app.send(Method::DELETE, "/hosts/unknown/metrics", &[], "").await.expect_problem(503, "redis-unavailable");

    heal(&app).await;
    assert_eq!(flush(&app).await, 5);
    let other = TestApp::builder().beside(&app).spawn().await;
    let recent = other.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    assert_eq!(times(&recent), [4_000, 3_000, 2_000, 1_000, 0]);
    assert_eq!(times(&other.get("/hosts/new/metrics/recent").await.expect(200).json()), [0]);
}

#[tokio::test]
async fn a_batch_without_a_reply_is_written_again_without_duplicates() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    send(&app, WEB, [0]).await;
    flush(&app).await;
    send(&app, WEB, [1_000, 2_000]).await;
    app.proxy().stall();
    assert!(!app.post("/hosts/flush", Value::Null).await.is(200));
    send(&app, WEB, [3_000]).await;
    heal(&app).await;
    assert_eq!(flush(&app).await, 3);
    let other = TestApp::builder().beside(&app).spawn().await;
    let recent = other.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    assert_eq!(times(&recent), [3_000, 2_000, 1_000, 0]);
}

#[tokio::test]
async fn the_oldest_samples_are_dropped_and_counted_at_the_limit() {
    let app =
        TestApp::builder().behind_proxy().config("hosts.unstored_samples = 10\nhosts.recent_samples = 1").spawn().await;
    cut(&app).await;
    for n in 0..25 {
        send(&app, WEB, [n]).await;
    }
    let recent = app.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    assert_eq!(times(&recent), (15..25).rev().collect::<Vec<_>>());
    let metrics = app.get("/metrics").await.expect(200).text();
    assert!(metrics.contains("host_samples_total{event=\"dropped\"} 15"), "{metrics}");
    assert!(metrics.contains("host_samples_unstored 10"), "{metrics}");
    heal(&app).await;
    flush(&app).await;
    assert!(app.get("/metrics").await.text().contains("host_samples_unstored 0"));
    let recent = app.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    assert_eq!(times(&recent), (15..25).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn samples_are_refused_and_none_is_dropped_while_redis_is_slow() {
    let config = "hosts.unstored_samples = 10\nredis.command_timeout = \"20s\"\nhttp.request_deadline = \"20s\"";
    let app = TestApp::builder().behind_proxy().config(config).spawn().await;
    send(&app, WEB, [0]).await;
    flush(&app).await;
    app.proxy().stall();
    send(&app, WEB, 1..=10).await;
    let refused = app.post("/hosts/web-1/metrics", sample(11)).await;
    assert!(refused.expect_problem(503, "overloaded")["retry_after_ms"].is_u64());
    app.proxy().heal();
    eventually("samples are accepted again", async || app.post("/hosts/web-1/metrics", sample(11)).await.is(202)).await;
    flush(&app).await;
    let recent = app.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    assert_eq!(times(&recent), (0..=11).rev().collect::<Vec<_>>());
    assert!(app.get("/metrics").await.text().contains("host_samples_total{event=\"dropped\"} 0"));
}

#[tokio::test]
async fn a_host_with_waiting_samples_stays_in_memory() {
    let app = TestApp::builder().behind_proxy().config("hosts.max_hosts = 2").spawn().await;
    cut(&app).await;
    send(&app, "/hosts/a/metrics", [0]).await;
    send(&app, "/hosts/b/metrics", [0]).await;
    app.post("/hosts/c/metrics", sample(0)).await.expect_problem(503, "too-many-hosts");
    heal(&app).await;
    flush(&app).await;
    app.clock().advance(std::time::Duration::from_secs(1));
    send(&app, "/hosts/b/metrics", [1]).await;
    send(&app, "/hosts/c/metrics", [0]).await;
    // The silent host was removed from memory and is still in Redis.
    flush(&app).await;
    for host in ["a", "b", "c"] {
        app.get(&format!("/hosts/{host}/metrics/recent")).await.expect(200);
    }
}

#[tokio::test]
async fn a_key_of_another_type_is_reported_and_does_not_block_other_hosts() {
    let app = TestApp::spawn().await;
    app.redis().command::<()>(&["SET", "metrics:history:web-1", "x"]);
    send(&app, WEB, [0]).await;
    send(&app, "/hosts/web-2/metrics", [0]).await;
    assert_eq!(flush(&app).await, 1);
    app.get("/hosts/web-1/metrics/range").await.expect_problem(409, "wrong-type");
    assert_eq!(times(&app.get("/hosts/web-2/metrics/recent").await.expect(200).json()), [0]);
    assert!(app.get("/metrics").await.text().contains("host_samples_total{event=\"disowned\"} 1"));
}

#[tokio::test]
async fn a_stopping_service_writes_waiting_samples() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    send(&app, WEB, [0, 1_000]).await;
    app.app().deps.tasks.stop();
    app.app().deps.tasks.drained().await;
    assert_eq!(times(&other.get("/hosts/web-1/metrics/recent").await.expect(200).json()), [1_000, 0]);
}
