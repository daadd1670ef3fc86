//! Invalid input: a 4xx that names the field, and no cost is taken.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::TestApp;

#[track_caller]
fn assert_nothing_stored(app: &TestApp) {
    assert_eq!(app.redis().keys(), Vec::<String>::new());
}

#[tokio::test]
async fn an_invalid_field_of_a_check_is_named() {
    let app = TestApp::spawn().await;
    let long = "k".repeat(10_240);
    for (body, pointer) in [
        (json!({ "limiter": "unknown", "key": "k" }), "/limiter"),
        (json!({ "key": "k" }), "/limiter"),
        (json!({ "limiter": "api" }), "/key"),
        (json!({ "limiter": "api", "key": "" }), "/key"),
        (json!({ "limiter": "api", "key": long }), "/key"),
        (json!({ "limiter": "api", "key": "a\nb" }), "/key"),
        (json!({ "limiter": "api", "key": 7 }), "/key"),
        (json!({ "limiter": "api", "key": "k", "cost": 0 }), "/cost"),
        (json!({ "limiter": "api", "key": "k", "cost": -1 }), "/cost"),
        (json!({ "limiter": "api", "key": "k", "cost": 1.5 }), "/cost"),
        (json!({ "limiter": "api", "key": "k", "cost": "1" }), "/cost"),
        (json!({ "limiter": "api", "key": "k", "cost": 101 }), "/cost"),
        (json!({ "limiter": "api", "key": "k", "cost": u64::MAX }), "/cost"),
        (json!({ "limiter": "api", "key": "k", "costs": 1 }), "/costs"),
        (
            json!({ "limiter": "api", "key": "k", "strategy": { "kind": "gcra", "limit": 1, "period_ms": 1 } }),
            "/strategy",
        ),
    ] {
        for path in ["/ratelimit/check", "/ratelimit/enforce"] {
            app.post(path, body.clone()).await.expect_violation(422, "invalid-body", pointer);
        }
        let pointer = format!("/checks/1{pointer}");
        let all = json!({ "checks": [{ "limiter": "orders", "key": "k" }, body] });
        app.post("/ratelimit/check-all", all).await.expect_violation(422, "invalid-body", &pointer);
    }
    let headers = [("content-type", "application/json")];
    for text in [r#"{"limiter":"api","key":"k","cost":NaN}"#, r#"{"limiter":"api""#] {
        let reply = app.send(Method::POST, "/ratelimit/check", &headers, text).await;
        reply.expect_problem(400, "invalid-json");
    }
    app.post("/ratelimit/check?limiter=api", json!({})).await.expect_violation(422, "invalid-query", "/limiter");
    assert_nothing_stored(&app);
}

#[tokio::test]
async fn an_invalid_field_of_a_strategy_is_named() {
    let app = TestApp::spawn().await;
    for (strategy, field) in [
        (json!({ "kind": "sliding_window", "limit": 0, "window_ms": 1_000 }), "limit"),
        (json!({ "kind": "sliding_window", "limit": 100_001, "window_ms": 1_000 }), "limit"),
        (json!({ "kind": "sliding_window", "limit": 1, "window_ms": 0 }), "window_ms"),
        (json!({ "kind": "sliding_window", "limit": 1, "window_ms": 31_622_400_001_u64 }), "window_ms"),
        (json!({ "kind": "fixed_window", "limit": 1 }), "window_ms"),
        (json!({ "kind": "fixed_window", "limit": 1, "window_ms": 0 }), "window_ms"),
        (json!({ "kind": "fixed_window", "limit": 1, "window_ms": 5, "calendar": "day", "zone": "UTC" }), "window_ms"),
        (json!({ "kind": "fixed_window", "limit": 1, "window_ms": 5, "zone": "UTC" }), "zone"),
        (json!({ "kind": "fixed_window", "limit": 1, "calendar": "day" }), "zone"),
        (json!({ "kind": "fixed_window", "limit": 1, "calendar": "day", "zone": "Mars/Olympus" }), "zone"),
        (json!({ "kind": "token_bucket", "capacity": 0, "refill_per_second": 1 }), "capacity"),
        (json!({ "kind": "token_bucket", "capacity": 1, "refill_per_second": 0 }), "refill_per_second"),
        (json!({ "kind": "token_bucket", "capacity": 1, "refill_per_second": 0.0005 }), "refill_per_second"),
        (json!({ "kind": "token_bucket", "capacity": 1_000_000, "refill_per_second": 0.001 }), "capacity"),
        (json!({ "kind": "gcra", "limit": 1_000_000_001, "period_ms": 1 }), "limit"),
        (json!({ "kind": "gcra", "limit": 1, "period_ms": 0 }), "period_ms"),
        (json!({ "kind": "gcra", "limit": 1, "period_ms": 1, "burst": 0 }), "burst"),
        (json!({ "kind": "gcra", "limit": 1, "period_ms": 86_400_000, "burst": 1_000 }), "burst"),
        (backoff(&json!({ "factor": 0.5 })), "factor"),
        (backoff(&json!({ "factor": 1.0001 })), "factor"),
        (backoff(&json!({ "factor": 1.001, "window_ms": 60_000, "maximum_ms": 3_600_000 })), "factor"),
        (backoff(&json!({ "maximum_ms": 999 })), "maximum_ms"),
        (backoff(&json!({ "decay_ms": 0 })), "decay_ms"),
        (backoff(&json!({ "decay_ms": 31_622_400_000_u64 })), "decay_ms"),
    ] {
        let body = json!({ "strategy": strategy, "key": "k" });
        let reply = app.post("/ratelimit/check", body).await;
        reply.expect_violation(422, "invalid-body", &format!("/strategy/{field}"));
    }
    for strategy in [
        json!({ "kind": "leaky" }),
        json!({ "limit": 1, "period_ms": 1 }),
        json!({ "kind": "gcra", "limit": 1, "period_ms": 1, "window_ms": 1 }),
        json!({ "kind": "gcra", "limit": 1.5, "period_ms": 1 }),
        json!("gcra"),
    ] {
        let reply = app.post("/ratelimit/check", json!({ "strategy": strategy, "key": "k" })).await;
        reply.expect_problem(422, "invalid-body");
    }
    assert_nothing_stored(&app);
}

/// A back-off from a second to an hour, with these changes.
fn backoff(changes: &Value) -> Value {
    let mut strategy = json!({ "kind": "exponential_backoff", "limit": 1, "window_ms": 1_000, "factor": 2,
                               "maximum_ms": 3_600_000 });
    for (name, value) in changes.as_object().cloned().unwrap_or_default() {
        strategy[name] = value;
    }
    strategy
}

#[tokio::test]
async fn a_strategy_must_be_an_object() {
    let app = TestApp::spawn().await;
    let strategy = json!(["gcra", 1, 1_000]);
    let check = json!({ "strategy": strategy, "key": "k" });
    for (path, body, pointer) in [
        ("/ratelimit/check", check.clone(), "/strategy"),
        ("/ratelimit/enforce", check.clone(), "/strategy"),
        ("/ratelimit/check-all", json!({ "checks": [check] }), "/checks/0/strategy"),
    ] {
        let problem = app.post(path, body).await.expect_violation(422, "invalid-body", pointer);
        assert_eq!(problem["errors"][0]["detail"], "invalid type: array, expected an object", "{path}");
    }
    let exception = json!({ "action": "limit", "strategy": strategy });
    let reply = app.put("/ratelimit/limiters/api/exceptions/k", exception).await;
    reply.expect_violation(422, "invalid-body", "/strategy");
    assert_nothing_stored(&app);
    let without = json!({ "limiter": "api", "strategy": null, "key": "k" });
    app.post("/ratelimit/check", without).await.expect(200);
}

#[tokio::test]
async fn an_invalid_list_of_checks_is_rejected() {
    let app = TestApp::spawn().await;
    let one = json!({ "limiter": "api", "key": "k" });
    let many: Vec<Value> = (0..101).map(|nth| json!({ "limiter": "api", "key": nth.to_string() })).collect();
    for checks in [json!([]), json!(many)] {
        let reply = app.post("/ratelimit/check-all", json!({ "checks": checks })).await;
        reply.expect_violation(422, "invalid-body", "/checks");
    }
    // Both checks would be compared with the same state.
    let twice = app.post("/ratelimit/check-all", json!({ "checks": [one, one] })).await;
    twice.expect_violation(422, "invalid-body", "/checks/1/key");
    assert_nothing_stored(&app);
    let hundred = json!({ "checks": many[..100] });
    assert_eq!(app.post("/ratelimit/check-all", hundred).await.expect(200).json()["allowed"], true);
}

#[tokio::test]
async fn an_invalid_peek_is_rejected() {
    let app = TestApp::spawn().await;
    app.get("/ratelimit/unknown/k").await.expect_problem(404, "unknown-limiter");
    app.get("/ratelimit/api/a%0Ab").await.expect_violation(422, "invalid-path", "/key");
    app.get(&format!("/ratelimit/api/{}", "k".repeat(513))).await.expect_violation(422, "invalid-path", "/key");
    for cost in ["0", "-1", "101", "x", "1.5"] {
        let reply = app.get(&format!("/ratelimit/api/k?cost={cost}")).await;
        reply.expect_violation(422, "invalid-query", "/cost");
    }
    app.get("/ratelimit/limiters?a=1").await.expect_violation(422, "invalid-query", "/a");
    app.get("/ratelimit/stats?a=1").await.expect_violation(422, "invalid-query", "/a");
}

#[tokio::test]
async fn an_invalid_request_of_a_proxy_is_rejected() {
    let app = TestApp::spawn().await;
    for (query, headers, code, pointer) in [
        ("", vec![], "invalid-query", "/limiter"),
        ("?limiter=api", vec![], "invalid-query", "/key"),
        ("?key=k", vec![], "invalid-query", "/limiter"),
        ("?limiter=unknown&key=k", vec![], "invalid-query", "/limiter"),
        ("?limiter=api&key=k&cost=0", vec![], "invalid-query", "/cost"),
        ("?limiter=api&key=k&burst=1", vec![], "invalid-query", "/burst"),
        ("?limiter=api&key=", vec![], "invalid-query", "/key"),
        ("?limiter=api", vec![("x-ratelimit-key", "")], "invalid-header", "/x-ratelimit-key"),
        (
            "?limiter=api",
            vec![("x-ratelimit-key", "a"), ("x-ratelimit-key", "b")],
            "invalid-header",
            "/x-ratelimit-key",
        ),
        ("?limiter=api&key=k", vec![("x-ratelimit-cost", "many")], "invalid-header", "/x-ratelimit-cost"),
    ] {
        let path = format!("/ratelimit/enforce{query}");
        let reply = app.send(Method::GET, &path, &headers, Body::empty()).await;
        reply.expect_violation(422, code, pointer);
    }
    assert_nothing_stored(&app);
}

#[tokio::test]
async fn query_parameters_replace_headers_and_the_body() {
    let app = TestApp::spawn().await;
    let body = r#"{"limiter":"orders","key":"body"}"#;
    // The proxy's client may have sent these.
    let headers = [
        ("content-type", "application/json"),
        ("x-ratelimit-limiter", "unknown"),
        ("x-ratelimit-key", ""),
        ("x-ratelimit-key", "b"),
        ("x-ratelimit-cost", "many"),
        ("x-ratelimit-cost", "-1"),
    ];
    for method in [Method::GET, Method::POST] {
        let path = "/ratelimit/enforce?limiter=orders&key=k&cost=2";
        app.send(method, path, &headers, body).await.expect(204);
    }
    assert_eq!(app.get("/ratelimit/orders/k").await.json()["remaining"], 6);
    // A missing parameter is taken from its header, which must then be valid.
    for (path, pointer) in [
        ("/ratelimit/enforce?key=k&cost=1", "/limiter"),
        ("/ratelimit/enforce?limiter=orders&cost=1", "/x-ratelimit-key"),
        ("/ratelimit/enforce?limiter=orders&key=k", "/x-ratelimit-cost"),
    ] {
        let code = if pointer == "/limiter" { "invalid-query" } else { "invalid-header" };
        app.send(Method::POST, path, &headers, body).await.expect_violation(422, code, pointer);
    }
    // A single parameter or header is enough for the body to be ignored.
    let json = ("content-type", "application/json");
    for (path, headers) in [
        ("/ratelimit/enforce?cost=1", vec![json]),
        ("/ratelimit/enforce", vec![json, ("x-ratelimit-cost", "1")]),
        ("/ratelimit/enforce", vec![json, ("x-ratelimit-key", "k")]),
    ] {
        app.send(Method::POST, path, &headers, body).await.expect_violation(422, "invalid-query", "/limiter");
    }
    app.send(Method::POST, "/ratelimit/enforce", &[json], body).await.expect(204);
    assert_eq!(app.get("/ratelimit/orders/body").await.json()["remaining"], 9);
}
