use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::source::{HttpSource, reply};
use super::{ON_DEMAND, http_task};
use crate::support::{TestApp, eventually};

const KEY: &str = "/warming/values/market:rate:a";

/// A source that answers each request with its number once a permit is there.
async fn gated() -> (HttpSource, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let source = HttpSource::start(move |nth, _| {
        let gate = Arc::clone(&inner);
        async move {
            gate.acquire().await.expect("a permit").forget();
            reply(200, format!("{{\"nth\":{nth}}}"))
        }
    })
    .await;
    (source, gate)
}

async fn spawn(source: &HttpSource, task: &str) -> TestApp {
    TestApp::builder().config(&http_task(&source.url(), &format!("{ON_DEMAND}{task}"))).spawn().await
}

#[tokio::test]
async fn concurrent_misses_on_two_replicas_fetch_once() {
    let (source, gate) = gated().await;
    let app = spawn(&source, "").await;
    let config = http_task(&source.url(), ON_DEMAND);
    let other = TestApp::builder().config(&config).beside(&app).spawn().await;
    let path = format!("{KEY}?wait_ms=10000");
    let reads = join_all((0..40).map(|nth| if nth % 2 == 0 { app.get(&path) } else { other.get(&path) }));
    let open = async {
        eventually("the source is asked", async || source.requests() > 0).await;
        gate.add_permits(10);
    };
    let (replies, ()) = tokio::join!(reads, open);
    for reply in &replies {
        assert_eq!((reply.status.as_u16(), reply.text()), (200, "{\"nth\":0}".to_owned()));
    }
    assert_eq!(source.requests(), 1);
    let hit = app.get(KEY).await.expect(200);
    assert_eq!((hit.header("cache-state"), hit.header("content-type")), (Some("hit"), Some("application/json")));
    assert_eq!(app.get("/cache/market:rate:a").await.text(), "{\"nth\":0}", "it is an ordinary value of the cache");
}

#[tokio::test]
async fn a_source_that_never_answers_holds_nobody_longer_than_asked() {
    let (source, gate) = gated().await;
    let app = spawn(&source, "").await;
    let replies = join_all((0..5).map(|_| app.get("/warming/values/market:rate:a?wait_ms=100"))).await;
    for reply in &replies {
        let problem = reply.expect_problem(502, "warming-source-failed");
        assert!(problem["retry_after_ms"].is_u64(), "{problem}");
    }
    app.get("/health/ready").await.expect(200);
    // The callers have gone: their fetch is cancelled, and its lease ends by itself.
    gate.add_permits(10);
    eventually("the next fetch succeeds", async || app.get(&format!("{KEY}?wait_ms=10000")).await.is(200)).await;
}

#[tokio::test]
async fn what_clients_write_during_a_fetch_wins() {
    let (source, gate) = gated().await;
    let app = spawn(&source, "").await;
    let json = [("content-type", "application/json")];
    let path = format!("{KEY}?wait_ms=10000");
    let write = async {
        eventually("the source is asked", async || source.requests() == 1).await;
        app.send(Method::PUT, "/cache/market:rate:a", &json, Body::from("\"newer\"")).await.expect(201);
        gate.add_permits(1);
    };
    let (read, ()) = tokio::join!(app.get(&path), write);
    assert_eq!(read.expect(200).text(), "\"newer\"");
    // A run that fetched before a DELETE does not bring the value back.
    let delete = async {
        eventually("the source is asked", async || source.requests() == 2).await;
        app.delete("/cache/market:rate:a").await.expect(204);
        gate.add_permits(1);
    };
    let (record, ()) = tokio::join!(super::run(&app, "rates", json!({ "keys": ["market:rate:a"] })), delete);
    assert_eq!(record["overtaken"], 1, "{record}");
    app.get("/cache/market:rate:a").await.expect(404);
}

#[tokio::test]
async fn an_invalidation_during_a_fetch_counts_for_the_fetched_value() {
    let (source, gate) = gated().await;
    let app = spawn(&source, "tags = [\"rates\"]\n").await;
    let invalidate = async {
        eventually("the source is asked", async || source.requests() == 1).await;
        app.delete("/cache/tags/rates").await.expect(204);
        gate.add_permits(1);
    };
    let path = format!("{KEY}?wait_ms=10000");
    let (read, ()) = tokio::join!(app.get(&path), invalidate);
    read.expect(200);
    app.get("/cache/market:rate:a").await.expect(404);
}

/// Runs the task for the first key, and does something else once its source is asked.
async fn run_and(app: &TestApp, source: &HttpSource, gate: &Semaphore, meanwhile: impl AsyncFnOnce()) -> Value {
    let asked = source.requests() + 1;
    let interfere = async {
        eventually("the source is asked", async || source.requests() == asked).await;
        meanwhile().await;
        gate.add_permits(1);
    };
    tokio::join!(super::run(app, "rates", json!({ "keys": ["market:rate:a"] })), interfere).0
}

#[tokio::test]
async fn a_refreshed_value_keeps_the_tags_of_the_client_that_stored_it() {
    let (source, gate) = gated().await;
    let app = spawn(&source, "").await;
    let store = async || app.put("/cache/market:rate:a?ttl_ms=1000&tags=prices,th", json!("by a client")).await;
    store().await.expect(201);
    let record = run_and(&app, &source, &gate, async || {}).await;
    assert_eq!(record["changed"], 1, "{record}");
    assert_eq!(app.get("/cache/market:rate:a").await.expect(200).text(), "{\"nth\":0}");
    let left: i64 = app.redis().command(&["PTTL", "cache:tag:{prices}"]);
    assert!(left > 500_000, "a tag outlives the value: {left}");
    app.delete("/cache/tags/prices").await.expect(204);
    app.get("/cache/market:rate:a").await.expect_problem(404, "cache-miss");
    // What the source sent before the invalidation is not served after it.
    store().await.expect(201);
    run_and(&app, &source, &gate, async || _ = app.delete("/cache/tags/th").await.expect(204)).await;
    app.get("/cache/market:rate:a").await.expect_problem(404, "cache-miss");
}

#[tokio::test]
async fn an_invalidation_ends_the_mark_of_an_absent_value() {
    let source = HttpSource::start(|_, _| async { reply(404, "{}") }).await;
    let app = spawn(&source, "tags = [\"rates\"]\nnegative_ttl = \"60s\"\n").await;
    for asked in 1..4 {
        for _ in 0..2 {
            app.get(KEY).await.expect_problem(404, "warming-value-absent");
        }
        assert_eq!(source.requests(), asked, "the mark is valid until the tag is invalidated");
        app.delete("/cache/tags/rates").await.expect(204);
    }
    app.get("/cache/market:rate:a?lease_ms=1000").await.expect_problem(404, "cache-miss");
    // A value that becomes a mark keeps its tags, too.
    app.put("/cache/market:rate:a?tags=th", json!(1)).await;
    super::run(&app, "rates", json!({ "keys": ["market:rate:a"] })).await;
    app.get(KEY).await.expect_problem(404, "warming-value-absent");
    assert_eq!(source.requests(), 4);
    app.delete("/cache/tags/th").await.expect(204);
    app.get(KEY).await.expect_problem(404, "warming-value-absent");
    assert_eq!(source.requests(), 5);
}

#[tokio::test]
async fn a_read_does_not_prolong_the_mark_of_an_absent_value() {
    let source = HttpSource::start(|_, _| async { reply(404, "{}") }).await;
    let app = spawn(&source, "negative_ttl = \"60s\"\n").await;
    app.get(KEY).await.expect_problem(404, "warming-value-absent");
    app.get("/cache/market:rate:a?touch_ms=1000000").await.expect_problem(404, "cache-miss");
    assert!(app.redis().command::<i64>(&["PTTL", "cache:market:rate:a"]) <= 60_000);
}

#[tokio::test]
async fn absent_values_are_remembered_until_they_are_written() {
    let source = HttpSource::start(|_, _| async { reply(404, "{}") }).await;
    let app = spawn(&source, "negative_ttl = \"60s\"\n").await;
    for _ in 0..3 {
        let reply = app.get(KEY).await;
        reply.expect_problem(404, "warming-value-absent");
        assert_eq!(reply.header("cache-state"), Some("absent"));
    }
    assert_eq!(source.requests(), 1);
    for path in ["/cache/market:rate:a", "/cache/market:rate:a?lease_ms=1000"] {
        let miss = app.get(path).await;
        miss.expect_problem(404, "cache-miss");
        assert_eq!(miss.header("cache-lease"), None, "nobody can rebuild it");
    }
    app.post("/cache/market:rate:a/touch", json!({ "ttl_ms": 1_000_000 })).await.expect_problem(404, "cache-miss");
    assert!(app.redis().command::<i64>(&["PTTL", "cache:market:rate:a"]) <= 60_000);
    let written = app.post(&format!("{KEY}/written"), json!({ "value": { "a": 1 } })).await.expect(200);
    assert_eq!(written.json()["state"], "stored");
    assert_eq!(app.get(KEY).await.expect(200).text(), "{\"a\":1}");
    // Without a value, the source is asked anew.
    let written = app.post(&format!("{KEY}/written"), json!({})).await.expect(200);
    assert_eq!(written.json()["state"], "absent");
    app.get("/cache/market:rate:a").await.expect(404);
    app.send(Method::PUT, "/cache/market:rate:a", &[("content-type", "application/json")], Body::from("1"))
        .await
        .expect(204);
    assert_eq!(app.get(KEY).await.expect(200).text(), "1", "a PUT replaces the mark at once");
}

#[tokio::test]
async fn a_write_ends_the_fetches_that_began_before_it() {
    let (source, gate) = gated().await;
    let app = spawn(&source, "").await;
    let path = format!("{KEY}?wait_ms=10000");
    let written = async {
        eventually("the source is asked", async || source.requests() == 1).await;
        gate.add_permits(2);
        app.post(&format!("{KEY}/written"), json!({ "value": "committed", "invalidate": ["lists"] })).await.expect(200);
    };
    let (_, ()) = tokio::join!(app.get(&path), written);
    assert_eq!(app.get("/cache/market:rate:a").await.text(), "\"committed\"");
    for (body, pointer) in [
        (json!({ "invalidate": ["a,b"] }), "/invalidate/0"),
        (json!({ "invalidate": vec!["t"; 17] }), "/invalidate"),
        (json!({ "sql": 1 }), "/sql"),
    ] {
        app.post(&format!("{KEY}/written"), body).await.expect_violation(422, "invalid-body", pointer);
    }
}

#[tokio::test]
async fn keys_without_a_task_and_wrong_waits_are_refused() {
    let source = HttpSource::start(|_, _| async { reply(200, "1") }).await;
    let app = spawn(&source, "").await;
    app.get("/warming/values/other").await.expect_problem(404, "warming-key-unknown");
    app.post("/warming/values/other/written", json!({})).await.expect_problem(404, "warming-key-unknown");
    app.get(&format!("{KEY}?wait_ms=0")).await.expect_violation(422, "invalid-query", "/wait_ms");
    app.get(&format!("{KEY}?wait_ms=10001")).await.expect_violation(422, "invalid-query", "/wait_ms");
    app.redis().command::<i64>(&["LPUSH", "cache:market:rate:list", "x"]);
    app.get("/warming/values/market:rate:list").await.expect_problem(409, "wrong-type");
    assert_eq!(source.requests(), 0);
}

#[tokio::test]
async fn a_value_needs_the_scopes_of_the_cache_too() {
    let source = HttpSource::start(|_, _| async { reply(200, "1") }).await;
    let keys = "[[auth.keys]]\nid = \"reader\"\nsha256 = \"$DIGEST\"\nscopes = [\"warming:read\", \"cache:read:market:rate:a\"]\n";
    let token = "ak_ffffffffffffffffffffffffffffffff";
    let digest = gridtokenx_redis::http::auth::api_key::digest(token.as_bytes());
    let digest = gridtokenx_redis::http::auth::api_key::hex(&digest);
    let config = format!("{}{}", http_task(&source.url(), ON_DEMAND), keys.replace("$DIGEST", &digest));
    let app = TestApp::builder().config(&config).spawn().await;
    let headers = [("x-api-key", token)];
    app.send(Method::GET, KEY, &headers, Body::empty()).await.expect(200);
    app.send(Method::GET, "/warming/values/market:rate:b", &headers, Body::empty())
        .await
        .expect_problem(403, "forbidden");
    app.send(Method::GET, KEY, &[], Body::empty()).await.expect(401);
}

#[tokio::test]
async fn a_task_keeps_the_first_request_for_a_run_until_the_run_begins() {
    let (source, gate) = gated().await;
    let app = spawn(&source, "").await;
    let ask = async || app.post("/warming/tasks/rates/run", json!({ "keys": ["market:rate:a"] })).await;
    let first = ask().await.expect(202).json();
    eventually("the first run waits for its source", async || source.requests() > 0).await;
    let second = ask().await.expect(202).json();
    let refused = ask().await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.expect_problem(409, "warming-run-requested")["outcome"], "not_applied");
    gate.add_permits(2);
    for requested in [first, second] {
        let path = format!("/warming/runs/{}", requested["id"].as_str().expect("an id"));
        eventually("the run has ended", async || app.get(&path).await.json()["result"] == "succeeded").await;
    }
}

#[tokio::test]
async fn values_that_parsers_read_differently_are_refused() {
    let (source, _gate) = gated().await;
    let app = spawn(&source, "").await;
    let json = [("content-type", "application/json")];
    for value in [r#"{"a":1,"a":2}"#, "1e999", r#""\ud800""#] {
        let body = format!(r#"{{"value":{value}}}"#);
        let written = app.send(Method::POST, "/warming/values/market:rate:a/written", &json, body).await;
        written.expect_violation(422, "invalid-body", "/value");
        let body = super::limits(&json!({})).to_string().replace("{}", &format!(r#"{{"market:limits:a":{value}}}"#));
        let defined = app.send(Method::PUT, "/warming/tasks/limits", &json, body).await;
        defined.expect_violation(422, "invalid-body", "/values");
    }
    let body = super::limits(&json!({})).to_string().replace("{}", r#"{"market:limits:a":1,"market:limits:a":2}"#);
    app.send(Method::PUT, "/warming/tasks/limits", &json, body).await.expect_violation(422, "invalid-body", "/values");
    app.get("/cache/market:rate:a").await.expect(404);
}
