//! The cleanup packs hours, trims histories and deletes hosts without data, on one replica at a time.

use std::time::Duration;

use serde_json::json;

use super::{WEB, flush, sample, send, times};
use crate::support::{START, TestApp, TestAppBuilder, eventually};

const HOUR: i64 = 3_600_000;

fn cleaning() -> TestAppBuilder {
    TestApp::builder().config("hosts.cleanup_interval = \"50ms\"")
}

fn chunks(app: &TestApp) -> u64 {
    app.redis().command(&["ZCARD", "metrics:history:web-1"])
}

/// Waits until the host is in the index.
async fn listed(app: &TestApp) {
    eventually("the host is listed", async || app.redis().command::<u64>(&["SCARD", "metrics:hosts"]) == 1).await;
}

#[tokio::test]
async fn an_hour_is_packed_once_it_is_over_and_again_after_late_samples() {
    let app = cleaning().config("hosts.recent_samples = 1").spawn().await;
    for n in 0..10 {
        send(&app, WEB, [n * 1_000, n * 1_000 + 500]).await;
        flush(&app).await;
    }
    assert_eq!(chunks(&app), 10);
    listed(&app).await;
    app.clock().advance(Duration::from_secs(2 * 3_600));
    eventually("the hour is packed", async || chunks(&app) == 1).await;
    let all: Vec<i64> = (0..20).rev().map(|n| n * 500).collect();
    assert_eq!(times(&app.get("/hosts/web-1/metrics/recent").await.expect(200).json()), all);
    let life: i64 = app.redis().command(&["PTTL", "metrics:history:web-1"]);
    assert!(life > 29 * 24 * HOUR, "{life}");
    // A late sample, and one that is already stored.
    send(&app, WEB, [250, 500]).await;
    flush(&app).await;
    app.clock().advance(Duration::from_secs(60));
    eventually("the hour is packed again", async || chunks(&app) == 1).await;
    let range = format!("/hosts/web-1/metrics/range?startTime={START}&endTime={}", START + 750);
    assert_eq!(times(&app.get(&range).await.expect(200).json()), [0, 250, 500]);
}

#[tokio::test]
async fn expired_samples_are_trimmed_by_the_next_write_or_cleanup() {
    let config = "hosts.retention = \"1d\"\nhosts.max_behind = \"1d\"";
    let app = TestApp::builder().config(config).spawn().await;
    send(&app, WEB, [0]).await;
    flush(&app).await;
    app.clock().advance(Duration::from_secs(26 * 3_600));
    send(&app, WEB, [26 * HOUR]).await;
    flush(&app).await;
    assert_eq!(chunks(&app), 1);

    let config = format!("{config}\nhosts.cleanup_interval = \"50ms\"");
    let other = TestApp::builder().config(&config).beside(&app).spawn().await;
    other.clock().advance(Duration::from_secs(60 * 3_600));
    let now = 60 * HOUR;
    send(&other, "/hosts/web-2/metrics", [now]).await;
    // The first host is listed before or after it, whenever its replica publishes.
    eventually("the second host is listed", async || {
        app.redis().command::<bool>(&["SISMEMBER", "metrics:hosts", "web-2"])
    })
    .await;
    app.redis().command::<u64>(&["ZADD", "metrics:index", "0", "web-1"]);
    eventually("the history of the first host is trimmed", async || {
        other.clock().advance(Duration::from_secs(1));
        chunks(&app) == 0
    })
    .await;
}

#[tokio::test]
async fn a_host_without_data_is_deleted() {
    let app = cleaning().config("hosts.rollup_retention = \"30d\"").config("hosts.max_hosts = 1").spawn().await;
    send(&app, WEB, [0]).await;
    flush(&app).await;
    listed(&app).await;
    // Another host replaces it in memory.
    send(&app, "/hosts/web-2/metrics", [0]).await;
    flush(&app).await;
    // The published sample of a silent host expires after an hour.
    app.redis().command::<u64>(&["PEXPIRE", "metrics:current:web-1", "1"]);
    eventually("the host is deleted", async || {
        app.clock().advance(Duration::from_secs(24 * 3_600));
        app.redis().command::<u64>(&["EXISTS", "metrics:owner:web-1", "metrics:history:web-1"]) == 0
    })
    .await;
    assert_eq!(app.redis().command::<u64>(&["SISMEMBER", "metrics:hosts", "web-1"]), 0);
    app.get("/hosts/web-1/metrics/latest").await.expect_problem(404, "host-not-found");
}

#[tokio::test]
async fn replicas_take_turns_to_clean_up() {
    let interval = "hosts.cleanup_interval = \"20ms\"";
    let one = TestApp::builder().config(interval).spawn().await;
    let two = TestApp::builder().config(interval).beside(&one).spawn().await;
    let last = || -> Option<String> { one.redis().command(&["GET", "metrics:last_cleanup"]) };
    eventually("one replica has cleaned up", async || last() == Some(START.to_string())).await;
    // With both clocks stopped, no replica has a turn. Then only the replica whose clock has advanced has one.
    two.clock().advance(Duration::from_millis(20));
    eventually("the second replica cleans up", async || last() == Some((START + 20).to_string())).await;
    let rounds =
        async |app: &TestApp| app.get("/health/ready").await.json()["tasks"]["hosts.cleanup"]["last_run"].clone();
    eventually("the first replica has no turn", async || rounds(&one).await == json!(START)).await;
    assert_eq!(last(), Some((START + 20).to_string()));
}

/// Measures one day of 5-second samples and multiplies by thirty.
#[tokio::test]
async fn a_month_of_a_host_takes_less_than_twenty_megabytes() {
    let app = cleaning().spawn().await;
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut used, mut traffic) = (6_000_000_000_u64, 0_u64);
    let samples: Vec<_> = (0..17_280)
        .map(|n| {
            used = used + 4_096 * random(2_000) - 4_096 * 1_000;
            traffic += random(2_000_000);
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let percent = used as f64 / 17_179_869_184.0 * 100.0;
            let mut sample = sample(n * 5_000 - 86_400_000);
            sample["cpu"]["usage"] = json!(f64::from(u32::try_from(random(10_000)).expect("small")) / 100.0);
            sample["memory"] = json!({ "total": 17_179_869_184_u64, "used": used, "free": 17_179_869_184 - used, "usagePercent": percent });
            sample["network"] = json!({ "bytesIn": traffic, "bytesOut": traffic / 3, "packetsIn": traffic / 900, "packetsOut": traffic / 1_100 });
            sample
        })
        .collect();
    for part in samples.chunks(1_000) {
        app.post(WEB, json!(part)).await.expect(202);
        flush(&app).await;
    }
    listed(&app).await;
    eventually("all hours are packed", async || {
        app.clock().advance(Duration::from_secs(60));
        // Only the count of chunks remains.
        app.redis().command::<u64>(&["HLEN", "metrics:hours:{metrics:history:web-1}"]) == 1
    })
    .await;
    let bytes: u64 = app.redis().command(&["MEMORY", "USAGE", "metrics:history:web-1", "SAMPLES", "0"]);
    println!("a day of 5-second samples: {bytes} bytes");
    assert!(bytes * 30 <= 20_000_000, "{bytes} bytes per day");
    let range = format!("/hosts/web-1/metrics/range?startTime={}&limit=10000", START - 86_400_000);
    let first = app.get(&range).await.expect(200).json();
    assert_eq!(first["metrics"][7], {
        let mut expected = samples[7].clone();
        expected["seq"] = json!(0);
        expected
    });
    assert_eq!(first["count"], 10_000);
}
