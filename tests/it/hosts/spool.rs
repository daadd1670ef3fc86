//! The spool: what it holds survives, and it holds no more than what is not in Redis.

use std::path::Path;

use serde_json::{Value, json};

use super::{WEB, flush, sample, send, times};
use crate::support::{TestApp, TestAppBuilder, eventually};

fn spooling(directory: &Path) -> TestAppBuilder {
    TestApp::builder().config(&format!("hosts.spool_dir = \"{}\"", directory.display()))
}

fn bytes(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).expect("the spool").map(|file| file.expect("a file"));
    files.map(|file| file.metadata().expect("its size").len()).sum()
}

/// Until samples are acknowledged as spooled: the log is opened behind the scenes.
async fn opened(app: &TestApp) {
    eventually("the spool is open", async || {
        app.post("/hosts/other/metrics", sample(0)).await.expect(202).json()["stored"] == "spooled"
    })
    .await;
}

#[tokio::test]
async fn what_is_written_leaves_the_spool() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = spooling(directory.path()).spawn().await;
    opened(&app).await;
    let answer = app.post(WEB, json!([sample(0), sample(1)])).await.expect(202).json();
    assert_eq!((&answer["accepted"], &answer["stored"]), (&json!(2), &json!("spooled")));
    assert!(bytes(directory.path()) > 0);
    flush(&app).await;
    assert_eq!(bytes(directory.path()), 0);
    assert_eq!(times(&app.get("/hosts/web-1/metrics/recent").await.expect(200).json()), [1, 0]);
}

#[tokio::test]
async fn an_outage_that_memory_cannot_hold_loses_nothing_that_is_spooled() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = spooling(directory.path())
        .config("hosts.unstored_samples = 10\nhosts.recent_samples = 1")
        .behind_proxy()
        .spawn()
        .await;
    opened(&app).await;
    app.proxy().cut();
    eventually("the cut is noticed", async || app.get("/health/ready").await.is(503)).await;
    for n in 0..40 {
        send(&app, WEB, [n]).await;
    }
    app.post("/hosts/flush", Value::Null).await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    eventually("Redis is back", async || app.post("/hosts/flush", Value::Null).await.is(200)).await;
    let recent = app.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    assert_eq!(times(&recent), (0..40).rev().collect::<Vec<_>>());
    assert_eq!(bytes(directory.path()), 0);
}

#[tokio::test]
async fn a_full_spool_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = spooling(directory.path()).config("hosts.spool_limit = \"1KiB\"").spawn().await;
    opened(&app).await;
    let stored = async || app.post(WEB, sample(0)).await.expect(202).json()["stored"].clone();
    eventually("the spool is full", async || stored().await == "memory").await;
    flush(&app).await;
    assert_eq!(stored().await, "spooled");
}

#[tokio::test]
async fn a_directory_in_use_degrades_readiness_and_costs_no_sample() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = spooling(directory.path()).spawn().await;
    opened(&app).await;
    let other = spooling(directory.path()).beside(&app).spawn().await;
    eventually("it is said", async || {
        let health = other.get("/health/ready").await.expect(200).json();
        health["status"] == "degraded" && health["reasons"].to_string().contains("another process uses the directory")
    })
    .await;
    assert_eq!(other.post(WEB, sample(0)).await.expect(202).json()["stored"], "memory");
}
