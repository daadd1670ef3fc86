//! Which check comes first, and which requests raise a fence.

use axum::http::Method;
use serde_json::json;

use super::{JSON, SERIES, append, highest, put, send};
use crate::support::{Exposition, TestApp};
use crate::timeseries::NO_CATCH_ALL;

const FENCE: &str = "cache:fence:{cache:a}";

#[tokio::test]
async fn a_failed_condition_keeps_the_value_and_raises_the_fence() {
    let app = TestApp::spawn().await;
    app.send(Method::PUT, "/cache/a", &[("content-type", "text/plain")], "text").await.expect(201);
    for (token, method, path, condition, body, status) in [
        (10, Method::PUT, "/cache/a", ("if-match", "\"x\""), "9", 412),
        (11, Method::PUT, "/cache/a", ("if-none-match", "*"), "9", 412),
        (12, Method::DELETE, "/cache/a", ("if-match", "\"x\""), "", 412),
        (13, Method::DELETE, "/cache/a?take=true", ("if-match", "\"x\""), "", 412),
        (14, Method::POST, "/cache/a/increment", JSON, "{\"by\":1}", 409),
    ] {
        let headers = [("fencing-token", &*token.to_string()), condition];
        app.send(method, path, &headers, body).await.expect(status);
        assert_eq!(app.get("/cache/a").await.expect(200).text(), "text");
        assert_eq!(highest(&app.redis(), FENCE), Some(token), "{path}: the fence is raised");
        put(&app, token - 1, "/cache/a", "9").await.expect_problem(409, "stale-fence");
    }
}

#[tokio::test]
async fn a_stale_token_is_rejected_before_conditions_are_checked() {
    let app = TestApp::spawn().await;
    put(&app, 20, "/cache/a", "1").await.expect(201);
    let stale = ("fencing-token", "19");
    for (method, path, condition) in [
        (Method::PUT, "/cache/a", ("if-match", "\"x\"")),
        (Method::PUT, "/cache/a", ("if-none-match", "*")),
        (Method::DELETE, "/cache/a", ("if-match", "\"x\"")),
        (Method::DELETE, "/cache/a?take=true", ("if-match", "\"x\"")),
    ] {
        app.send(method, path, &[JSON, stale, condition], "2").await.expect_problem(409, "stale-fence");
    }
    send(&app, 20, Method::DELETE, "/cache/a", "").await.expect(204);
    // The key is gone, so the condition alone would accept these requests or report a miss.
    for (method, path) in [(Method::DELETE, "/cache/a"), (Method::DELETE, "/cache/a?take=true")] {
        let absent = ("if-none-match", "\"x\"");
        app.send(method, path, &[stale, absent], "").await.expect_problem(409, "stale-fence");
    }
    let touch = send(&app, 19, Method::POST, "/cache/a/touch", "{\"ttl_ms\":5}").await;
    touch.expect_problem(409, "stale-fence");
    assert_eq!(highest(&app.redis(), FENCE), Some(20));
}

#[tokio::test]
async fn a_failed_request_does_not_change_the_fence() {
    let app = TestApp::spawn().await;
    // The first write fails inside its script; the script of the second one reports the wrong type.
    let _: () = app.redis().command(&["SADD", "cache:a", "foreign"]);
    let _: () = app.redis().command(&["HSET", "energy:generation:m1", "foreign", "1"]);
    put(&app, 20, "/cache/a", "1").await.expect_problem(409, "wrong-type");
    append(&app, 20, SERIES, 1).await.expect_problem(409, "wrong-type");
    let refused = send(&app, 20, Method::PUT, "/cache/a?ttl_ms=0", "1").await;
    refused.expect_violation(422, "invalid-query", "/ttl_ms");
    let keys: Vec<String> = app.redis().command(&["KEYS", "*fence*"]);
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test]
async fn a_write_to_a_missing_series_raises_its_fence() {
    let app = TestApp::builder().config(NO_CATCH_ALL).spawn().await;
    append(&app, 20, "/timeseries/unknown", 1).await.expect_problem(404, "series-not-found");
    let create = send(&app, 19, Method::PUT, "/timeseries/unknown", "{}").await;
    create.expect_problem(409, "stale-fence");
    send(&app, 20, Method::PUT, "/timeseries/unknown", "{}").await.expect(201);
}

#[tokio::test]
async fn a_repeated_request_is_replayed_even_with_a_stale_token() {
    let app = TestApp::spawn().await;
    let attempt = async |token: &str| {
        let headers = [JSON, ("idempotency-key", "k-1"), ("fencing-token", token)];
        app.send(Method::POST, "/cache/n/increment", &headers, "{\"by\":5}").await
    };
    let first = attempt("10").await.expect(200);
    send(&app, 20, Method::POST, "/cache/n/increment", "{\"by\":1}").await.expect(200);
    let repeat = attempt("10").await.expect(200);
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeat.json()["value"], first.json()["value"]);
    // If the record is lost, the counter itself recognises the repetition.
    let records: Vec<String> = app.redis().command(&["KEYS", "idempotency:*"]);
    assert_eq!(records.len(), 1);
    let _: () = app.redis().command(&["DEL", &records[0]]);
    assert_eq!(attempt("10").await.expect(200).text(), first.text());
    assert_eq!(app.get("/cache/n").await.expect(200).text(), "6");
    let other = [JSON, ("idempotency-key", "k-2"), ("fencing-token", "10")];
    let late = app.send(Method::POST, "/cache/n/increment", &other, "{\"by\":5}").await;
    late.expect_problem(409, "stale-fence");
}

#[tokio::test]
async fn a_rejected_request_can_be_repeated_with_a_newer_token() {
    let app = TestApp::spawn().await;
    append(&app, 20, SERIES, 1).await.expect(200);
    for (token, status) in [("19", 409), ("21", 200), ("20", 200)] {
        let headers = [JSON, ("idempotency-key", "k-1"), ("fencing-token", token)];
        let body = json!({ "samples": [{ "timestamp": 2, "value": 2 }] }).to_string();
        let path = "/timeseries/energy:generation:m1/samples";
        let reply = app.send(Method::POST, path, &headers, body).await;
        assert!(reply.is(status), "{token}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_rejected_write_is_counted_as_refused_and_not_as_an_error() {
    let app = TestApp::spawn().await;
    put(&app, 20, "/cache/a", "1").await.expect(201);
    put(&app, 19, "/cache/a", "1").await.expect_problem(409, "stale-fence");
    let metrics = Exposition::parse(&app.get("/metrics").await.expect(200).text());
    let count = |result| metrics.count("cache_operations_total", &[("operation", "set"), ("result", result)]);
    assert_eq!((count("ok"), count("refused"), count("error")), (1, 1, 0));
}

#[tokio::test]
async fn a_guarded_delete_works_when_redis_is_full() {
    let app = TestApp::spawn().await;
    for path in ["/cache/a", "/cache/b"] {
        put(&app, 20, path, "1").await.expect(201);
    }
    let _: () = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    put(&app, 20, "/cache/b", "2").await.expect_problem(507, "redis-out-of-memory");
    send(&app, 21, Method::DELETE, "/cache/a", "").await.expect(204);
    assert_eq!(highest(&app.redis(), FENCE), Some(21));
    send(&app, 20, Method::DELETE, "/cache/b", "").await.expect(204);
}
