//! What is judged first, and which requests a fence remembers.

use axum::http::Method;
use serde_json::json;

use super::{JSON, SERIES, append, highest, put, send};
use crate::support::{Exposition, TestApp};

const FENCE: &str = "cache:fence:{cache:a}";

#[tokio::test]
async fn a_broken_condition_leaves_the_value_and_raises_the_fence() {
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
        assert_eq!(highest(&app.redis(), FENCE), Some(token), "{path}: the newer holder was seen");
        put(&app, token - 1, "/cache/a", "9").await.expect_problem(409, "stale-fence");
    }
}

#[tokio::test]
async fn a_former_holder_is_told_so_before_anything_else() {
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
    // Nothing stands there any more, so a condition alone would have let them pass or called it a miss.
    for (method, path) in [(Method::DELETE, "/cache/a"), (Method::DELETE, "/cache/a?take=true")] {
        let absent = ("if-none-match", "\"x\"");
        app.send(method, path, &[stale, absent], "").await.expect_problem(409, "stale-fence");
    }
    let touch = send(&app, 19, Method::POST, "/cache/a/touch", "{\"ttl_ms\":5}").await;
    touch.expect_problem(409, "stale-fence");
    assert_eq!(highest(&app.redis(), FENCE), Some(20));
}

#[tokio::test]
async fn a_request_that_fails_leaves_the_fence_as_it_was() {
    let app = TestApp::spawn().await;
    // The one fails inside of the script, the other is told by it.
    let _: () = app.redis().command(&["SADD", "cache:a", "somebody else's"]);
    let _: () = app.redis().command(&["HSET", "energy:generation:m1", "somebody", "else"]);
    put(&app, 20, "/cache/a", "1").await.expect_problem(409, "wrong-type");
    append(&app, 20, SERIES, 1).await.expect_problem(409, "wrong-type");
    let refused = send(&app, 20, Method::PUT, "/cache/a?ttl_ms=0", "1").await;
    refused.expect_violation(422, "invalid-query", "/ttl_ms");
    let keys: Vec<String> = app.redis().command(&["KEYS", "*fence*"]);
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test]
async fn a_series_that_is_not_there_remembers_who_asked_for_it() {
    let app = TestApp::spawn().await;
    append(&app, 20, "/timeseries/unknown", 1).await.expect_problem(404, "series-not-found");
    let create = send(&app, 19, Method::PUT, "/timeseries/unknown", "{}").await;
    create.expect_problem(409, "stale-fence");
    send(&app, 20, Method::PUT, "/timeseries/unknown", "{}").await.expect(201);
}

#[tokio::test]
async fn a_repeat_is_given_its_answer_whoever_has_the_lock_by_now() {
    let app = TestApp::spawn().await;
    let attempt = async |token: &str| {
        let headers = [JSON, ("idempotency-key", "k-1"), ("fencing-token", token)];
        app.send(Method::POST, "/cache/n/increment", &headers, "{\"by\":5}").await
    };
    let first = attempt("10").await.expect(200);
    send(&app, 20, Method::POST, "/cache/n/increment", "{\"by\":1}").await.expect(200);
    let repeat = attempt("10").await.expect(200);
    assert_eq!((repeat.text(), repeat.header("idempotency-replayed")), (first.text(), Some("true")));
    // The record may be lost between the effect and the stored answer; the counter remembers its own.
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
async fn a_refused_repeat_runs_again_once_the_lock_is_back() {
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
async fn a_refusal_counts_as_one_and_not_as_a_failure() {
    let app = TestApp::spawn().await;
    put(&app, 20, "/cache/a", "1").await.expect(201);
    put(&app, 19, "/cache/a", "1").await.expect_problem(409, "stale-fence");
    let metrics = Exposition::parse(&app.get("/metrics").await.expect(200).text());
    let count = |result| metrics.count("cache_operations_total", &[("operation", "set"), ("result", result)]);
    assert_eq!((count("ok"), count("refused"), count("error")), (1, 1, 0));
}

#[tokio::test]
async fn a_guarded_delete_goes_on_when_redis_is_full() {
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
