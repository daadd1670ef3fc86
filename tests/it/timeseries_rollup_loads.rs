//! Loads that are longer than the retention: rollups are filled before their samples expire.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, START, TestApp, eventually};
use crate::timeseries::{LONG_DEADLINES, sample, write};
use crate::timeseries_rollups::{HOUR, add, filled, range, sum};

const DAY: i64 = 24 * HOUR;

/// Loads samples of series `a` as one CSV.
pub async fn load(app: &TestApp, samples: impl Iterator<Item = (i64, f64)>) -> Reply {
    let line = |(time, value): (i64, f64)| format!("a,{time},{value}\n");
    let csv = format!("series,timestamp,value\n{}", samples.map(line).collect::<String>());
    app.send(Method::POST, "/timeseries/samples", &[("content-type", "text/csv")], csv).await
}

#[tokio::test]
async fn a_load_that_is_longer_than_the_retention_fills_a_permanent_rollup() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 90 * DAY })).await.expect(201);
    for (bucket, agg) in [("1d", "sum"), ("1mo", "count"), ("1w", "max")] {
        add(&app, "/timeseries/a", json!({ "bucket": bucket, "agg": agg, "retention_ms": 0 })).await.expect(201);
    }
    let start = START - 730 * DAY;
    let readings = (0..730 * 96).map(|n| (start + n * HOUR / 4, 0.25));
    assert_eq!(load(&app, readings).await.expect(200).json()["accepted"], 730 * 96);
    let expected: Vec<Value> = (0..730).map(|day| json!({ "timestamp": start + day * DAY, "value": 24.0 })).collect();
    // The result does not depend on how far the rollups are filled.
    for _ in 0..2 {
        assert_eq!(range(&app, "/timeseries/a", "agg=sum&bucket=1d").await, json!(expected));
        let mut backwards = range(&app, "/timeseries/a", "agg=sum&bucket=1d&order=desc").await;
        backwards.as_array_mut().expect("points").reverse();
        assert_eq!(backwards, json!(expected));
        let months = range(&app, "/timeseries/a", "agg=count&bucket=1mo").await;
        assert_eq!((months.as_array().map(Vec::len), sum(&months)), (Some(24), 730.0 * 96.0));
        filled(&app, "/timeseries/a").await;
    }
    let visible = app.get("/timeseries/a").await.expect(200).json();
    assert_eq!(visible["count"], 90 * 96 + 1);
    // A late sample changes the bucket in which retention ends, since its samples are kept.
    let edge = START - HOUR / 4 - 90 * DAY;
    write(&app, "/timeseries/a", vec![sample(edge + 1, 1.0)]).await;
    filled(&app, "/timeseries/a").await;
    let days = range(&app, "/timeseries/a", "agg=sum&bucket=1d").await;
    let at_edge: Vec<&Value> = days.as_array().expect("points").iter().filter(|day| day["value"] != 24.0).collect();
    assert_eq!(at_edge, [&json!({ "timestamp": edge - edge.rem_euclid(DAY), "value": 25.0 })]);
}

#[tokio::test]
async fn a_batch_that_is_longer_than_the_retention_fills_a_permanent_rollup() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 90 * DAY })).await.expect(201);
    add(&app, "/timeseries/a", json!({ "bucket": "1w", "agg": "sum", "retention_ms": 0 })).await.expect(201);
    filled(&app, "/timeseries/a").await;
    let readings = || (1..=730).map(|day| (START - (730 - day) * DAY, 1.0));
    assert_eq!(load(&app, readings()).await.expect(200).json()["accepted"], 730);
    filled(&app, "/timeseries/a").await;
    assert!((sum(&range(&app, "/timeseries/a", "agg=sum&bucket=1w").await) - 730.0).abs() < 1e-9);
    // Retention hides these samples, but none was trimmed, so they still belong to their buckets.
    assert_eq!(load(&app, readings().take(365)).await.expect(200).json()["stored"], 0);
    load(&app, [(START - 400 * DAY + 1, 1.0)].into_iter()).await.expect(200);
    filled(&app, "/timeseries/a").await;
    assert!((sum(&range(&app, "/timeseries/a", "agg=sum&bucket=1w").await) - 731.0).abs() < 1e-9);
    assert_eq!(range(&app, "/timeseries/a", "").await.as_array().map(Vec::len), Some(91));
}

#[tokio::test]
async fn the_order_of_a_load_does_not_matter() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let start = START - 730 * DAY;
    let reading = |n: i64| (start + n * HOUR / 4, 0.25);
    let all = 730 * 96;
    let expected: Vec<Value> = (0..730).map(|day| json!({ "timestamp": start + day * DAY, "value": 24.0 })).collect();
    // Newest first, and a permutation: the factor has no divisor in common with the number of readings.
    for step in [all - 1, 7_919 * 13] {
        app.put("/timeseries/a", json!({ "retention_ms": 90 * DAY })).await.expect(201);
        add(&app, "/timeseries/a", json!({ "bucket": "1d", "agg": "sum", "retention_ms": 0 })).await.expect(201);
        let answer = load(&app, (0..all).map(|n| reading(n * step % all))).await.expect(200).json();
        assert_eq!((&answer["accepted"], &answer["refused_total"]), (&json!(all), &json!(0)), "{step}");
        filled(&app, "/timeseries/a").await;
        assert_eq!(range(&app, "/timeseries/a", "agg=sum&bucket=1d").await, json!(expected), "{step}");
        app.delete("/timeseries/a").await.expect(204);
    }
    // Month by month, newest first, with time for the filling in between.
    app.put("/timeseries/a", json!({ "retention_ms": 90 * DAY })).await.expect(201);
    add(&app, "/timeseries/a", json!({ "bucket": "1d", "agg": "sum", "retention_ms": 0 })).await.expect(201);
    for month in (0..73).rev() {
        let readings = (month * 960..(month + 1) * 960).map(reading);
        assert_eq!(load(&app, readings).await.expect(200).json()["accepted"], 960, "{month}");
        filled(&app, "/timeseries/a").await;
        app.clock().advance(Duration::from_secs(5));
    }
    assert_eq!(range(&app, "/timeseries/a", "agg=sum&bucket=1d").await, json!(expected));
}

#[tokio::test]
async fn a_load_without_end_does_not_keep_its_samples() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 10 * DAY })).await.expect(201);
    add(&app, "/timeseries/a", json!({ "bucket": "1d", "agg": "sum", "retention_ms": 0 })).await.expect(201);
    let (start, mut most) = (START - 600 * DAY, 0);
    for day in 0..400 {
        load(&app, (0..96).map(|n| (start + day * DAY + n * HOUR / 4, 0.25))).await.expect(200);
        filled(&app, "/timeseries/a").await;
        app.clock().advance(Duration::from_secs(30));
        most = most.max(app.redis().command::<i64>(&["ZCARD", "ts:chunks:{ts:a}"]));
    }
    assert!((2..20).contains(&most), "chunks: {most}");
    let expected: Vec<Value> = (0..400).map(|day| json!({ "timestamp": start + day * DAY, "value": 24.0 })).collect();
    assert_eq!(range(&app, "/timeseries/a", "agg=sum&bucket=1d").await, json!(expected));
}

#[tokio::test]
async fn samples_are_rolled_up_before_they_expire_in_the_open_chunk() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 96 * HOUR })).await.expect(201);
    add(&app, "/timeseries/a", json!({ "bucket": "1d", "agg": "sum", "retention_ms": 0 })).await.expect(201);
    for day in 0..12 {
        write(&app, "/timeseries/a", (0..24).map(|n| sample((day * 24 + n) * HOUR, 1.0)).collect()).await;
        let rolled = async || {
            let rolled: i64 = app.redis().command(&["HGET", "ts:a", "rolled"]);
            rolled >= (day * 24 + 23 - 24) * HOUR
        };
        eventually("the rollup follows", rolled).await;
        filled(&app, "/timeseries/a").await;
    }
    let expected: Vec<Value> = (0..12).map(|day| json!({ "timestamp": day * 24 * HOUR, "value": 24.0 })).collect();
    assert_eq!(range(&app, "/timeseries/a", "agg=sum&bucket=1d").await, json!(expected));
}
