//! Repeated requests for locks: the response states the lease as it is now.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{RedisServer, Reply, TestApp, eventually};

const LONG: u64 = 60_000;

async fn app() -> TestApp {
    TestApp::builder().system_clock().spawn().await
}

async fn send(app: &TestApp, method: Method, path: &str, key: &str, body: &Value) -> Reply {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    app.send(method, path, &headers, body.to_string()).await
}

async fn acquire(app: &TestApp, ttl_ms: u64) -> Reply {
    send(app, Method::POST, "/locks/a", "k", &json!({ "ttl_ms": ttl_ms, "owner": "first" })).await
}

async fn release(app: &TestApp, path: &str, grant: &Value) {
    let token = grant["token"].as_str().expect("a token");
    app.send(Method::DELETE, path, &[("lock-token", token)], Body::empty()).await.expect(204);
}

async fn is_free(app: &TestApp, path: &str) -> bool {
    app.get(path).await.expect(200).json()["held"] == false
}

fn number(grant: &Value, field: &str) -> u64 {
    grant[field].as_u64().unwrap_or_else(|| panic!("{field} of {grant}"))
}

/// The repetition describes the lease of `first` and claims nothing beyond it.
#[track_caller]
fn assert_rest(first: &Value, again: &Value) {
    for field in ["resource", "token", "fencing_token", "guarantee"] {
        assert_eq!(again[field], first[field], "{field}: {again}");
    }
    assert!(number(again, "ttl_ms") <= number(first, "ttl_ms"), "{again}, first {first}");
    // The first validity may be the shorter one: the time that the first call took is not part of it.
    assert!(number(again, "validity_ms") <= number(again, "ttl_ms"), "{again}, first {first}");
    // The first end counts from before the call to Redis, whose round trip is short.
    assert!(number(again, "expires_at") <= number(first, "expires_at") + 500, "{again}, first {first}");
}

#[tokio::test]
async fn a_repeated_acquire_receives_what_is_left_of_the_lease() {
    let app = app().await;
    let first = acquire(&app, LONG).await.expect(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    let first = first.json();
    let left = || -> u64 { app.redis().command(&["PTTL", "lock:a"]) };
    eventually("some of the lease is over", async || left() < LONG - 20).await;
    for _ in 0..2 {
        let before = left();
        let again = acquire(&app, LONG).await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_rest(&first, &again.json());
        assert!(number(&again.json(), "ttl_ms") <= before, "{} of {before}", again.text());
        assert!(number(&again.json(), "validity_ms") <= number(&first, "validity_ms") - 15, "{}", again.text());
    }
    // The key still belongs to that request.
    acquire(&app, LONG - 1).await.expect_problem(422, "idempotency-key-reused");
    assert_eq!(acquire(&app, LONG).await.expect(201).json()["token"], first["token"]);
}

#[tokio::test]
async fn a_repeated_acquire_does_not_outlive_its_lease() {
    let app = app().await;
    let first = acquire(&app, 150).await.expect(201).json();
    eventually("the lease has ended", async || is_free(&app, "/locks/a").await).await;
    let other = app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect(201).json();
    for _ in 0..2 {
        acquire(&app, 150).await.expect_problem(409, "lock-held");
    }
    release(&app, "/locks/a", &other).await;
    let again = acquire(&app, 150).await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), None);
    let again = again.json();
    assert_ne!(again["token"], first["token"]);
    assert!(number(&again, "fencing_token") > number(&other, "fencing_token"), "{again}");
}

#[tokio::test]
async fn a_lease_that_was_released_is_not_repeated() {
    let app = app().await;
    let first = acquire(&app, LONG).await.expect(201).json();
    release(&app, "/locks/a", &first).await;
    let second = acquire(&app, LONG).await.expect(201);
    assert_eq!(second.header("idempotency-replayed"), None);
    assert_ne!(second.json()["token"], first["token"]);
    // This one is repeated again.
    assert_rest(&second.json(), &acquire(&app, LONG).await.expect(201).json());
    app.delete("/locks/a?force=true").await.expect(204);
    app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect(201);
    acquire(&app, LONG).await.expect_problem(409, "lock-held");
}

#[tokio::test]
async fn an_extended_lease_is_repeated_with_its_new_end() {
    let app = app().await;
    let first = acquire(&app, 10_000).await.expect(201).json();
    app.patch("/locks/a", json!({ "token": first["token"], "ttl_ms": LONG })).await.expect(200);
    let again = acquire(&app, 10_000).await.expect(201).json();
    assert_eq!(again["token"], first["token"]);
    assert!(number(&again, "validity_ms") > 30_000, "{again}");
}

#[tokio::test]
async fn several_locks_are_repeated_while_all_leases_last() {
    let app = app().await;
    let request = json!({ "resources": ["b", "a"], "ttl_ms": LONG });
    let together = || send(&app, Method::POST, "/locks/acquire-all", "k", &request);
    let first = together().await.expect(201).json();
    let again = together().await.expect(201).json();
    for at in 0..2 {
        assert_rest(&first["locks"][at], &again["locks"][at]);
    }
    let shortest = again["locks"].as_array().expect("locks").iter().map(|lock| number(lock, "validity_ms")).min();
    assert_eq!(Some(number(&again, "validity_ms")), shortest);
    release(&app, "/locks/b", &first["locks"][1]).await;
    // The lease of `a` stays as it is.
    together().await.expect_problem(409, "lock-held");
    release(&app, "/locks/a", &first["locks"][0]).await;
    assert_ne!(together().await.expect(201).json()["locks"][0]["token"], first["locks"][0]["token"]);
}

#[tokio::test]
async fn a_repeated_extension_extends_again_or_is_lost() {
    let app = app().await;
    let grant = acquire(&app, 10_000).await.expect(201).json();
    let request = json!({ "token": grant["token"], "ttl_ms": LONG });
    let extend = || send(&app, Method::PATCH, "/locks/a", "e", &request);
    extend().await.expect(200);
    let left = || -> u64 { app.redis().command(&["PTTL", "lock:a"]) };
    eventually("some of the lease is over", async || left() < LONG - 20).await;
    let again = extend().await.expect(200).json();
    assert!(left() > LONG - 20 || number(&again, "validity_ms") <= left(), "{again}");
    release(&app, "/locks/a", &grant).await;
    extend().await.expect_problem(409, "lock-lost");
}

#[tokio::test]
async fn a_majority_confirms_the_lease_that_is_repeated() {
    let nodes: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let urls: Vec<String> = nodes.iter().map(RedisServer::url).collect();
    let config = format!("[locks]\nmax_ttl = \"2s\"\nnamed = []\nnodes = {urls:?}");
    let app = TestApp::builder().system_clock().config(&config).spawn().await;
    eventually("every node votes", async || {
        let reply = app.post("/locks/probe", json!({ "ttl_ms": 100 })).await;
        reply.is(201) && reply.json()["nodes"]["granted"] == 3
    })
    .await;
    let first = acquire(&app, 2_000).await.expect(201).json();
    let delete = |node: &RedisServer| -> u64 { node.command(&["DEL", "lock:a", "lock:holder:{lock:a}"]) };
    delete(&nodes[0]);
    let again = acquire(&app, 2_000).await.expect(201).json();
    assert_rest(&first, &again);
    assert_eq!(again["nodes"], json!({ "granted": 2, "total": 3 }));
    delete(&nodes[1]);
    let lost = acquire(&app, 2_000).await;
    assert!(lost.status.is_client_error() || lost.json()["token"] != first["token"], "{}", lost.text());
}
