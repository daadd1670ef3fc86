//! Counters: atomic increments, expiry, and repeated operations.

use axum::body::Body;
use axum::http::{Method, Request};
use futures_util::future::join_all;
use gridtokenx_redis::http::idempotent_operation::OperationId;
use serde_json::json;

use crate::support::{Reply, TestApp};

#[tokio::test]
async fn only_the_first_increment_sets_the_expiry() {
    let app = TestApp::spawn().await;
    let first = app.post("/cache/logins:7/increment", json!({"ttl_ms": 60_000})).await.expect(200).json();
    assert_eq!(first, json!({"value": 1, "ttl_ms": 60_000, "created": true}));
    let second = app.post("/cache/logins:7/increment", json!({"by": 4, "ttl_ms": 900_000})).await.expect(200).json();
    assert_eq!((&second["value"], &second["created"]), (&json!(5), &json!(false)));
    assert!(second["ttl_ms"].as_u64().is_some_and(|ttl| (1..=60_000).contains(&ttl)), "{second}");
    let read = app.get("/cache/logins:7").await.expect(200);
    assert_eq!((read.text().as_str(), read.header("content-type")), ("5", Some("application/json")));
    let by_policy = app.post("/cache/other/increment", json!({})).await.expect(200).json();
    assert_eq!(by_policy["ttl_ms"], 3_600_000, "the policy's TTL applies");
}

#[tokio::test]
async fn concurrent_increments_are_all_counted() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    let replies = join_all((0..32).map(|n| {
        let replica = if n % 2 == 0 { &app } else { &other };
        replica.post("/cache/n/increment", json!({"ttl_ms": 60_000}))
    }))
    .await;
    let mut values: Vec<i64> = Vec::new();
    for reply in replies {
        values.push(reply.expect(200).json()["value"].as_i64().expect("a number"));
    }
    values.sort_unstable();
    assert_eq!(values, (1..=32).collect::<Vec<i64>>());
    let ttl: i64 = app.redis().command(&["PTTL", "cache:n"]);
    assert!((1..=60_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn an_increment_of_a_non_integer_or_past_64_bits_is_rejected() {
    let app = TestApp::spawn().await;
    app.put("/cache/json", json!({"a": 1})).await.expect(201);
    app.put("/cache/float", json!(1.5)).await.expect(201);
    app.put("/cache/max", json!(i64::MAX)).await.expect(201);
    app.send(Method::PUT, "/cache/text", &[("content-type", "text/plain")], "5").await.expect(201);
    app.put("/cache/tagged?tags=t", json!(5)).await.expect(201);
    for key in ["json", "float", "max", "text", "tagged"] {
        let before = app.get(&format!("/cache/{key}")).await.expect(200).body;
        app.post(&format!("/cache/{key}/increment"), json!({})).await.expect_problem(409, "not-a-number");
        assert_eq!(app.get(&format!("/cache/{key}")).await.expect(200).body, before, "{key}");
    }
    for (body, field) in [
        (json!({"by": 1.5}), "/by"),
        (json!({"by": "1"}), "/by"),
        (json!({"by": 1_u64 << 63}), "/by"),
        (json!({"ttl_ms": 0}), "/ttl_ms"),
        (json!({"ttl_ms": -5}), "/ttl_ms"),
        (json!({"ttl_ms": 31_536_000_001_u64}), "/ttl_ms"),
        (json!({"ttl": 5}), "/ttl"),
    ] {
        app.post("/cache/new/increment", body).await.expect_violation(422, "invalid-body", field);
    }
    app.get("/cache/new").await.expect_problem(404, "cache-miss");
}

#[tokio::test]
async fn large_integers_are_exact() {
    let app = TestApp::spawn().await;
    app.put("/cache/n", json!(9_007_199_254_740_992_i64)).await.expect(201);
    let up = app.post("/cache/n/increment", json!({"by": 1})).await.expect(200).json();
    assert_eq!(up["value"], 9_007_199_254_740_993_i64);
    app.put("/cache/n", json!(0)).await.expect(204);
    let down = app.post("/cache/n/increment", json!({"by": i64::MIN})).await.expect(200).json();
    assert_eq!(down["value"], i64::MIN);
}

#[tokio::test]
async fn an_increment_replaces_an_invalidated_value() {
    let app = TestApp::spawn().await;
    app.put("/cache/n?tags=t", json!("old")).await.expect(201);
    app.delete("/cache/tags/t").await.expect(204);
    let first = app.post("/cache/n/increment", json!({"ttl_ms": 1_000})).await.expect(200).json();
    assert_eq!(first, json!({"value": 1, "ttl_ms": 1_000, "created": true}));
}

/// Sends one attempt of an operation with the ID that the middleware would add.
async fn attempt(app: &TestApp, operation: &str) -> Reply {
    let mut request = Request::post("/cache/n/increment")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"ttl_ms":60000}"#))
        .expect("a request");
    request.extensions_mut().insert(OperationId::new(operation));
    Reply::read(operation.to_owned(), app.app().answer(request).await).await
}

#[tokio::test]
async fn a_repeated_operation_adds_once_and_returns_its_first_result() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    let attempts = (0..32).map(|n| attempt(if n % 2 == 0 { &app } else { &other }, "caller:1"));
    let first = json!({"value": 1, "ttl_ms": 60_000, "created": true});
    for reply in join_all(attempts).await {
        assert_eq!(reply.expect(200).json(), first);
    }
    assert_eq!(attempt(&app, "caller:2").await.expect(200).json()["value"], 2);
    assert_eq!(attempt(&app, "caller:1").await.expect(200).json(), first);
    assert_eq!(app.get("/cache/n").await.expect(200).text(), "2");
    let kept: i64 = app.redis().command(&["PTTL", "cache:answer:caller:1:{cache:n}"]);
    assert!((1..=86_400_000).contains(&kept), "{kept}");
}
