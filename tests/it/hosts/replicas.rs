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

/// Two replicas that write only when they are asked to, and whose clocks have gone on by the time of the next step.
async fn two_slow_replicas() -> (TestApp, TestApp) {
    let slow = "hosts.batch_interval = \"1h\"";
    let one = TestApp::builder().config(slow).spawn().await;
    let two = TestApp::builder().config(slow).beside(&one).spawn().await;
    (one, two)
}

fn advance(replicas: [&TestApp; 2]) {
    for replica in replicas {
        replica.clock().advance(Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_deletion_reaches_the_samples_that_wait_in_other_replicas() {
    let (one, two) = two_slow_replicas().await;
    send(&one, WEB, [0]).await;
    flush(&one).await;
    send(&two, WEB, [1, 2]).await;
    advance([&one, &two]);
    one.delete(WEB).await.expect(204);
    assert_eq!(flush(&two).await, 0);
    for replica in [&one, &two] {
        replica.get("/hosts/web-1/metrics/recent").await.expect_problem(404, "host-not-found");
        assert_eq!(replica.get("/hosts").await.expect(200).json()["items"], json!([]));
    }
    let left: u64 =
        one.redis().command(&["EXISTS", "metrics:history:web-1", "metrics:current:web-1", "metrics:owner:web-1"]);
    assert_eq!(left, 0);
    let life: i64 = one.redis().command(&["PTTL", "metrics:deleted:{metrics:history:web-1}"]);
    assert!(life > 30 * 24 * 3_600_000, "as long as such samples could be stored: {life}");
}

#[tokio::test]
async fn a_deletion_reaches_the_memory_of_other_replicas() {
    let (one, two) = two_slow_replicas().await;
    send(&two, WEB, [0]).await;
    flush(&two).await;
    two.get("/hosts/web-1/metrics/recent").await.expect(200);
    advance([&one, &two]);
    one.delete(WEB).await.expect(204);
    eventually("the other replica has forgotten the host", async || {
        two.get("/hosts/web-1/metrics/recent").await.is(404)
    })
    .await;
    assert_eq!(two.get("/hosts").await.expect(200).json()["items"], json!([]));
}

#[tokio::test]
async fn samples_after_a_deletion_are_kept_wherever_the_host_was_known() {
    let (one, two) = two_slow_replicas().await;
    // A second organisation could take a name without an owner.
    let owner = || one.redis().command::<Option<String>>(&["GET", "metrics:owner:web-1"]);
    send(&two, WEB, [0]).await;
    flush(&two).await;
    send(&two, WEB, [1]).await;
    advance([&one, &two]);
    one.delete(WEB).await.expect(204);
    assert_eq!(owner(), None);
    advance([&one, &two]);
    send(&two, WEB, [20_000]).await;
    send(&one, WEB, [20_001]).await;
    assert_eq!((flush(&two).await, flush(&one).await), (1, 1));
    assert!(owner().is_some());
    for replica in [&one, &two] {
        let recent = replica.get("/hosts/web-1/metrics/recent").await.expect(200).json();
        assert_eq!(times(&recent), [20_001, 20_000]);
        eventually("the host is listed", async || {
            replica.get("/hosts").await.expect(200).json()["items"].as_array().is_some_and(|items| items.len() == 1)
        })
        .await;
    }
    let index = || one.redis().command::<Vec<String>>(&["ZRANGE", "metrics:index", "0", "-1"]);
    eventually("it is in the index again", async || index() == ["web-1"]).await;
    let current = || one.redis().command::<Option<String>>(&["GET", "metrics:current:web-1"]).unwrap_or_default();
    eventually("its newest sample is published", async || current().contains(&(START + 20_001).to_string())).await;
}
