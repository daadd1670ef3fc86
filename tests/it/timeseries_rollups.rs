//! Rollups fill in the background, follow every change, and never change a result.

use axum::http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, eventually};
use crate::timeseries::{LONG_DEADLINES, sample, write, write_many};
use crate::timeseries_packing::packed;

pub const HOUR: i64 = 3_600_000;

/// The time between two samples, so that an hour has 32 of them, and a day more than an open chunk.
const STEP: i64 = HOUR / 32;

pub async fn add(app: &TestApp, series: &str, rollup: Value) -> Reply {
    app.post(&format!("{series}/rollups"), rollup).await
}

/// Waits until the rollups are complete.
pub async fn filled(app: &TestApp, series: &str) {
    let complete = async || {
        let list = app.get(&format!("{series}/rollups")).await.expect(200).json();
        list["items"].as_array().expect("rollups").iter().all(|rollup| rollup["complete"] == true)
    };
    eventually("the rollups are filled", complete).await;
}

pub async fn range(app: &TestApp, series: &str, query: &str) -> Value {
    app.get(&format!("{series}/range?{query}")).await.expect(200).json()["samples"].clone()
}

/// The sum of the values of buckets.
pub fn sum(points: &Value) -> f64 {
    points.as_array().expect("points").iter().filter_map(|point| point["value"].as_f64()).sum()
}

/// How often samples have been read so far.
async fn reads(app: &TestApp) -> f64 {
    let text = app.get("/metrics").await.text();
    let line = "timeseries_script_duration_seconds_count{script=\"timeseries/read.lua\"}";
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0.0)
}

#[tokio::test]
async fn a_rollup_is_filled_from_old_samples_and_follows_new_ones() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({})).await.expect(201);
    let samples = |range: std::ops::Range<i64>| range.map(|n| (n * STEP, 0.1));
    write_many(&app, "/timeseries/a", samples(0..3_200)).await;
    let added = add(&app, "/timeseries/a", json!({ "bucket": "1d", "agg": "sum", "tz": "Asia/Bangkok" })).await;
    assert_eq!(added.expect(201).json()["id"], "sum:1d:Asia.Bangkok");
    filled(&app, "/timeseries/a").await;
    let fields: Vec<String> = app.redis().command(&["HKEYS", "ts:rollups:{ts:a}"]);
    assert!(fields.contains(&"sum:1d:Asia.Bangkok@0".to_owned()), "{fields:?}");
    write_many(&app, "/timeseries/a", samples(3_200..6_400)).await;
    filled(&app, "/timeseries/a").await;
    let query = "agg=sum&bucket=1d&tz=Asia/Bangkok";
    let with = range(&app, "/timeseries/a", query).await;
    app.delete("/timeseries/a/rollups/sum:1d:Asia.Bangkok").await.expect(204);
    assert_eq!(with, range(&app, "/timeseries/a", query).await);
    assert_eq!(app.redis().command::<i64>(&["EXISTS", "ts:rollups:{ts:a}"]), 0);
}

#[tokio::test]
async fn a_range_with_a_rollup_reads_few_samples() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let series = "/timeseries/energy:consumption:a";
    // One step of filling reads 262,144 samples, and one call of Redis 32,768.
    let line = |n: i64| format!("energy:consumption:a,{},0.1\n", n * 60_000);
    let csv = format!("series,timestamp,value\n{}", (0..300_000).map(line).collect::<String>());
    app.send(Method::POST, "/timeseries/samples", &[("content-type", "text/csv")], csv).await.expect(200);
    add(&app, series, json!({ "bucket": "1d", "agg": "max" })).await.expect(201);
    filled(&app, series).await;
    for (query, most) in [("agg=max&bucket=1d", 4), ("agg=max&bucket=1w", 4), ("agg=max&bucket=1d&order=desc", 6)] {
        let before = reads(&app).await;
        range(&app, series, query).await;
        let used = reads(&app).await - before;
        assert!(used <= f64::from(most), "{query}: {used} reads");
    }
    let before = reads(&app).await;
    range(&app, series, "agg=min&bucket=1d").await;
    assert!(reads(&app).await - before > 9.0, "without a rollup all samples are read");
    let with = range(&app, series, "agg=max&bucket=1d").await;
    app.delete(&format!("{series}/rollups/max:1d")).await.expect(204);
    assert_eq!(with, range(&app, series, "agg=max&bucket=1d").await);
}

#[tokio::test]
async fn rollups_are_listed_added_once_and_dropped() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({})).await.expect(201);
    let daily = json!({ "bucket": "1d", "agg": "sum" });
    let expected = json!({ "id": "sum:1d", "bucket": "1d", "agg": "sum", "tz": null, "align": null, "retention_ms": null, "complete": true });
    assert_eq!(add(&app, "/timeseries/a", daily.clone()).await.expect(201).json(), expected);
    add(&app, "/timeseries/a", daily).await.expect(200);
    let other = json!({ "bucket": "1d", "agg": "sum", "retention_ms": 0 });
    add(&app, "/timeseries/a", other).await.expect_problem(409, "rollup-exists");
    add(&app, "/timeseries/a", json!({ "bucket": "1h", "agg": "avg" })).await.expect(201);
    for hours in 1..=14 {
        add(&app, "/timeseries/a", json!({ "bucket": format!("{hours}h"), "agg": "min" })).await.expect(201);
    }
    add(&app, "/timeseries/a", json!({ "bucket": "1h", "agg": "max" })).await.expect_problem(409, "too-many-rollups");
    let list = &app.get("/timeseries/a/rollups").await.expect(200).json()["items"];
    assert_eq!((&list[0]["id"], &list[1]["id"]), (&json!("sum:1d"), &json!("avg:1h")));
    app.delete("/timeseries/a/rollups/sum:1d").await.expect(204);
    app.delete("/timeseries/a/rollups/sum:1d").await.expect_problem(404, "rollup-not-found");
    assert_eq!(app.get("/timeseries/a/rollups").await.json()["items"].as_array().map(Vec::len), Some(15));
    app.delete("/timeseries/a").await.expect(204);
    app.get("/timeseries/a/rollups").await.expect_problem(404, "series-not-found");
}

#[tokio::test]
async fn an_invalid_rollup_is_rejected() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({})).await.expect(201);
    for (body, pointer) in [
        (json!({ "bucket": "0s", "agg": "sum" }), "/bucket"),
        (json!({ "bucket": "1d", "agg": "p95" }), "/agg"),
        (json!({ "bucket": "1d", "agg": "twa" }), "/agg"),
        (json!({ "bucket": "1d", "agg": "sum", "tz": "Mars/Olympus" }), "/tz"),
        (json!({ "bucket": "7h", "agg": "sum", "tz": "Asia/Bangkok" }), "/bucket"),
        (json!({ "bucket": "1d", "agg": "sum", "retention_ms": -1 }), "/retention_ms"),
        (json!({ "bucket": "1d", "agg": "sum", "align": "start" }), "/align"),
        (json!({ "bucket": "1d", "agg": "sum", "key": "b" }), "/key"),
        (json!({ "agg": "sum" }), "/bucket"),
    ] {
        let problem = add(&app, "/timeseries/a", body.clone()).await.expect_problem(422, "invalid-body");
        assert!(
            problem["errors"][0]["pointer"].as_str().is_some_and(|at| at == pointer || at.is_empty()),
            "{body}: {problem}"
        );
    }
    add(&app, "/timeseries/b", json!({ "bucket": "1d", "agg": "sum" })).await.expect_problem(404, "series-not-found");
    app.delete("/timeseries/b/rollups/sum:1d").await.expect_problem(404, "series-not-found");
}

#[tokio::test]
async fn buckets_outlive_their_samples_for_the_retention_of_the_rollup() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 200 * HOUR })).await.expect(201);
    for rollup in [
        json!({ "bucket": "24h", "agg": "sum", "retention_ms": 480 * HOUR }),
        json!({ "bucket": "24h", "agg": "count" }),
        json!({ "bucket": "24h", "agg": "max", "retention_ms": 48 * HOUR }),
    ] {
        add(&app, "/timeseries/a", rollup).await.expect(201);
    }
    for day in 0..30 {
        write_many(&app, "/timeseries/a", (0..24 * 32).map(|n| (day * 24 * HOUR + n * STEP, 1.0))).await;
        filled(&app, "/timeseries/a").await;
    }
    // The newest sample is just before hour 720: samples are kept from just before hour 520, sums from hour 240.
    let sums = range(&app, "/timeseries/a", "agg=sum&bucket=1d").await;
    let expected: Vec<Value> = (10..30).map(|day| json!({ "timestamp": day * 24 * HOUR, "value": 768.0 })).collect();
    assert_eq!(sums, json!(expected));
    let mut backwards = range(&app, "/timeseries/a", "agg=sum&bucket=1d&order=desc").await;
    backwards.as_array_mut().expect("points").reverse();
    assert_eq!(backwards, sums);
    let counts = range(&app, "/timeseries/a", "agg=count&bucket=1d").await;
    assert_eq!((&counts[0]["value"], counts.as_array().map(Vec::len)), (&json!(257), Some(9)));
    assert_eq!(range(&app, "/timeseries/a", "agg=max&bucket=1d").await.as_array().map(Vec::len), Some(9));
    let left: i64 = app.redis().command(&["PTTL", "ts:a"]);
    assert!(left > 479 * HOUR, "{left}");
}

#[tokio::test]
async fn rollups_are_filled_again_after_a_change_of_retention() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 0 })).await.expect(201);
    write_many(&app, "/timeseries/a", (0..500 * 32).map(|n| (n * STEP, 1.0))).await;
    add(&app, "/timeseries/a", json!({ "bucket": "1d", "agg": "sum" })).await.expect(201);
    filled(&app, "/timeseries/a").await;
    for retention in [100 * HOUR, 400 * HOUR] {
        app.patch("/timeseries/a", json!({ "retention_ms": retention })).await.expect(200);
        filled(&app, "/timeseries/a").await;
        let total = sum(&range(&app, "/timeseries/a", "agg=sum&bucket=1d").await);
        let expected = f64::from(i32::try_from(retention / STEP + 1).expect("small"));
        assert!((total - expected).abs() < 1e-9, "{total}");
    }
}

#[tokio::test]
async fn another_replica_fills_the_rollups_of_a_stopped_replica() {
    let first = TestApp::spawn().await;
    first.put("/timeseries/a", json!({ "retention_ms": 0 })).await.expect(201);
    write_many(&first, "/timeseries/a", (0..500 * 32).map(|n| (n * STEP, 1.0))).await;
    add(&first, "/timeseries/a", json!({ "bucket": "1d", "agg": "sum" })).await.expect(201);
    filled(&first, "/timeseries/a").await;
    let expected = range(&first, "/timeseries/a", "agg=sum&bucket=1d").await;
    write(&first, "/timeseries/a", vec![sample(1, 10.0)]).await;
    let changed = range(&first, "/timeseries/a", "agg=sum&bucket=1d").await;
    assert_eq!((&expected[0]["value"], &changed[0]["value"]), (&json!(768.0), &json!(778.0)));
    filled(&first, "/timeseries/a").await;
    // The state after a crash between a late write and the filling: the change is noted, the values are missing.
    first.redis().command::<i64>(&["HDEL", "ts:rollups:{ts:a}", "sum:1d@0"]);
    first.redis().command::<i64>(&["HSET", "ts:a", "unrolled", "0:1799999999,"]);
    let second = TestApp::builder().beside(&first).spawn().await;
    assert_eq!(range(&second, "/timeseries/a", "agg=sum&bucket=1d").await, changed);
    filled(&second, "/timeseries/a").await;
    assert_eq!(range(&second, "/timeseries/a", "agg=sum&bucket=1d").await, changed);
    assert_eq!(second.redis().command::<i64>(&["HEXISTS", "ts:rollups:{ts:a}", "sum:1d@0"]), 1);
}

#[tokio::test]
async fn two_replicas_fill_one_rollup() {
    let first = TestApp::spawn().await;
    let second = TestApp::builder().beside(&first).spawn().await;
    first.put("/timeseries/a", json!({ "retention_ms": 0, "duplicate_policy": "sum" })).await.expect(201);
    for rollup in [json!({ "bucket": "1h", "agg": "sum" }), json!({ "bucket": "1d", "agg": "count" })] {
        add(&first, "/timeseries/a", rollup).await.expect(201);
    }
    // Both write to all buckets repeatedly, so that each changes buckets that the other is about to fill.
    let send = async |app: &TestApp, offset: i64| {
        for round in 0..60 {
            let batch = (0..320).map(|n| sample((n * 53 + round * 17 + offset) % 8_000 * STEP, 1.0)).collect();
            write(app, "/timeseries/a", batch).await;
        }
    };
    tokio::join!(send(&first, 0), send(&second, 7));
    filled(&first, "/timeseries/a").await;
    let total = sum(&range(&second, "/timeseries/a", "agg=sum&bucket=1h").await);
    assert!((total - 2.0 * 60.0 * 320.0).abs() < 1e-9, "{total}");
    let raw = range(&first, "/timeseries/a", "limit=100000").await;
    let counted: i64 = range(&second, "/timeseries/a", "agg=count&bucket=1d")
        .await
        .as_array()
        .expect("points")
        .iter()
        .filter_map(|point| point["value"].as_i64())
        .sum();
    assert_eq!(raw.as_array().map(Vec::len), usize::try_from(counted).ok());
}

#[tokio::test]
async fn a_deletion_that_makes_expired_samples_visible_again_invalidates_their_bucket() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 1_000 })).await.expect(201);
    add(&app, "/timeseries/a", json!({ "bucket": "100ms", "agg": "sum" })).await.expect(201);
    write(&app, "/timeseries/a", vec![sample(1_850, 1.0), sample(2_700, 1.0)]).await;
    filled(&app, "/timeseries/a").await;
    // Samples before 1860 are hidden now, so the bucket of the late sample cannot be filled.
    write(&app, "/timeseries/a", vec![sample(2_860, 1.0)]).await;
    write(&app, "/timeseries/a", vec![sample(1_870, 1.0)]).await;
    filled(&app, "/timeseries/a").await;
    app.delete("/timeseries/a/samples?from=2860&to=2860").await.expect(200);
    let expected = json!([{ "timestamp": 1_800, "value": 2.0 }, { "timestamp": 2_700, "value": 1.0 }]);
    assert_eq!(range(&app, "/timeseries/a", "agg=sum&bucket=100ms").await, expected);
    filled(&app, "/timeseries/a").await;
    assert_eq!(range(&app, "/timeseries/a", "agg=sum&bucket=100ms").await, expected);
}

/// A change that a series with rollups and one without receive.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(i64, f64)>),
    Delete(i64, i64),
    Pack,
    /// Waits until the rollups are complete.
    Fill,
    Query(&'static str, i64, i64),
}

const QUERIES: &[&str] = &[
    "agg=sum&bucket=100ms",
    "agg=sum&bucket=100ms&order=desc&limit=3",
    "agg=count&bucket=100ms&empty=true",
    "agg=std_s&bucket=100ms&fill=previous",
    "agg=max&bucket=70ms",
    "agg=max&bucket=700ms&order=desc",
    "agg=first&bucket=100ms",
    "agg=first&bucket=1s&bucket_timestamp=end",
    "agg=first",
    "agg=last&bucket=300ms&align=100",
    "agg=last&bucket=300ms&align=start",
    "agg=max&bucket=1d",
    "agg=avg&bucket=300ms&align=907",
    "agg=sum&bucket=100ms&min_value=0",
];

/// The samples of a run: a few random runs fill several chunks.
const RUN: i64 = 16;

fn steps(policy: &str, deletes: bool) -> impl Strategy<Value = Vec<Step>> + use<> {
    let value =
        if policy == "sum" { (-1e3..1e3).boxed() } else { prop_oneof![Just(0.0), Just(-0.0), -1e6..1e6].boxed() };
    let time = prop_oneof![0_i64..400, 0_i64..4_000];
    let write = proptest::collection::vec((time, value), 1..50).prop_map(|runs| {
        let run = |&(time, value): &(i64, f64)| (0..RUN).map(move |at| (time * RUN + at, value));
        Step::Write(runs.iter().flat_map(run).collect())
    });
    let ordered = (0_i64..4_000 * RUN, 1_usize..1_500)
        .prop_map(|(start, count)| Step::Write((start..).step_by(7).take(count).map(|time| (time, 1.5)).collect()));
    let delete = (0_i64..4_000 * RUN, 0_i64..900 * RUN).prop_map(|(from, length)| Step::Delete(from, from + length));
    let query = (proptest::sample::select(QUERIES), 0_i64..4_000 * RUN, 0_i64..4_000 * RUN)
        .prop_map(|(query, from, length)| Step::Query(query, from, from + length));
    let step = prop_oneof![
        3 => write, 3 => ordered, 1 => Just(Step::Pack), 2 => Just(Step::Fill), 4 => query, u32::from(deletes) => delete
    ];
    proptest::collection::vec(step, 4..24)
}

async fn assert_equal_results(app: &TestApp, with: &str, without: &str, query: &str) -> Result<(), TestCaseError> {
    let path = |series: &str| format!("{series}/range?{query}");
    let (mut found, mut expected) = (app.get(&path(with)).await.json(), app.get(&path(without)).await.json());
    for page in [&mut found, &mut expected] {
        page.as_object_mut().expect("a page").remove("key");
    }
    prop_assert_eq!(found, expected, "{}", query);
    Ok(())
}

async fn run(app: &TestApp, case: u32, policy: &str, retention: i64, steps: &[Step]) -> Result<(), TestCaseError> {
    let (with, without) = (format!("/timeseries/with{case}"), format!("/timeseries/without{case}"));
    for series in [&with, &without] {
        app.put(series, json!({ "duplicate_policy": policy, "retention_ms": retention })).await.expect(201);
    }
    for (bucket, agg) in [
        ("100ms", "sum"),
        ("100ms", "count"),
        ("100ms", "std_s"),
        ("70ms", "max"),
        ("100ms", "first"),
        ("50ms", "last"),
    ] {
        add(app, &with, json!({ "bucket": bucket, "agg": agg })).await.expect(201);
    }
    add(app, &with, json!({ "bucket": "300ms", "agg": "avg", "align": 7 })).await.expect(201);
    for step in steps {
        match step {
            Step::Write(batch) => {
                for series in [&with, &without] {
                    let samples: Vec<Value> = batch.iter().map(|&(time, value)| sample(time, value)).collect();
                    let reply = app.post(&format!("{series}/samples"), json!({ "samples": samples })).await;
                    // Retention can have hidden the times of all samples.
                    assert!(reply.is(200) || reply.is(422), "{reply:?}");
                }
            }
            Step::Delete(from, to) => {
                for series in [&with, &without] {
                    app.delete(&format!("{series}/samples?from={from}&to={to}")).await.expect(200);
                }
            }
            Step::Pack => packed(app, &with.replace("/timeseries/", "ts:")).await,
            Step::Fill => filled(app, &with).await,
            Step::Query(query, from, to) => {
                assert_equal_results(app, &with, &without, &format!("{query}&from={from}&to={to}")).await?;
            }
        }
    }
    for _ in 0..2 {
        for query in QUERIES {
            assert_equal_results(app, &with, &without, &format!("{query}&from=0")).await?;
        }
        filled(app, &with).await;
    }
    Ok(())
}

fn check(policy: &'static str, retention: i64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let app = runtime.block_on(TestApp::spawn());
    let case = std::cell::Cell::new(0);
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps(policy, true), |steps| {
        case.set(case.get() + 1);
        runtime.block_on(run(&app, case.get(), policy, retention, &steps))
    });
    outcome.unwrap_or_else(|failure| panic!("{policy}, retention {retention}: {failure}"));
}

#[test]
fn results_are_equal_with_and_without_rollups() {
    check("last", 0);
}

#[test]
fn results_are_equal_with_and_without_rollups_within_retention() {
    check("last", 1_000 * RUN);
}

#[test]
fn results_are_equal_with_and_without_rollups_under_sum() {
    check("sum", 0);
}
