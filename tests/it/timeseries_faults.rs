//! Series while Redis is unavailable, slow, restarted or full.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, eventually};
use crate::timeseries::{METER, bits, read, sample, write};
use crate::timeseries_packing::packed;

fn samples(count: i64) -> Value {
    json!({ "samples": (0..count).map(|n| sample(n * 10, 1.0)).collect::<Vec<_>>() })
}

#[tokio::test]
async fn every_route_reports_that_redis_is_unavailable_and_works_again_afterwards() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.post(&format!("{METER}/samples"), samples(3)).await.expect(200);
    app.proxy().cut();
    eventually("the cut is noticed", async || app.get("/health/ready").await.is(503)).await;
    for path in ["", "/latest", "/range", "/stats"] {
        app.get(&format!("{METER}{path}")).await.expect_problem(503, "redis-unavailable");
    }
    app.get("/timeseries").await.expect_problem(503, "redis-unavailable");
    let write = app.post(&format!("{METER}/samples"), samples(5)).await.expect_problem(503, "redis-unavailable");
    assert_eq!(write["outcome"], "not_applied");
    let csv = "series,timestamp,value\nenergy:consumption:MTR-001,1,1\n";
    let bulk = app.send(Method::POST, "/timeseries/samples", &[("content-type", "text/csv")], csv).await;
    assert_eq!(bulk.expect_problem(503, "redis-unavailable")["outcome"], "not_applied");
    app.put("/timeseries/a", json!({})).await.expect_problem(503, "redis-unavailable");
    app.patch(METER, json!({})).await.expect_problem(503, "redis-unavailable");
    app.delete(METER).await.expect_problem(503, "redis-unavailable");
    app.delete(&format!("{METER}/samples?from=0&to=9")).await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    eventually("series work again", async || app.get(&format!("{METER}/latest")).await.is(200)).await;
    assert_eq!(read(&app, METER, "", 9).await.len(), 3);
}

#[tokio::test]
async fn a_write_without_a_reply_has_an_unknown_outcome_and_can_be_sent_again() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.post(&format!("{METER}/samples"), samples(3)).await.expect(200);
    app.proxy().stall();
    let problem = app.post(&format!("{METER}/samples"), samples(5)).await.expect_problem(504, "redis-timeout");
    assert_eq!(problem["outcome"], "unknown");
    assert!(
        problem["detail"].as_str().is_some_and(|detail| detail.contains("sending all of them again is safe")),
        "{problem}"
    );
    app.proxy().heal();
    eventually("writes work again", async || app.post(&format!("{METER}/samples"), samples(5)).await.is(200)).await;
    let expected: Vec<(i64, f64)> = (0..5).map(|n| (n * 10, 1.0)).collect();
    assert_eq!(read(&app, METER, "", 9).await, bits(&expected));
}

/// A load is written when it has this many samples of one meter. Its buffer has 65,536 places, of which a series takes 65.
const FULL_BUFFER: i64 = 65_471;

#[tokio::test]
async fn a_stream_that_loses_redis_reports_how_many_samples_were_stored() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Result<String, std::convert::Infallible>>();
    let body = axum::body::Body::from_stream(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx)));
    let line = |time: i64| format!("{{\"series\":\"energy:consumption:MTR-001\",\"timestamp\":{time},\"value\":1}}\n");
    let lines = |first: i64| (first..first + FULL_BUFFER).map(line).collect::<String>();
    let feed = async {
        sender.send(Ok(lines(1))).expect("the body is read");
        let stored = async || {
            let latest = app.get(&format!("{METER}/latest")).await;
            latest.is(200) && latest.json()["timestamp"] == FULL_BUFFER
        };
        eventually("the first samples are stored", stored).await;
        app.proxy().stall();
        sender.send(Ok(lines(FULL_BUFFER + 1))).expect("the body is read");
    };
    let load = app.send(Method::POST, "/timeseries/samples", &[("content-type", "application/x-ndjson")], body);
    let (reply, ()) = tokio::join!(load, feed);
    let problem = reply.expect_problem(504, "redis-timeout");
    assert_eq!(problem["outcome"], "unknown");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("65471 samples were stored")), "{problem}");
}

#[tokio::test]
async fn every_sample_survives_a_restart_of_redis() {
    let app = TestApp::builder()
        .redis_options(&["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .spawn()
        .await;
    app.put("/timeseries/a", json!({ "duplicate_policy": "block", "labels": { "zone": "1" } })).await.expect(201);
    write(&app, "/timeseries/a", (0..1_300).map(|n| sample(n * 10, 0.1)).collect()).await;
    write(&app, "/timeseries/a", vec![sample(55, -0.0)]).await;
    packed(&app, "ts:a").await;
    let (before, described) = (read(&app, "/timeseries/a", "", 9_999).await, app.get("/timeseries/a").await.json());
    app.redis().kill();
    app.redis().boot();
    eventually("series are read again", async || app.get("/timeseries/a").await.is(200)).await;
    assert_eq!(read(&app, "/timeseries/a", "", 9_999).await, before);
    assert_eq!(app.get("/timeseries/a").await.json(), described);
    assert_eq!(app.get("/timeseries").await.json()["items"][0]["labels"]["zone"], "1");
    write(&app, "/timeseries/a", vec![sample(13_000, 1.0)]).await;
    assert_eq!(app.get("/timeseries/a/latest").await.json()["timestamp"], 13_000);
}

#[tokio::test]
async fn scripts_are_loaded_again_after_a_script_flush() {
    let app = TestApp::spawn().await;
    write(&app, METER, vec![sample(1, 1.0)]).await;
    app.redis().command::<()>(&["SCRIPT", "FLUSH"]);
    let lines: Vec<String> = (0..50).map(|n| format!("energy:generation:{n},1,1")).collect();
    let body = format!("series,timestamp,value\n{}", lines.join("\n"));
    let reply = app.send(Method::POST, "/timeseries/samples", &[("content-type", "text/csv")], body).await;
    assert_eq!(reply.expect(200).json()["stored"], 50);
    assert_eq!(read(&app, METER, "", 9).await.len(), 1);
}

#[tokio::test]
async fn a_full_server_rejects_writes_and_serves_reads_and_deletions() {
    let app = TestApp::spawn().await;
    write(&app, METER, (0..1_300).map(|n| sample(n * 10, 0.1)).collect()).await;
    app.redis().command::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    for batch in [vec![sample(20_000, 1.0)], vec![sample(5, 1.0)]] {
        let body = json!({ "samples": batch });
        let problem = app.post(&format!("{METER}/samples"), body).await.expect_problem(507, "redis-out-of-memory");
        assert_eq!(problem["outcome"], "not_applied");
    }
    app.put("/timeseries/a", json!({})).await.expect_problem(507, "redis-out-of-memory");
    assert_eq!(app.get(METER).await.expect(200).json()["count"], 1_300);
    for (window, deleted) in [("from=100&to=109", 1), ("from=0&to=6000", 600), ("from=12990&to=12990", 1)] {
        let reply = app.delete(&format!("{METER}/samples?{window}")).await.expect(200).json();
        assert_eq!(reply["deleted"], deleted, "{window}");
    }
    let token = [("fencing-token", "7")];
    let empty = app.send(Method::DELETE, &format!("{METER}/samples?from=1&to=2"), &token, "").await;
    assert_eq!(empty.expect(200).json()["deleted"], 0);
    app.send(Method::DELETE, "/timeseries/none", &token, "").await.expect_problem(404, "series-not-found");
    app.send(Method::DELETE, METER, &token, "").await.expect(204);
}
