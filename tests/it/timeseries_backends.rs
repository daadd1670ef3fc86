//! The storage backend of series. Responses do not depend on it: every sequence of changes and queries is sent to both
//! backends, if `GTX_TEST_MODULE_REDIS_URL` names a Redis that has the module.

use axum::http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, command, eventually, module_redis_url, on_module_redis};
use crate::timeseries::{LONG_DEADLINES, sample, write};

const RECORD: &str = "timeseries:{backend}";

#[tokio::test]
async fn the_first_replica_decides_and_all_others_follow() {
    let first = TestApp::spawn().await;
    write(&first, "/timeseries/energy:consumption:a", vec![sample(1, 1.0)]).await;
    assert_eq!(first.redis().command::<String>(&["GET", RECORD]), "native");
    assert_eq!(first.get("/timeseries/energy:consumption:a").await.expect(200).json()["backend"], "native");
    let second = TestApp::builder().config("timeseries.backend = \"module\"").beside(&first).spawn().await;
    let is_reported = async || {
        let ready = second.get("/health/ready").await.json();
        ready["status"] == "degraded"
            && ready.to_string().contains("timeseries.backend is `module`, but series are kept `native`")
    };
    eventually("readiness reports that the configured backend is not in use", is_reported).await;
    assert_eq!(second.get("/timeseries/energy:consumption:a/latest").await.expect(200).json()["value"], 1.0);
}

#[tokio::test]
async fn series_of_a_missing_module_are_unavailable_and_no_other_backend_is_used() {
    let app = TestApp::builder().config("redis.check_interval = \"50ms\"").spawn().await;
    app.redis().command::<()>(&["SET", RECORD, "module"]);
    let is_reported =
        async || app.get("/health/ready").await.text().contains("RedisTimeSeries, which this Redis does not have");
    eventually("readiness reports that the module is missing", is_reported).await;
    let body = json!({ "samples": [sample(1, 1.0)] });
    let refused = app.post("/timeseries/energy:consumption:a/samples", body).await;
    assert_eq!(refused.expect_problem(503, "redis-unavailable")["outcome"], "not_applied");
    app.get("/timeseries/energy:consumption:a/range").await.expect_problem(503, "redis-unavailable");
    assert_eq!(app.redis().command::<i64>(&["EXISTS", "energy:consumption:a"]), 0);
}

#[tokio::test]
async fn a_preference_for_a_missing_module_is_not_recorded() {
    let config = "timeseries.backend = \"module\"\nredis.check_interval = \"50ms\"";
    let app = TestApp::builder().config(config).spawn().await;
    let is_reported =
        async || app.get("/health/ready").await.text().contains("RedisTimeSeries, which this Redis does not have");
    eventually("readiness reports that the module is missing", is_reported).await;
    app.get("/timeseries/energy:consumption:a").await.expect_problem(503, "redis-unavailable");
    assert_eq!(app.redis().command::<i64>(&["EXISTS", RECORD]), 0);
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_not_overwritten() {
    let app = TestApp::spawn().await;
    app.redis().command::<()>(&["SET", RECORD, "columns"]);
    let other = TestApp::builder().beside(&app).unready().spawn().await;
    let refused = async || other.get("/timeseries/energy:consumption:a").await.is(500);
    eventually("series of an unknown backend are refused", refused).await;
    assert_eq!(app.redis().command::<String>(&["GET", RECORD]), "columns");
}

/// A service on the Redis with the module, under its own key prefix.
async fn on_the_module() -> TestApp {
    TestApp::builder().config(&on_module_redis(&module_redis_url())).config(LONG_DEADLINES).spawn().await
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(i64, f64)>, Option<&'static str>),
    Load(Vec<(i64, f64)>),
    Delete(i64, i64),
    Alter(Value),
    Query(&'static str, i64, i64),
}

const QUERIES: &[&str] = &[
    "range?limit=700",
    "range?order=desc&limit=3",
    "range?agg=sum&bucket=100ms",
    "range?agg=avg&bucket=70ms&empty=true",
    "range?agg=first&bucket=300ms&order=desc",
    "range?agg=first&bucket=50ms",
    "range?agg=last&bucket=300ms&fill=previous",
    "range?agg=twa&bucket=200ms&empty=true&order=desc",
    "range?agg=increase&bucket=250ms",
    "range?agg=p95&bucket=500ms",
    "range?agg=std_s&bucket=1d&tz=Asia/Bangkok",
    "range?agg=ohlcv&bucket=400ms",
    "range?min_value=0&max_value=5",
    "stats?",
];

/// The samples of a run: a few random runs are enough for rollups to be filled.
const RUN: i64 = 24;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = || prop_oneof![Just(0.0), Just(-0.0), Just(1.0), Just(5e-324), -1e6..1e6];
    let time = || prop_oneof![0_i64..300, 0_i64..3_000];
    let policy = prop_oneof![
        Just(None),
        proptest::sample::select(&["last", "first", "min", "max", "sum", "block"][..]).prop_map(Some)
    ];
    let run = |(time, value): (i64, f64)| (0..RUN).map(move |at| (time * RUN + at, value));
    let batch = move || {
        proptest::collection::vec((time(), value()), 1..40)
            .prop_map(move |runs| runs.into_iter().flat_map(run).collect())
    };
    let change = prop_oneof![
        Just(json!({ "duplicate_policy": "max" })),
        Just(json!({ "labels": { "zone": "2" } })),
        Just(json!({ "retention_ms": 0 })),
    ];
    let query = (proptest::sample::select(QUERIES), 0_i64..3_000 * RUN, 0_i64..3_000 * RUN)
        .prop_map(|(query, from, length)| Step::Query(query, from, from + length));
    let step = prop_oneof![
        3 => (batch(), policy).prop_map(|(batch, policy)| Step::Write(batch, policy)),
        1 => batch().prop_map(Step::Load),
        1 => (0_i64..3_000 * RUN, 0_i64..600 * RUN).prop_map(|(from, length)| Step::Delete(from, from + length)),
        1 => change.prop_map(Step::Alter),
        4 => query,
    ];
    proptest::collection::vec(step, 3..16)
}

/// The status and the body, without the fields of a description that depend on the backend.
fn comparable(reply: &Reply) -> (u16, String) {
    let status = reply.status.as_u16();
    if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body)
        && let Some(series) = body.as_object_mut()
        && (series.remove("backend").is_some() || series.remove("request_id").is_some())
    {
        for storage in ["chunks", "bytes"] {
            series.remove(storage);
        }
        return (status, body.to_string());
    }
    (status, reply.text())
}

async fn send(app: &TestApp, series: &str, step: &Step) -> (u16, String) {
    let path = format!("/timeseries/{series}");
    let bodies = |batch: &[(i64, f64)]| batch.iter().map(|&(time, value)| sample(time, value)).collect::<Vec<_>>();
    comparable(&match step {
        Step::Write(batch, None) => app.post(&format!("{path}/samples"), json!({ "samples": bodies(batch) })).await,
        Step::Write(batch, policy) => {
            let body = json!({ "samples": bodies(batch), "on_duplicate": policy });
            app.post(&format!("{path}/samples"), body).await
        }
        Step::Load(batch) => {
            let lines: Vec<String> = batch.iter().map(|(time, value)| format!("{series},{time},{value}\n")).collect();
            let csv = [("content-type", "text/csv")];
            app.send(Method::POST, "/timeseries/samples", &csv, format!("series,timestamp,value\n{}", lines.concat()))
                .await
        }
        Step::Delete(from, to) => app.delete(&format!("{path}/samples?from={from}&to={to}")).await,
        Step::Alter(change) => app.patch(&path, change.clone()).await,
        Step::Query(query, from, to) => app.get(&format!("{path}/{query}&from={from}&to={to}")).await,
    })
}

async fn assert_equal_responses(
    native: &TestApp,
    module: &TestApp,
    series: &str,
    definition: &Value,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let path = format!("/timeseries/{series}");
    for app in [native, module] {
        app.put(&path, definition.clone()).await.expect(201);
        for (bucket, agg) in [("100ms", "sum"), ("70ms", "avg"), ("50ms", "first")] {
            app.post(&format!("{path}/rollups"), json!({ "bucket": bucket, "agg": agg })).await.expect(201);
        }
    }
    for step in steps {
        prop_assert_eq!(send(module, series, step).await, send(native, series, step).await, "{:?}", step);
    }
    for path in [
        path.clone(),
        format!("{path}/latest"),
        format!("{path}/range?limit=100000"),
        "/timeseries?filter=zone=1".into(),
    ] {
        prop_assert_eq!(comparable(&module.get(&path).await), comparable(&native.get(&path).await), "{}", path);
    }
    for app in [native, module] {
        let filled = async || {
            let rollups = app.get(&format!("{path}/rollups")).await.expect(200).json();
            rollups["items"].as_array().is_some_and(|items| items.iter().all(|rollup| rollup["complete"] == true))
        };
        eventually("rollups are filled", filled).await;
    }
    for query in QUERIES {
        let path = format!("{path}/{query}&from=0&to=192000");
        prop_assert_eq!(comparable(&module.get(&path).await), comparable(&native.get(&path).await), "{}", path);
    }
    let query =
        json!({ "filter": ["zone=(1,2)"], "agg": "sum", "bucket": "100ms", "group_by": "zone", "reduce": "max" });
    let result = async |app: &TestApp| comparable(&app.post("/timeseries/query", query.clone()).await);
    prop_assert_eq!(result(module).await, result(native).await);
    for app in [native, module] {
        app.delete(&path).await.expect(204);
        app.get(&path).await.expect_problem(404, "series-not-found");
    }
    Ok(())
}

#[test]
#[ignore = "needs a Redis with modules: make test-modules"]
fn both_backends_send_equal_responses() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let module = runtime.block_on(on_the_module());
    let native = runtime.block_on(TestApp::spawn());
    let case = std::cell::Cell::new(0);
    for (policy, retention) in [("last", 0), ("block", 0), ("sum", 0), ("min", 1_000 * RUN), ("last", 500 * RUN)] {
        let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&steps(), |steps| {
            case.set(case.get() + 1);
            let definition =
                json!({ "duplicate_policy": policy, "retention_ms": retention, "labels": { "zone": "1" } });
            runtime.block_on(assert_equal_responses(&native, &module, &format!("s{}", case.get()), &definition, &steps))
        });
        outcome.unwrap_or_else(|failure| panic!("{policy}, retention {retention}: {failure}"));
    }
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn the_module_stores_samples_under_the_platforms_names() {
    let app = on_the_module().await;
    let series = "/timeseries/energy:consumption:a";
    write(&app, series, vec![sample(1, 1.5), sample(5, -0.0), sample(3, f64::MAX)]).await;
    let range = app.get(&format!("{series}/range")).await.expect(200).json();
    assert_eq!(range["samples"][1]["value"], f64::MAX);
    let described = app.get(series).await.expect(200).json();
    assert_eq!((&described["backend"], &described["count"]), (&json!("module"), &json!(3)));
    let name = app.state().keys().key("energy:consumption:a");
    assert_eq!(command::<i64>(&app, &["TS.DEL", name.as_str(), "3", "4"]).await, 1, "it is a series of the module");
    app.delete(series).await.expect(204);
    assert_eq!(command::<i64>(&app, &["EXISTS", name.as_str()]).await, 0);
}
