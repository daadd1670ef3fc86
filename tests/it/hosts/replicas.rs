//! Two replicas: agents send to either, and reads return the samples of both.

use std::time::Duration;

use serde_json::json;

use super::{WEB, flush, send, times};
use crate::support::{START, TestApp, eventually};

#[tokio::test]
async fn samples_of_one_replica_are_read_from_the_other() {
    let one = TestApp::spawn().await;
    let two = TestApp::builder().beside(&one).spawn().await;
    send(&one, WEB, [0, 2_000]).await;
    send(&two, WEB, [1_000, 3_000]).await;
    // A replica returns its own newest sample without asking Redis for one interval.
    one.clock().advance(Duration::from_secs(2));
    // The newest sample is visible before the next batch.
    eventually("the newest sample is visible", async || {
        let latest = one.get("/hosts/web-1/metrics/latest").await.expect(200).json();
        latest["metrics"]["timestamp"] == START + 3_000
    })
    .await;
    // An older sample does not replace it.
    send(&one, WEB, [2_500]).await;
    one.clock().advance(Duration::from_secs(2));
    flush(&one).await;
    flush(&two).await;
    for replica in [&one, &two] {
        let recent = replica.get("/hosts/web-1/metrics/recent").await.expect(200).json();
        assert_eq!(times(&recent), [3_000, 2_500, 2_000, 1_000, 0]);
        let latest = replica.get("/hosts/web-1/metrics/latest").await.expect(200).json();
        assert_eq!(latest["metrics"]["timestamp"], START + 3_000);
    }
    let current: String = one.redis().command(&["GET", "metrics:current:web-1"]);
    let current: serde_json::Value = serde_json::from_str(&current).expect("JSON");
    assert_eq!(current["metrics"]["timestamp"], json!(START + 3_000));
    let life: i64 = one.redis().command(&["PTTL", "metrics:current:web-1"]);
    assert!((1..=3_600_000).contains(&life), "{life}");
}

#[tokio::test]
async fn a_silent_host_is_read_from_its_history() {
    let one = TestApp::spawn().await;
    send(&one, WEB, [0, 2_000]).await;
    flush(&one).await;
    let two = TestApp::builder().beside(&one).spawn().await;
    let latest = two.get("/hosts/web-1/metrics/latest").await.expect(200).json();
    assert_eq!((&latest["metrics"]["timestamp"], &latest["source"]), (&json!(START + 2_000), &json!("redis")));
}
