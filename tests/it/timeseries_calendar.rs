//! Days, weeks, months and years of a time zone, against Python's zoneinfo: a year of 15-minute readings.

use serde_json::{Value, json};

use crate::support::{TestApp, in_repository, output_text, run_python_tool};
use crate::timeseries::{METER, sample, write};

const QUARTER: i64 = 900_000;

/// 2025-12-31T00:00:00Z, so that the year 2026 of every zone is complete.
const FIRST: i64 = 1_767_139_200_000;

/// 367 days of 15-minute readings.
const COUNT: i64 = 35_232;

fn value(n: i64) -> f64 {
    f64::from(i32::try_from(n * 7_919 % 1_000).expect("small")) / 8.0
}

async fn sums(zone: &str) -> Value {
    let script = in_repository("tests/calendar/calendar_sums.py").display().to_string();
    let (first, count) = (FIRST.to_string(), COUNT.to_string());
    let output = run_python_tool("python", &[&script, zone, &first, &count]).await;
    assert!(output.status.success(), "{}", output_text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The buckets of one unit as `[start, readings, sum]`.
async fn found(app: &TestApp, zone: &str, bucket: &str) -> Vec<Value> {
    let ask = async |aggregation: &str| {
        let query = format!("{METER}/range?agg={aggregation}&bucket={bucket}&tz={zone}&limit=100000");
        app.get(&query).await.expect(200).json()["samples"].as_array().expect("samples").clone()
    };
    let (counts, sums) = (ask("count").await, ask("sum").await);
    counts.iter().zip(&sums).map(|(count, sum)| json!([sum["timestamp"], count["value"], sum["value"]])).collect()
}

async fn a_year_agrees(zone: &str, lengths: &[i64]) {
    let app = TestApp::spawn().await;
    let readings: Vec<Value> = (0..COUNT).map(|n| sample(FIRST + n * QUARTER, value(n))).collect();
    for batch in readings.chunks(10_000) {
        write(&app, METER, batch.to_vec()).await;
    }
    let expected = sums(zone).await;
    for (bucket, expected) in expected.as_object().expect("units") {
        assert_eq!(found(&app, zone, bucket).await, *expected.as_array().expect("buckets"), "{zone} {bucket}");
    }
    // The days that are not 24 hours long are there.
    let days = expected["1d"].as_array().expect("days");
    let mut quarters: Vec<i64> = days[1..days.len() - 1].iter().map(|day| day[1].as_i64().expect("a count")).collect();
    quarters.sort_unstable();
    quarters.dedup();
    assert_eq!(quarters, lengths, "{zone}");
}

#[tokio::test]
async fn a_year_of_bangkok_has_days_of_24_hours() {
    a_year_agrees("Asia/Bangkok", &[96]).await;
}

#[tokio::test]
async fn a_year_of_berlin_has_a_day_of_23_and_one_of_25_hours() {
    a_year_agrees("Europe/Berlin", &[92, 96, 100]).await;
}

#[tokio::test]
async fn a_year_of_lord_howe_has_a_day_of_23_and_a_half_and_one_of_24_and_a_half_hours() {
    a_year_agrees("Australia/Lord_Howe", &[94, 96, 98]).await;
}

#[tokio::test]
async fn a_billing_month_starts_on_the_requested_day() {
    let app = TestApp::spawn().await;
    let readings: Vec<Value> = (0..100).map(|day| sample(FIRST + day * 96 * QUARTER, 1.0)).collect();
    write(&app, METER, readings).await;
    let query = "agg=count&bucket=1mo&tz=Asia/Bangkok&align=2026-01-15T00:00:00%2B07:00&order=desc&limit=2";
    let page = app.get(&format!("{METER}/range?{query}")).await.expect(200).json();
    // 15 March and 15 February, midnight in Bangkok.
    let expected = json!([
        { "timestamp": 1_773_507_600_000_i64, "value": 26 }, { "timestamp": 1_771_088_400_000_i64, "value": 28 }
    ]);
    assert_eq!(page["samples"], expected);
}
