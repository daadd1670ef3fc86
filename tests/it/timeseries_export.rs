//! Exports: windows of any length in one response, of one series and of many.

use axum::body::Body;
use axum::http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::{Reply, START, TestApp, eventually};
use crate::timeseries::{LONG_DEADLINES, METER, sample, write};

const EXPORT: &str = "/timeseries/energy:consumption:MTR-001/export";
const COUNT: i64 = 50_000;

async fn with_samples(app: &TestApp) {
    for start in (0..COUNT).step_by(10_000) {
        let batch = (start..start + 10_000)
            .map(|n| sample(START + n * 1_000, f64::from(i32::try_from(n).expect("small")) / 8.0));
        write(app, METER, batch.collect()).await;
    }
}

async fn export(app: &TestApp, query: &str, accept: &str) -> Reply {
    app.send(Method::GET, &format!("{EXPORT}{query}"), &[("accept", accept)], Body::empty()).await
}

#[tokio::test]
async fn a_long_window_is_exported_in_every_format() {
    let app = TestApp::spawn().await;
    with_samples(&app).await;
    let json = export(&app, "", "application/json").await.expect(200);
    assert_eq!(json.header("content-type"), Some("application/json"));
    let json = json.json();
    assert_eq!((&json["key"], &json["next_cursor"]), (&json!("energy:consumption:MTR-001"), &Value::Null));
    let samples = json["samples"].as_array().expect("samples");
    assert_eq!(samples.len(), usize::try_from(COUNT).expect("small"));
    assert_eq!(samples[49_999], sample(START + 49_999_000, 6_249.875));

    let lines = export(&app, "", "application/x-ndjson").await.expect(200);
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let lines = lines.text();
    let parsed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(&parsed, samples);

    let csv = export(&app, "", "text/csv").await.expect(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let csv = csv.text();
    let mut rows = csv.lines();
    assert_eq!(rows.next(), Some("timestamp,value"));
    assert!(rows.eq(samples.iter().map(|sample| format!("{},{}", sample["timestamp"], sample["value"]))));
}

#[tokio::test]
async fn exports_respect_limits_buckets_and_order() {
    let app = TestApp::spawn().await;
    with_samples(&app).await;
    let ask = async |query: &str| export(&app, query, "*/*").await.expect(200).json();
    let newest = ask("?order=desc&limit=20000").await;
    let samples = newest["samples"].as_array().expect("samples");
    assert_eq!((samples.len(), &samples[19_999]["timestamp"]), (20_000, &json!(START + 30_000_000)));
    let rest = ask(&format!("?cursor={}", newest["next_cursor"].as_str().expect("a cursor"))).await;
    assert_eq!(rest["samples"].as_array().map(Vec::len), Some(30_000));
    let sums = ask("?agg=count&bucket=2s").await;
    assert_eq!(sums["samples"].as_array().map(Vec::len), Some(25_000));
    assert_eq!(ask("?to=5").await["samples"], json!([]));
    let empty = export(&app, "?to=5&agg=ohlcv", "text/csv").await.expect(200).text();
    assert_eq!(empty, "timestamp,open,high,low,close,volume\n");
}

#[tokio::test]
async fn invalid_parameters_are_reported_before_an_export_starts() {
    let app = TestApp::spawn().await;
    app.get("/timeseries/none/export").await.expect_problem(404, "series-not-found");
    app.put("/timeseries/a", json!({})).await.expect(201);
    for (query, parameter) in
        [("from=5&to=4", "/from"), ("agg=mode", "/agg"), ("limit=0", "/limit"), ("form=1", "/form")]
    {
        app.get(&format!("/timeseries/a/export?{query}")).await.expect_violation(422, "invalid-query", parameter);
    }
    app.redis().command::<()>(&["SET", "ts:b", "somebody's"]);
    app.get("/timeseries/b/export").await.expect_problem(409, "wrong-type");
}

#[tokio::test]
async fn an_export_ends_early_if_redis_fails() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    with_samples(&app).await;
    let request = axum::http::Request::get(EXPORT).body(Body::empty()).expect("a request");
    let response = tower::ServiceExt::oneshot(app.app().router.clone(), request).await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    let mut body = response.into_body();
    let first = body.frame().await.expect("a piece").expect("the first one is there already");
    assert!(first.is_data());
    app.proxy().cut();
    eventually("the cut is noticed", async || app.get("/health/ready").await.is(503)).await;
    let mut broken = false;
    while let Some(frame) = body.frame().await {
        broken |= frame.is_err();
    }
    assert!(broken, "the answer seemed complete");
    app.get(EXPORT).await.expect_problem(503, "redis-unavailable");
}

const QUERY: &str = "/timeseries/query";
const CSV: &str = "text/csv";
const NDJSON: &str = "application/x-ndjson";

async fn lines(app: &TestApp, query: &Value, accept: &str) -> Reply {
    app.send(Method::POST, QUERY, &[("content-type", "application/json"), ("accept", accept)], query.to_string()).await
}

/// Series of one sample, of more than one piece, of none, and one whose name is no plain field of CSV.
async fn with_series(app: &TestApp) {
    for number in 0..40 {
        let series = format!("/timeseries/s:{number:02}");
        app.put(&series, json!({ "labels": { "zone": "1" }, "retention_ms": 0 })).await.expect(201);
        write(app, &series, vec![sample(number, 0.5)]).await;
    }
    app.put("/timeseries/s:none", json!({ "labels": { "zone": "1" } })).await.expect(201);
    app.put("/timeseries/long", json!({ "labels": { "zone": "1" }, "retention_ms": 0 })).await.expect(201);
    for start in [0, 10_000] {
        write(app, "/timeseries/long", (start..start + 10_000).map(|n| sample(n, 0.25)).collect()).await;
    }
    let odd = "power,zone=1,place=\"a\\,b\" import=1.5 7\npower,zone=1,place=c import=2.5 8";
    app.send(Method::POST, "/write?precision=ms", &[("content-type", "text/plain")], odd).await;
}

/// The points of all JSON pages, as (series, timestamp, value).
async fn by_pages(app: &TestApp, query: &Value) -> Vec<(String, i64, f64)> {
    let (mut all, mut page) = (Vec::new(), query.clone());
    loop {
        let answer = app.post(QUERY, page.clone()).await.expect(200).json();
        for item in answer["items"].as_array().expect("items") {
            assert_eq!(item["truncated"], false, "{item}");
            all.extend(item["samples"].as_array().expect("samples").iter().map(|point| {
                let number = (point["timestamp"].as_i64(), point["value"].as_f64());
                (item["key"].as_str().expect("a key").to_owned(), number.0.expect("a time"), number.1.expect("a value"))
            }));
        }
        if answer["next_cursor"].is_null() {
            return all;
        }
        page["cursor"] = answer["next_cursor"].clone();
    }
}

#[tokio::test]
async fn lines_and_pages_of_many_series_have_the_same_points() {
    let app = TestApp::spawn().await;
    with_series(&app).await;
    let query = json!({ "filter": ["zone=1"], "from": 0, "to": 1_000_000 });
    let mut paged = query.clone();
    paged["limit"] = json!(30_000);
    let expected = by_pages(&app, &paged).await;
    assert!(expected.len() > 20_040 && expected.iter().any(|(series, ..)| series.contains(',')), "{}", expected.len());

    let json = lines(&app, &query, NDJSON).await.expect(200);
    assert_eq!(json.header("content-type"), Some(NDJSON));
    let found: Vec<_> = json.text().lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect();
    let expected_lines =
        expected.iter().map(|(series, at, value)| json!({ "series": series, "timestamp": at, "value": value }));
    assert_eq!(found, expected_lines.collect::<Vec<_>>());

    let csv = lines(&app, &query, CSV).await.expect(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    for (text, media_type) in [(json.text(), NDJSON), (csv.text(), CSV)] {
        let other = TestApp::spawn().await;
        let loaded = other.send(Method::POST, "/timeseries/samples", &[("content-type", media_type)], text).await;
        let loaded = loaded.expect(200).json();
        assert_eq!((&loaded["stored"], &loaded["refused_total"]), (&json!(expected.len()), &json!(0)), "{loaded}");
        let odd = other.get("/timeseries/influx:power:import,place=c,zone=1/latest").await.expect(200).json();
        assert_eq!(odd, sample(8, 2.5));
    }
}

#[tokio::test]
async fn lines_of_many_series_respect_limits_and_aggregation() {
    let app = TestApp::spawn().await;
    with_series(&app).await;
    let ask = async |query: Value| lines(&app, &query, CSV).await.expect(200).text();
    let few =
        json!({ "filter": ["zone=1"], "limit": 1, "series_limit": 3, "order": "desc", "cursor": "0-f4240-influx" });
    let header = "series,timestamp,value\n";
    let text = ask(few).await;
    assert_eq!(text, format!("{header}\"influx:power:import,place=c,zone=1\",8,2.5\nlong,19999,0.25\ns:00,0,0.5\n"));
    let sums =
        json!({ "filter": ["zone=1"], "agg": "sum", "bucket": "15s", "from": 0, "group_by": "zone", "reduce": "max" });
    assert_eq!(ask(sums).await, format!("{header}zone=1,0,3750.0\nzone=1,15000,1250.0\n"));
    let candles = json!({ "filter": ["zone=1"], "agg": "ohlcv", "bucket": "1d", "series_limit": 1, "cursor": "0-9-l" });
    assert_eq!(ask(candles).await, "series,timestamp,open,high,low,close,volume\nlong,0,0.25,0.25,0.25,0.25,\n");
    assert_eq!(ask(json!({ "filter": ["zone=9"] })).await, header);
    assert_eq!(lines(&app, &json!({ "filter": ["zone=9"] }), NDJSON).await.expect(200).text(), "");
}

#[tokio::test]
async fn invalid_queries_are_reported_before_lines_of_many_series_start() {
    let app = TestApp::builder().config(LONG_DEADLINES).behind_proxy().spawn().await;
    with_series(&app).await;
    for (query, pointer) in [
        (json!({ "filter": ["zone=1"], "labels": ["zone"] }), "/labels"),
        (json!({ "filter": ["zone=1"], "limit": 0 }), "/limit"),
        (json!({ "filter": [] }), "/filter"),
    ] {
        lines(&app, &query, CSV).await.expect_violation(422, "invalid-body", pointer);
    }
    // Empty buckets are points: 540,000.
    app.put("/timeseries/gaps", json!({ "retention_ms": 0, "labels": { "zone": "2" } })).await.expect(201);
    write(&app, "/timeseries/gaps", (0..7).map(|n| sample(n * 90_000, 1.0)).collect()).await;
    let grouped = json!({ "filter": ["zone=2"], "agg": "sum", "bucket": "1ms", "empty": true, "from": 0, "group_by": "zone",
                          "reduce": "sum" });
    lines(&app, &grouped, CSV).await.expect_problem(422, "range-too-wide");
    app.proxy().cut();
    let all = json!({ "filter": ["zone=1"] });
    lines(&app, &all, CSV).await.expect_problem(503, "redis-unavailable");
}
