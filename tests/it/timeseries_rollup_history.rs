//! Rollups that reach back further than the samples: what they have stays, and is found.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{START, TestApp, eventually};
use crate::timeseries::{LONG_DEADLINES, sample, write};
use crate::timeseries_rollup_loads::load;
use crate::timeseries_rollups::{HOUR, add, filled, range, sum};

const DAY: i64 = 24 * HOUR;

/// Hourly readings of one kWh until the clock's time.
fn hours(days: i64) -> impl Iterator<Item = (i64, f64)> {
    (0..days * 24).map(move |n| (START - days * DAY + n * HOUR, 1.0))
}

/// The days of these readings.
fn days(days: i64) -> Value {
    (0..days).map(|day| json!({ "timestamp": START - (days - day) * DAY, "value": 24.0 })).collect()
}

/// Adds readings to a series with a retention of 90 days, and waits until older samples are trimmed.
async fn trimmed_history(app: &TestApp, all: i64) {
    load(app, hours(all)).await.expect(200);
    filled(app, "/timeseries/a").await;
    // A load may have samples of any age for ten minutes.
    app.clock().advance(Duration::from_secs(601));
    let trimmed = async || {
        write(app, "/timeseries/a", vec![sample(START + 1, 1.0)]).await;
        let until: Option<i64> = app.redis().command(&["HGET", "ts:a", "untrimmed_from"]);
        until.is_some_and(|until| until > START - 120 * DAY)
    };
    eventually("samples are trimmed", trimmed).await;
    app.delete(&format!("/timeseries/a/samples?from={START}&to={}", START + 1)).await.expect(200);
    filled(app, "/timeseries/a").await;
}

/// The points of a query, which are the same backwards.
async fn both_ways(app: &TestApp, query: &str) -> Value {
    let forwards = range(app, "/timeseries/a", query).await;
    let mut backwards = range(app, "/timeseries/a", &format!("{query}&order=desc")).await;
    backwards.as_array_mut().expect("points").reverse();
    assert_eq!(forwards, backwards, "{query}");
    forwards
}

#[tokio::test]
async fn a_longer_retention_keeps_the_buckets_whose_samples_are_gone() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 90 * DAY })).await.expect(201);
    let kept = 500 * DAY;
    for rollup in [
        json!({ "bucket": "1d", "agg": "sum", "retention_ms": 0 }),
        json!({ "bucket": "1d", "agg": "count", "retention_ms": kept }),
        json!({ "bucket": "1d", "agg": "max" }),
    ] {
        add(&app, "/timeseries/a", rollup).await.expect(201);
    }
    trimmed_history(&app, 600).await;
    assert_eq!(both_ways(&app, "agg=sum&bucket=1d").await, days(600));
    for retention in [400 * DAY, kept, 0, 90 * DAY, 0] {
        app.patch("/timeseries/a", json!({ "retention_ms": retention })).await.expect(200);
        // The result does not depend on how far the rollups are filled again.
        for _ in 0..2 {
            assert_eq!(both_ways(&app, "agg=sum&bucket=1d").await, days(600), "{retention}");
            let counts = both_ways(&app, "agg=count&bucket=1d").await;
            let expected = if retention == 90 * DAY || retention == 400 * DAY { 501 } else { 500 };
            assert!(counts.as_array().is_some_and(|days| (500..=expected).contains(&days.len())), "{counts}");
            assert!(counts.as_array().is_some_and(|days| days.iter().all(|day| day["value"] == 24)), "{counts}");
            filled(&app, "/timeseries/a").await;
        }
    }
    // A rollup without a retention of its own has what the samples give.
    let with = both_ways(&app, "agg=max&bucket=1d").await;
    app.delete("/timeseries/a/rollups/max:1d").await.expect(204);
    assert_eq!(with, both_ways(&app, "agg=max&bucket=1d").await);
    // A late sample does not replace a bucket that had all its samples, but it makes one where none was.
    let late = [START - 599 * DAY, START - 700 * DAY, START - 700 * DAY + 1].map(|time| sample(time, 5.0));
    for one in late {
        write(&app, "/timeseries/a", vec![one]).await;
        filled(&app, "/timeseries/a").await;
    }
    let mut expected = vec![json!({ "timestamp": START - 700 * DAY, "value": 10.0 })];
    expected.extend(days(600).as_array().expect("days").iter().cloned());
    assert_eq!(both_ways(&app, "agg=sum&bucket=1d").await, json!(expected));
}

/// Readings of 100 days, of which a retention of 10 days has trimmed most. Then the retention becomes longer, and the first
/// rollup is added.
async fn rollup_after_a_longer_retention(app: &TestApp) {
    app.put("/timeseries/a", json!({ "retention_ms": 10 * DAY })).await.expect(201);
    let readings: Vec<Value> = hours(100).map(|(time, value)| sample(time, value)).collect();
    for batch in readings.chunks(100) {
        write(app, "/timeseries/a", batch.to_vec()).await;
    }
    app.patch("/timeseries/a", json!({ "retention_ms": 150 * DAY })).await.expect(200);
    add(app, "/timeseries/a", json!({ "bucket": "1d", "agg": "sum", "retention_ms": 0 })).await.expect(201);
    filled(app, "/timeseries/a").await;
    let raw = range(app, "/timeseries/a", "limit=100000").await;
    let raw = i32::try_from(raw.as_array().expect("samples").len()).expect("few");
    assert!(raw < 2_000, "samples were trimmed: {raw}");
    let total = sum(&both_ways(app, "agg=sum&bucket=1d").await);
    assert!((total - f64::from(raw)).abs() < 1e-9, "visible samples count: {total}, {raw}");
}

/// The days that remain when all readings have expired.
async fn after_expiry(app: &TestApp) -> Value {
    write(app, "/timeseries/a", vec![sample(START + 300 * DAY, 1.0)]).await;
    app.clock().advance(Duration::from_secs(300 * 86_400));
    write(app, "/timeseries/a", vec![sample(START + 300 * DAY + 1, 1.0)]).await;
    filled(app, "/timeseries/a").await;
    both_ways(app, &format!("agg=sum&bucket=1d&to={}", START - 1)).await
}

#[tokio::test]
async fn a_first_rollup_has_no_bucket_that_lost_samples_before() {
    let app = TestApp::spawn().await;
    rollup_after_a_longer_retention(&app).await;
    let left = after_expiry(&app).await;
    let left = left.as_array().expect("days");
    let all = days(100);
    assert!((10..99).contains(&left.len()), "{left:?}");
    assert_eq!(left, &all.as_array().expect("days")[100 - left.len()..]);
}

#[tokio::test]
async fn a_first_rollup_has_what_a_client_sends_again_after_a_longer_retention() {
    let app = TestApp::spawn().await;
    rollup_after_a_longer_retention(&app).await;
    let readings: Vec<Value> = hours(100).map(|(time, value)| sample(time, value)).collect();
    for batch in readings.chunks(50) {
        let answer = write(&app, "/timeseries/a", batch.to_vec()).await;
        assert_eq!(answer["accepted"], batch.len(), "{answer}");
    }
    assert_eq!(both_ways(&app, "agg=sum&bucket=1d").await, days(100));
    filled(&app, "/timeseries/a").await;
    assert_eq!(both_ways(&app, "agg=sum&bucket=1d").await, days(100));
    assert_eq!(after_expiry(&app).await, days(100));
}

#[tokio::test]
async fn a_second_rollup_does_not_hide_the_history_of_the_first() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 90 * DAY })).await.expect(201);
    for (bucket, agg) in [("1h", "max"), ("24h", "sum")] {
        add(&app, "/timeseries/a", json!({ "bucket": bucket, "agg": agg, "retention_ms": 0 })).await.expect(201);
    }
    trimmed_history(&app, 400).await;
    for rollup in [
        json!({ "bucket": "1d", "agg": "max" }),
        json!({ "bucket": "1d", "agg": "max", "tz": "UTC", "retention_ms": 0 }),
        json!({ "bucket": "1d", "agg": "sum" }),
    ] {
        add(&app, "/timeseries/a", rollup).await.expect(201);
        for _ in 0..2 {
            assert_eq!(both_ways(&app, "agg=sum&bucket=1d").await, days(400));
            assert_eq!(both_ways(&app, "agg=max&bucket=1d").await.as_array().map(Vec::len), Some(400));
            filled(&app, "/timeseries/a").await;
        }
    }
}

#[tokio::test]
async fn rollups_of_utc_serve_months_quarters_and_years() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 90 * DAY })).await.expect(201);
    for (bucket, agg) in [("1d", "max"), ("1h", "first"), ("6h", "last")] {
        add(&app, "/timeseries/a", json!({ "bucket": bucket, "agg": agg, "retention_ms": 0 })).await.expect(201);
    }
    for (bucket, agg, tz) in [("1d", "count", "UTC"), ("1d", "min", "UTC")] {
        let rollup = json!({ "bucket": bucket, "agg": agg, "tz": tz, "retention_ms": 0 });
        add(&app, "/timeseries/a", rollup).await.expect(201);
    }
    // From 1 January 2025.
    trimmed_history(&app, 365).await;
    for (query, number) in [
        ("agg=max&bucket=1mo", 12),
        ("agg=max&bucket=1mo&tz=UTC", 12),
        ("agg=first&bucket=3mo", 4),
        ("agg=last&bucket=1y", 1),
        ("agg=min&bucket=1mo", 12),
        ("agg=count&bucket=1d", 365),
        ("agg=max&bucket=1d&tz=UTC", 365),
    ] {
        let found = both_ways(&app, query).await;
        assert_eq!(found.as_array().map(Vec::len), Some(number), "{query}");
        assert_eq!(found[0]["timestamp"], START - 365 * DAY, "{query}");
    }
}
