//! Windows of any length as one answer.

use axum::body::Body;
use axum::http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::{Reply, START, TestApp, eventually};
use crate::timeseries::{METER, sample, write};

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
async fn a_long_window_is_the_same_in_every_form() {
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
async fn parts_buckets_and_orders_are_exported_as_well() {
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
async fn mistakes_are_told_before_an_export_begins() {
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
async fn an_export_that_loses_redis_breaks_off() {
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
