//! Counters: falls that are no reset, and registers that cannot be.

use serde_json::{Value, json};

use crate::support::{START, TestApp};
use crate::timeseries::{sample, write};

async fn counter(app: &TestApp, values: &[f64]) {
    app.put("/timeseries/a", json!({ "labels": { "kind": "register" } })).await.expect(201);
    let samples = values.iter().zip(0..).map(|(value, n)| sample(START + n * 60_000, *value)).collect();
    write(app, "/timeseries/a", samples).await;
}

async fn increase(app: &TestApp, query: &str) -> f64 {
    let page = app.get(&format!("/timeseries/a/range?agg=increase{query}")).await.expect(200).json();
    let increase = page["samples"][0]["value"].as_f64().expect("a number");
    (increase * 1e6).round() / 1e6
}

#[tokio::test]
async fn a_small_fall_is_no_reset() {
    for (values, query, expected) in [
        (vec![1010.0, 1009.9, 1010.1], "", 0.1),
        (vec![1010.0, 1009.9, 1010.1], "&wrap=100000", 0.1),
        (vec![1000.0, 900.0, 950.0], "", -50.0),
        (vec![1000.0, 899.0, 950.0], "", 950.0),
        (vec![1000.0, 950.0, 960.0], "&reset_below=1", 960.0),
        (vec![1000.0, 500.0, 510.0], "&reset_below=0.5", -490.0),
        (vec![990.0, 10.0], "&wrap=1000", 20.0),
        (vec![5.0, 0.0, 3.0], "", 3.0),
    ] {
        let app = TestApp::spawn().await;
        counter(&app, &values).await;
        assert!((increase(&app, query).await - expected).abs() < 1e-9, "{values:?} {query}");
    }
}

#[tokio::test]
async fn a_register_that_cannot_hold_its_values_is_rejected() {
    let app = TestApp::spawn().await;
    counter(&app, &[900.0, 1001.0, 1003.0]).await;
    for (query, parameter) in [
        ("agg=increase&wrap=1000", "/wrap"),
        ("agg=rate&wrap=1000&bucket=1h", "/wrap"),
        ("agg=increase&wrap=1002&to=1767225660000", "/wrap"),
        ("agg=increase&reset_below=0", "/reset_below"),
        ("agg=increase&reset_below=1.1", "/reset_below"),
        ("agg=sum&reset_below=0.5", "/reset_below"),
    ] {
        let reply = app.get(&format!("/timeseries/a/range?{query}")).await;
        reply.expect_violation(422, "invalid-query", parameter);
        let reply = app.get(&format!("/timeseries/a/export?{query}")).await;
        reply.expect_violation(422, "invalid-query", parameter);
    }
    let body = json!({ "filter": ["kind=register"], "agg": "increase", "wrap": 1000 });
    let found: Value = app.post("/timeseries/query", body).await.expect_violation(422, "invalid-body", "/wrap");
    assert!(found.to_string().contains("1001"), "{found}");
    assert!((increase(&app, "&wrap=1003").await - 103.0).abs() < 1e-9);
}
