//! The spool keeps the samples that are not in Redis yet, and survives crashes.

use std::path::Path;

use serde_json::{Value, json};

use super::{WEB, flush, sample, send, times};
use crate::support::{TestApp, TestAppBuilder, eventually};

fn with_spool(directory: &Path) -> TestAppBuilder {
    TestApp::builder().config(&format!("hosts.spool_dir = \"{}\"", directory.display()))
}

/// The size of the spool, bytes.
fn bytes(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).expect("the spool").map(|file| file.expect("a file"));
    files.map(|file| file.metadata().expect("its size").len()).sum()
}

/// Waits until samples are acknowledged as spooled: the log is opened in the background.
async fn wait_until_open(app: &TestApp) {
    eventually("the spool is open", async || {
        app.post("/hosts/other/metrics", sample(0)).await.expect(202).json()["stored"] == "spooled"
    })
    .await;
}

#[tokio::test]
async fn written_samples_are_removed_from_the_spool() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = with_spool(directory.path()).spawn().await;
    wait_until_open(&app).await;
    let answer = app.post(WEB, json!([sample(0), sample(1)])).await.expect(202).json();
    assert_eq!((&answer["accepted"], &answer["stored"]), (&json!(2), &json!("spooled")));
    assert!(bytes(directory.path()) > 0);
    flush(&app).await;
    assert_eq!(bytes(directory.path()), 0);
    assert_eq!(times(&app.get("/hosts/web-1/metrics/recent").await.expect(200).json()), [1, 0]);
}

#[tokio::test]
async fn a_long_outage_loses_no_spooled_sample() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = with_spool(directory.path())
        .config("hosts.unstored_samples = 10\nhosts.recent_samples = 1")
        .behind_proxy()
        .spawn()
        .await;
    wait_until_open(&app).await;
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    for n in 0..40 {
        send(&app, WEB, [n]).await;
    }
    app.post("/hosts/flush", Value::Null).await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    eventually("the samples are flushed", async || app.post("/hosts/flush", Value::Null).await.is(200)).await;
    let recent = app.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    assert_eq!(times(&recent), (0..40).rev().collect::<Vec<_>>());
    assert_eq!(bytes(directory.path()), 0);
}

#[tokio::test]
async fn a_full_spool_is_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = with_spool(directory.path()).config("hosts.spool_limit = \"1KiB\"").spawn().await;
    wait_until_open(&app).await;
    let stored = async || app.post(WEB, sample(0)).await.expect(202).json()["stored"].clone();
    eventually("the spool is full", async || stored().await == "memory").await;
    flush(&app).await;
    assert_eq!(stored().await, "spooled");
}

#[tokio::test]
async fn a_spool_directory_in_use_degrades_readiness_and_loses_no_sample() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = with_spool(directory.path()).spawn().await;
    wait_until_open(&app).await;
    let other = with_spool(directory.path()).beside(&app).spawn().await;
    eventually("readiness is degraded", async || {
        let health = other.get("/health/ready").await.expect(200).json();
        health["status"] == "degraded" && health["reasons"].to_string().contains("another process uses the directory")
    })
    .await;
    assert_eq!(other.post(WEB, sample(0)).await.expect(202).json()["stored"], "memory");
}

#[tokio::test]
async fn a_replica_that_starts_again_does_not_bring_deleted_hosts_back() {
    let one = TestApp::spawn().await;
    let directories = [0, 1].map(|_| tempfile::tempdir().expect("a directory"));
    let spooling = with_spool(directories[0].path()).config("hosts.batch_interval = \"1h\"").beside(&one).spawn().await;
    wait_until_open(&spooling).await;
    send(&spooling, WEB, [0, 1]).await;
    // As after a crash: the next process finds the segments, and nothing that it remembers.
    for segment in std::fs::read_dir(directories[0].path()).expect("the spool").map(|file| file.expect("a file")) {
        if segment.file_name() != "lock" {
            std::fs::hard_link(segment.path(), directories[1].path().join(segment.file_name())).expect("a link");
        }
    }
    one.delete(WEB).await.expect(204);
    let restarted = with_spool(directories[1].path()).beside(&one).spawn().await;
    let stored = |host: &str| one.redis().command::<bool>(&["EXISTS", &format!("metrics:history:{host}")]);
    eventually("the other host is stored", async || stored("other")).await;
    eventually("the spool is empty", async || bytes(directories[1].path()) == 0).await;
    assert!(!stored("web-1"));
    restarted.get("/hosts/web-1/metrics/recent").await.expect_problem(404, "host-not-found");
    send(&restarted, WEB, [2]).await;
    flush(&restarted).await;
    assert_eq!(times(&restarted.get("/hosts/web-1/metrics/recent").await.expect(200).json()), [2]);
}
