//! Anomalies and forecasts.

use std::time::Duration;

use serde_json::{Value, json};

use super::{WEB, flush, sample, send};
use crate::support::{START, TestApp, eventually};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A service with samples of this many days before the start, one every ten minutes: busy by day, idle at night, with small
/// variations.
async fn with_history(days: i64) -> TestApp {
    let app = TestApp::builder().config("hosts.max_behind = \"29d\"").spawn().await;
    let samples: Vec<Value> = (1..=days * 144)
        .map(|n| {
            let ms = -n * 600_000 + 60_000;
            let hour = ms.rem_euclid(DAY) / HOUR;
            let busy = if (8..18).contains(&hour) { 50 } else { 10 };
            let mut sample = sample(ms);
            sample["cpu"]["usage"] = json!(busy + n * 7 % 5);
            sample
        })
        .collect();
    for part in samples.chunks(1_000) {
        app.post(WEB, json!(part)).await.expect(202);
    }
    flush(&app).await;
    app
}

/// Sends a sample with this usage and returns the assessment of it.
async fn anomaly_of(app: &TestApp, ms: i64, usage: f64) -> Value {
    app.clock().advance(Duration::from_millis(u64::try_from(ms - (app.clock().now() - START)).expect("later")));
    let mut newest = sample(ms);
    newest["cpu"]["usage"] = json!(usage);
    app.post(WEB, newest).await.expect(202);
    app.get("/hosts/web-1/metrics/anomaly?field=cpu.usage").await.expect(200).json()
}

#[tokio::test]
async fn a_value_is_compared_with_the_usual_values_of_its_hour_of_day() {
    let app = with_history(10).await;
    let night = anomaly_of(&app, 0, 12.0).await;
    assert_eq!((&night["verdict"], &night["hours"], &night["needed"]), (&json!("usual"), &json!(10), &json!(7)));
    assert_eq!((&night["value"], &night["timestamp"]), (&json!(12.0), &json!(START)));
    // A usual value by day is unusual at night.
    let busy = anomaly_of(&app, 1_000, 52.0).await;
    assert_eq!(busy["verdict"], "high");
    let upper = busy["band"]["upper"].as_f64().expect("a bound");
    assert!((14.0..52.0).contains(&upper), "{busy}");
    assert_eq!(anomaly_of(&app, 12 * HOUR, 52.0).await["verdict"], "usual");
    assert_eq!(anomaly_of(&app, 12 * HOUR + 1_000, 11.0).await["verdict"], "low");
}

#[tokio::test]
async fn too_little_history_is_reported() {
    let app = with_history(3).await;
    let answer = anomaly_of(&app, 0, 99.0).await;
    assert_eq!(
        answer,
        json!({ "host": "web-1", "field": "cpu.usage", "timestamp": START, "value": 99.0,
            "verdict": "not_enough_history", "band": null, "hours": 3, "needed": 7 })
    );
    let app = with_history(1).await;
    let answer = app.get("/hosts/web-1/metrics/forecast?field=cpu.usage").await.expect(200).json();
    assert_eq!(answer, json!({ "host": "web-1", "field": "cpu.usage", "forecast": [], "hours": 24, "needed": 48 }));
}

#[tokio::test]
async fn a_forecast_repeats_the_daily_season() {
    let app = with_history(14).await;
    let answer = app.get("/hosts/web-1/metrics/forecast?field=cpu.usage&horizon=48").await.expect(200).json();
    assert_eq!(answer["hours"], 14 * 24);
    let hours = answer["forecast"].as_array().expect("hours");
    assert_eq!(hours.len(), 48);
    for (at, hour) in (0..).zip(hours) {
        assert_eq!(hour["start"], START + at * HOUR);
        let expected = if (8..18).contains(&(at % 24)) { 52.0 } else { 12.0 };
        let number = |name: &str| hour[name].as_f64().expect("a number");
        assert!((number("avg") - expected).abs() < 4.0, "expected {expected}, got {hour}");
        assert!(
            0.0 <= number("lower") && number("lower") <= number("avg") && number("avg") <= number("upper"),
            "{hour}"
        );
    }
    let default = app.get("/hosts/web-1/metrics/forecast?field=disk.usagePercent").await.expect(200).json();
    let hours = default["forecast"].as_array().expect("hours");
    assert_eq!(hours.len(), 24);
    // Always 20.
    assert!(hours.iter().all(|hour| (hour["avg"].as_f64().expect("a number") - 20.0).abs() < 0.01), "{default}");
}

#[tokio::test]
async fn invalid_parameters_are_named_and_analysis_needs_redis() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    send(&app, WEB, [0]).await;
    for route in ["anomaly", "forecast"] {
        for (query, name) in [
            ("field=gpu", "/field"),
            ("field=cpu", "/field"),
            ("field=network.bytesIn", "/field"),
            ("field=", "/field"),
            ("", "/field"),
            ("field=cpu.usage&limit=5", "/limit"),
        ] {
            let path = format!("/hosts/web-1/metrics/{route}?{query}");
            app.get(&path).await.expect_violation(422, "invalid-query", name);
        }
        let path = format!("/hosts/unknown/metrics/{route}?field=cpu.usage");
        app.get(&path).await.expect_problem(404, "host-not-found");
    }
    for horizon in ["0", "169", "-1", "1.5", "day"] {
        let path = format!("/hosts/web-1/metrics/forecast?field=cpu.usage&horizon={horizon}");
        app.get(&path).await.expect_violation(422, "invalid-query", "/horizon");
    }
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    for route in ["anomaly", "forecast"] {
        let path = format!("/hosts/web-1/metrics/{route}?field=cpu.usage");
        app.get(&path).await.expect_problem(503, "redis-unavailable");
    }
}
