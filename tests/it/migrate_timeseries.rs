//! `migrate timeseries`: moving series to RedisTimeSeries and back.

use std::process::{Output, Stdio};

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{
    RedisServer, TestApp, command, eventually, migration, module_redis_url, on_module_redis, output_text,
};
use crate::timeseries::{LONG_DEADLINES, sample, write};

fn migrate(to: &str, url: &str, prefix: &str) -> Output {
    migration("timeseries", to, url, prefix).output().expect("the binary runs")
}

/// A service that starts with native series, and follows the record quickly.
async fn service(url: &str) -> TestApp {
    let config = "redis.check_interval = \"50ms\"\ntimeseries.backend = \"native\"";
    TestApp::builder().config(&on_module_redis(url)).config(LONG_DEADLINES).config(config).spawn().await
}

fn prefix(app: &TestApp) -> String {
    app.state().keys().key("").as_str().to_owned()
}

#[test]
fn a_migration_needs_a_redis_that_has_the_module() {
    let redis = RedisServer::start();
    redis.command::<()>(&["HSET", "ts:a", "retention_ms", "0"]);
    for to in ["module", "native"] {
        let output = migrate(to, &redis.url(), "");
        assert_eq!(output.status.code(), Some(69), "{}", output_text(&output));
        assert!(output_text(&output).contains("TS.ADD"), "{}", output_text(&output));
    }
    assert_eq!(redis.command::<Vec<String>>(&["KEYS", "*"]), ["ts:a"], "nothing was changed");
    let without_redis = migrate("native", "", "");
    assert_eq!(without_redis.status.code(), Some(64), "{}", output_text(&without_redis));
}

/// Everything that a client sees of the series, without the fields that depend on the backend.
async fn visible_state(app: &TestApp) -> Value {
    let mut state = Vec::new();
    let list = app.get("/timeseries?limit=100").await.expect(200).json();
    for entry in list["items"].as_array().expect("series") {
        let path = format!("/timeseries/{}", encoded(entry["key"].as_str().expect("a key")));
        let mut described = app.get(&path).await.expect(200).json();
        for storage in ["backend", "chunks", "bytes"] {
            described.as_object_mut().expect("a description").remove(storage);
        }
        state.push(json!([
            entry,
            described,
            app.get(&format!("{path}/range?limit=100000")).await.expect(200).text(),
            app.get(&format!("{path}/range?agg=sum&bucket=100ms&limit=100000")).await.expect(200).text(),
            app.get(&format!("{path}/rollups")).await.expect(200).text(),
        ]));
    }
    state.push(app.get("/timeseries?filter=zone=2").await.expect(200).json());
    state.push(app.get("/energy/meters/MTR-001/readings?from=0").await.expect(200).json());
    Value::Array(state)
}

fn encoded(key: &str) -> String {
    percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string()
}

async fn wait_for_backend(app: &TestApp, backend: &str) {
    let is_in_use = async || app.get("/timeseries/energy:consumption:MTR-001").await.json()["backend"] == backend;
    eventually("the service uses the new backend", is_in_use).await;
}

async fn rollups_are_filled(app: &TestApp, series: &str) {
    let filled = async || {
        let rollups = app.get(&format!("{series}/rollups")).await.expect(200).json();
        rollups["items"].as_array().is_some_and(|items| items.iter().all(|rollup| rollup["complete"] == true))
    };
    eventually("rollups are filled", filled).await;
}

/// Values whose bits are easily lost in text.
const VALUES: [f64; 8] = [0.1, -0.0, 5e-324, f64::MAX, -1.7e-300, 1.0, 9_664.148_145_403_773, f64::MIN_POSITIVE];

async fn fill(app: &TestApp) {
    write(app, "/timeseries/energy:consumption:MTR-001", (0..2_000).map(|n| sample(n * 7, 0.25)).collect()).await;
    let definition = json!({ "retention_ms": 0, "duplicate_policy": "sum", "labels": { "zone": "2", "kind": "a" } });
    app.put("/timeseries/bits", definition).await.expect(201);
    let bits = VALUES.iter().zip(0..).map(|(value, at)| sample(at, *value)).collect();
    write(app, "/timeseries/bits", bits).await;
    app.put("/timeseries/a%20b%7Bc%7D", json!({ "duplicate_policy": "block" })).await.expect(201);
    app.put("/timeseries/short", json!({ "retention_ms": 1_000, "labels": { "zone": "2" } })).await.expect(201);
    let outliving = json!({ "bucket": "100ms", "agg": "sum", "retention_ms": 0 });
    app.post("/timeseries/short/rollups", outliving).await.expect(201);
    for start in [0, 2_000, 4_000] {
        write(app, "/timeseries/short", (start..start + 1_000).map(|time| sample(time, 1.5)).collect()).await;
        rollups_are_filled(app, "/timeseries/short").await;
    }
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn series_move_with_their_definitions_rollups_and_bits_and_back_again() {
    let url = module_redis_url();
    let app = service(&url).await;
    fill(&app).await;
    let before = visible_state(&app).await;
    let (prefix, points) = (prefix(&app), 2_000 + 8 + 1_000);
    for (to, kind, from) in [("module", "TSDB-TYPE", "4 native series"), ("native", "hash", "0 native series")] {
        let moved = migrate(to, &url, &prefix);
        assert!(moved.status.success(), "{}", output_text(&moved));
        let output = output_text(&moved);
        assert!(output.contains(&format!("before: {from}")), "{output}");
        assert!(output.contains(&format!("moved: 4 series with {points} points\n")), "{output}");
        let after = if to == "module" {
            format!("4 in the module with {points}")
        } else {
            format!("4 native series with {points}")
        };
        assert!(output.contains(&after), "{output}");
        wait_for_backend(&app, to).await;
        assert_eq!(command::<String>(&app, &["TYPE", &format!("{prefix}ts:bits")]).await, kind);
        assert_eq!(visible_state(&app).await, before);
        let left: i64 = command(&app, &["PTTL", &format!("{prefix}ts:short")]).await;
        let endless: i64 = command(&app, &["PTTL", &format!("{prefix}ts:bits")]).await;
        assert!(left > 0 && endless == -1, "{left} {endless}");
        let again = output_text(&migrate(to, &url, &prefix));
        assert!(again.contains("moved: 0 series with 0 points\n"), "{again}");
    }
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn writes_continue_after_a_migration() {
    let url = module_redis_url();
    let app = service(&url).await;
    fill(&app).await;
    let prefix = prefix(&app);
    let token = [("fencing-token", "7"), ("content-type", "application/json")];
    let guarded = json!({ "samples": [sample(5_000, 1.0)] }).to_string();
    app.send(Method::POST, "/timeseries/short/samples", &token, guarded.clone()).await.expect(200);
    for (to, time) in [("module", 6_000), ("native", 8_000)] {
        assert!(migrate(to, &url, &prefix).status.success());
        wait_for_backend(&app, to).await;
        let series = "/timeseries/short";
        write(&app, series, (time..time + 1_000).map(|time| sample(time, 2.0)).collect()).await;
        rollups_are_filled(&app, series).await;
        let sums = app.get(&format!("{series}/range?agg=sum&bucket=100ms")).await.expect(200).json();
        let sums: Vec<&Value> = sums["samples"].as_array().expect("buckets").iter().collect();
        let find = |start: i64| sums.iter().find(|bucket| bucket["timestamp"] == start).map(|bucket| &bucket["value"]);
        assert_eq!(find(0), Some(&json!(150.0)), "a bucket that outlives its samples");
        assert_eq!(find(time), Some(&json!(200.0)), "a bucket that was filled since");
        let older = [("fencing-token", "6"), ("content-type", "application/json")];
        app.send(Method::POST, &format!("{series}/samples"), &older, guarded.clone())
            .await
            .expect_problem(409, "stale-fence");
        write(&app, "/timeseries/bits", vec![sample(5, 1.0)]).await;
        let summed = app.get("/timeseries/bits/range?from=5&to=5").await.expect(200).json();
        assert_eq!(summed["samples"][0]["value"], if to == "module" { 2.0 } else { 3.0 });
    }
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn the_next_migration_finishes_a_killed_one() {
    let url = module_redis_url();
    let app = service(&url).await;
    let (series, points) = (60, 1_000);
    for number in 0..series {
        let samples = (0..points).map(|time| sample(time * 15, f64::from(number) + 0.5)).collect();
        write(&app, &format!("/timeseries/energy:generation:m{number}"), samples).await;
    }
    write(&app, "/timeseries/energy:consumption:MTR-001", vec![sample(1, 1.0)]).await;
    let (prefix, before) = (prefix(&app), visible_state(&app).await);
    let kind = async |number: i32| -> String {
        command(&app, &["TYPE", &format!("{prefix}energy:generation:m{number}")]).await
    };
    let moved = async |to: &str| {
        let mut moved = 0;
        for number in 0..series {
            moved += i32::from(kind(number).await == to);
        }
        moved
    };
    for (to, form) in [("module", "TSDB-TYPE"), ("native", "hash")] {
        let mut command = migration("timeseries", to, &url, &prefix);
        let mut killed = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
        eventually("some series have moved", async || moved(form).await >= 5).await;
        killed.kill().expect("SIGKILL");
        killed.wait().expect("it ends");
        let output = output_text(&migrate(to, &url, &prefix));
        let all = (series * i32::try_from(points).expect("few") + 1).to_string();
        let after =
            if to == "module" { format!("in the module with {all}") } else { format!("series with {all} points, 0") };
        assert!(output.contains(&after), "{output}");
        wait_for_backend(&app, to).await;
        assert_eq!(moved(form).await, series);
        assert_eq!(visible_state(&app).await, before, "no sample is lost or duplicated");
    }
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn keys_that_do_not_hold_a_series_are_skipped() {
    let url = module_redis_url();
    let app = service(&url).await;
    write(&app, "/timeseries/energy:consumption:MTR-001", vec![sample(1, 1.0)]).await;
    let prefix = prefix(&app);
    let name = |text: &str| format!("{prefix}{text}");
    let _: String = command(&app, &["SET", &name("ts:text"), "hello"]).await;
    let _: i64 = command(&app, &["HSET", &name("energy:consumption:hash"), "a", "1"]).await;
    let _: i64 = command(&app, &["TS.ADD", &name("energy:consumption:theirs"), "1", "2"]).await;
    for to in ["module", "native"] {
        let output = output_text(&migrate(to, &url, &prefix));
        assert!(output.contains("moved: 1 series with 1 points\n"), "{output}");
        for left in ["ts:text", if to == "module" { "energy:consumption:hash" } else { "energy:consumption:theirs" }] {
            assert!(output.contains(&format!("it is no series: {}\n", name(left))), "{output}");
        }
    }
    assert_eq!(command::<String>(&app, &["GET", &name("ts:text")]).await, "hello");
}
