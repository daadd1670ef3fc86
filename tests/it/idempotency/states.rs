//! Repeated requests whose responses describe limits and values: they do not state what no longer holds.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, eventually};

const LIMITS: &str = "[[ratelimit.limiters]]\nname = \"one\"\nkey = \"one:{key}\"\nreservations = \"30s\"\n\
                      strategy = { kind = \"fixed_window\", limit = 1, window = \"60s\" }";

async fn post(app: &TestApp, path: &str, key: &str, body: &Value) -> Reply {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    app.send(Method::POST, path, &headers, body.to_string()).await
}

#[tokio::test]
async fn a_refusal_of_a_limit_is_not_repeated() {
    let app = TestApp::builder().config(LIMITS).spawn().await;
    let check = json!({ "limiter": "one", "key": "k" });
    let several = json!({ "checks": [check] });
    for (path, body) in
        [("/ratelimit/check", &check), ("/ratelimit/check-all", &several), ("/ratelimit/reserve", &check)]
    {
        post(&app, "/ratelimit/check", &format!("first {path}").replace(' ', "-"), &check).await.expect(200);
        let key = path.rsplit('/').next().unwrap_or_default();
        assert_eq!(post(&app, path, key, body).await.expect(200).json()["allowed"], false, "{path}");
        app.clock().advance(Duration::from_secs(61));
        let allowed = post(&app, path, key, body).await.expect(200);
        assert_eq!(allowed.json()["allowed"], true, "{path}");
        // What was allowed is repeated and takes nothing.
        let again = post(&app, path, key, body).await.expect(200);
        assert_eq!((&again.json()["allowed"], again.header("idempotency-replayed")), (&json!(true), Some("true")));
        app.clock().advance(Duration::from_secs(61));
    }
}

#[tokio::test]
async fn an_admission_is_repeated_until_the_limit_is_whole_again() {
    let limits = LIMITS.replace("60s", "1s");
    let app = TestApp::builder().system_clock().config(&limits).spawn().await;
    let check = json!({ "limiter": "one", "key": "k" });
    assert_eq!(post(&app, "/ratelimit/check", "k", &check).await.expect(200).json()["allowed"], true);
    let records: Vec<String> = app.redis().command(&["KEYS", "idempotency:*"]);
    let left: u64 = app.redis().command(&["PTTL", &records[0]]);
    assert!(left <= 1_000, "{left}");
}

#[tokio::test]
async fn a_reservation_is_repeated_with_the_time_that_is_left_and_not_beyond() {
    let app = TestApp::builder().system_clock().config(LIMITS).spawn().await;
    let request = json!({ "limiter": "one", "key": "k", "hold_ms": 400 });
    let reserve = || post(&app, "/ratelimit/reserve", "k", &request);
    let first = reserve().await.expect(200).json();
    let id = &first["reservation"];
    eventually("some of the time is over", async || {
        let again = reserve().await.expect(200).json();
        assert!(again["reservation"] != *id || again["hold_ms"].as_u64() <= first["hold_ms"].as_u64(), "{again}");
        again["reservation"] != *id || again["hold_ms"].as_u64() < Some(395)
    })
    .await;
    eventually("the reservation has ended", async || reserve().await.expect(200).json()["reservation"] != *id).await;
}

#[tokio::test]
async fn a_read_is_answered_from_the_current_state() {
    let app = TestApp::spawn().await;
    let values = async || post(&app, "/cache/batch", "k", &json!({ "get": ["a"] })).await.expect(200).json();
    let documents =
        async || post(&app, "/json/batch", "k", &json!({ "get": [{ "key": "d" }] })).await.expect(200).json();
    let query = json!({ "filter": ["site=north"], "from": 0, "to": 10 });
    let series = async || post(&app, "/timeseries/query", "k", &query).await.expect(200).text();
    assert_eq!(
        (&values().await["get"][0]["status"], &documents().await["get"][0]["status"]),
        (&json!(404), &json!(404))
    );
    let before = series().await;
    app.put("/cache/a", json!(1)).await.expect(201);
    app.put("/json/d", json!({ "n": 1 })).await.expect(201);
    app.put("/timeseries/s", json!({ "labels": { "site": "north" } })).await.expect(201);
    app.post("/timeseries/s/samples", json!({ "samples": [{ "timestamp": 5, "value": 1 }] })).await.expect(200);
    assert_eq!(
        (&values().await["get"][0]["status"], &documents().await["get"][0]["status"]),
        (&json!(200), &json!(200))
    );
    assert_ne!(series().await, before);
}
