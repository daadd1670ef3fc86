//! Reading samples: the newest, the most recent, and windows page by page.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::{WEB, flush, sample, send, times};
use crate::support::{START, TestApp};

#[tokio::test]
async fn the_newest_sample_is_read_from_memory() {
    let app = TestApp::spawn().await;
    send(&app, WEB, [0, 5_000, 2_500]).await;
    let latest = app.get("/hosts/web-1/metrics/latest").await.expect(200).json();
    let mut expected = sample(5_000);
    expected["seq"] = json!(0);
    assert_eq!(latest["metrics"], expected);
    assert_eq!((&latest["host"], &latest["source"]), (&json!("web-1"), &json!("memory")));
}

#[tokio::test]
async fn recent_samples_of_memory_and_redis_are_returned_newest_first() {
    let app = TestApp::builder().config("hosts.recent_samples = 3").spawn().await;
    send(&app, WEB, (0..10).map(|n| n * 1_000)).await;
    assert_eq!(flush(&app).await, 10);
    send(&app, WEB, [10_000, 11_000]).await;
    let recent = app.get("/hosts/web-1/metrics/recent?count=6").await.expect(200).json();
    assert_eq!(times(&recent), [11_000, 10_000, 9_000, 8_000, 7_000, 6_000]);
    assert_eq!((&recent["count"], &recent["source"]), (&json!(6), &json!("redis")));
    let all = app.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    assert_eq!(all["count"], 12);
}

#[tokio::test]
async fn a_range_is_read_page_by_page() {
    let app = TestApp::spawn().await;
    send(&app, WEB, [0, 1_000, 2_000, 3_000, 4_000]).await;
    let window = format!("startTime={}&endTime={}", START + 1_000, START + 4_000);
    let first = app.get(&format!("/hosts/web-1/metrics/range?{window}&limit=2")).await.expect(200).json();
    assert_eq!(times(&first), [1_000, 2_000]);
    assert_eq!((&first["truncated"], &first["count"]), (&json!(true), &json!(2)));
    flush(&app).await;
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = app.get(&format!("/hosts/web-1/metrics/range?cursor={cursor}&limit=2")).await.expect(200).json();
    assert_eq!(times(&second), [3_000, 4_000]);
    assert_eq!((&second["truncated"], &second["next_cursor"]), (&json!(false), &json!(null)));
}

#[tokio::test]
async fn a_repeated_sample_is_stored_once_and_seq_distinguishes_samples_of_a_millisecond() {
    let app = TestApp::spawn().await;
    send(&app, WEB, [0, 1_000]).await;
    flush(&app).await;
    send(&app, WEB, [1_000, 0]).await;
    let mut other = sample(0);
    other["seq"] = json!(1);
    app.post(WEB, other).await.expect(202);
    for _ in 0..2 {
        let recent = app.get("/hosts/web-1/metrics/recent").await.expect(200).json();
        assert_eq!(times(&recent), [1_000, 0, 0]);
        flush(&app).await;
    }
}

#[tokio::test]
async fn samples_without_a_timestamp_receive_one_and_are_all_stored() {
    let app = TestApp::spawn().await;
    let mut bare = sample(0);
    bare.as_object_mut().expect("an object").remove("timestamp");
    for _ in 0..3 {
        app.post("/api/hosts/web-1/metrics", bare.clone()).await.expect(202);
    }
    flush(&app).await;
    let recent = app.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    assert_eq!(times(&recent), [0, 0, 0]);
}

#[tokio::test]
async fn hosts_are_listed_in_the_order_of_their_names() {
    let app = TestApp::spawn().await;
    for host in ["c", "a", "d", "b"] {
        send(&app, &format!("/hosts/{host}/metrics"), [0]).await;
    }
    let first = app.get("/hosts?limit=3").await.expect(200).json();
    let names: Vec<&str> =
        first["items"].as_array().expect("hosts").iter().filter_map(|host| host["id"].as_str()).collect();
    assert_eq!((names.as_slice(), &first["next_cursor"]), (["a", "b", "c"].as_slice(), &json!("c")));
    assert_eq!(first["items"][0]["last_seen"], START);
    let second = app.get("/hosts?limit=3&cursor=c").await.expect(200).json();
    assert_eq!(second["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["next_cursor"], json!(null));
    let latest = app.get("/hosts/metrics/latest?limit=10").await.expect(200).json();
    assert_eq!(latest["items"].as_array().map(Vec::len), Some(4));
    assert_eq!(latest["items"][0]["host"], "a");
}

#[tokio::test]
async fn a_heartbeat_stores_its_sample() {
    let app = TestApp::spawn().await;
    let body = json!({
        "organizationSlug": "grid-one", "hostId": "db-7",
        "heartbeat": {
            "hostname": "db-7.example.org", "agentVersion": "2.1.0", "agentStatus": "running", "uptime": 86_400,
            "metrics": sample(7),
        },
    });
    assert_eq!(app.post("/api/v2/heartbeat", body).await.expect(200).json(), json!({ "success": true }));
    let latest = app.get("/hosts/db-7/metrics/latest").await.expect(200).json();
    assert_eq!(latest["metrics"]["timestamp"], START + 7);
    assert_eq!(latest["agent"]["agentVersion"], "2.1.0");
}

/// Compares reads with a sorted list, for batches of random times in six hours of which some are in Redis.
#[test]
fn ranges_and_recent_agree_with_a_model() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut runner = TestRunner::new(Config { cases: 12, ..Config::default() });
    let batches = prop::collection::vec((prop::collection::vec(0_i64..21_600_000, 1..60), any::<bool>()), 1..8);
    let windows = prop::collection::vec((0_i64..21_600_000, 0_i64..21_600_000, 1_usize..50), 1..6);
    runner
        .run(&(batches, windows), |(batches, windows)| {
            runtime.block_on(async {
                let app =
                    TestApp::builder().config("hosts.recent_samples = 5\nhosts.max_behind = \"30d\"").spawn().await;
                let mut model: Vec<i64> = Vec::new();
                for (batch, written) in batches {
                    // Six hours in the past.
                    send(&app, WEB, batch.iter().map(|time| time - 30_000_000)).await;
                    model.extend(batch);
                    if written {
                        flush(&app).await;
                    }
                }
                model.sort_unstable();
                model.dedup();
                for (from, length, limit) in windows {
                    let to = from + length;
                    let expected: Vec<i64> = model.iter().copied().filter(|time| (from..=to).contains(time)).collect();
                    let base = START - 30_000_000;
                    let mut path = format!(
                        "/hosts/web-1/metrics/range?startTime={}&endTime={}&limit={limit}",
                        base + from,
                        base + to
                    );
                    let mut found = Vec::new();
                    loop {
                        let page = app.get(&path).await.expect(200).json();
                        let part = times(&page);
                        assert!(part.len() <= limit);
                        found.extend(part.iter().map(|time| time + 30_000_000));
                        assert_eq!(page["truncated"], json!(found.len() < expected.len()), "{page}");
                        let Some(cursor) = page["next_cursor"].as_str() else { break };
                        path = format!("/hosts/web-1/metrics/range?cursor={cursor}&limit={limit}");
                    }
                    assert_eq!(found, expected);
                    let recent =
                        app.get(&format!("/hosts/web-1/metrics/recent?count={limit}")).await.expect(200).json();
                    let newest: Vec<i64> = model.iter().rev().take(limit).map(|time| time - 30_000_000).collect();
                    assert_eq!(times(&recent), newest);
                }
            });
            Ok(())
        })
        .expect("the model agrees");
}
