//! Invalid requests: every broken rule is reported, and nothing is stored.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, eventually};

const LONG: u64 = 60_000;
const STRANGER: &str = "0123456789abcdef0123456789abcdef";

async fn release(app: &TestApp, path: &str, token: &str) -> Reply {
    app.send(Method::DELETE, path, &[("lock-token", token)], Body::empty()).await
}

/// The reply is a 422 whose error for `pointer` contains `rule`.
#[track_caller]
fn expect_rule(reply: &Reply, code: &str, pointer: &str, rule: &str) {
    let problem = reply.expect_violation(422, code, pointer);
    let errors = problem["errors"].as_array().expect("errors");
    let detail = errors.iter().find(|error| error["pointer"] == pointer).and_then(|error| error["detail"].as_str());
    assert!(detail.is_some_and(|detail| detail.contains(rule)), "{pointer} should say `{rule}`: {problem}");
}

#[track_caller]
fn expect_nothing_stored(app: &TestApp) {
    assert_eq!(app.redis().keys(), Vec::<String>::new());
}

/// Names and the rule that each of them breaks.
fn bad_names() -> Vec<(String, &'static str)> {
    vec![
        ("x".repeat(513), "at most 512 bytes"),
        // 171 characters of three bytes.
        ("%E2%82%AC".repeat(171), "at most 512 bytes"),
        ("a%00b".to_owned(), "not contain control characters"),
        ("a%0Ab".to_owned(), "not contain control characters"),
        ("a%7Fb".to_owned(), "not contain control characters"),
        ("a%C2%85b".to_owned(), "not contain control characters"),
        ("a%FFb".to_owned(), "not UTF-8"),
    ]
}

#[tokio::test]
async fn a_resource_is_named_in_1_to_512_bytes_without_control_characters() {
    let app = TestApp::spawn().await;
    for (name, rule) in bad_names() {
        let path = format!("/locks/{name}");
        let refused = [
            app.post(&path, json!({ "ttl_ms": LONG })).await,
            app.patch(&path, json!({ "token": STRANGER, "ttl_ms": LONG })).await,
            release(&app, &path, STRANGER).await,
            app.get(&path).await,
            app.get(&format!("{path}/hold?ttl_ms=1000")).await,
        ];
        for reply in &refused {
            expect_rule(reply, "invalid-path", "/resource", rule);
        }
    }
    expect_rule(&app.get("/locks//hold?ttl_ms=1000").await, "invalid-path", "/resource", "not be empty");
    let unnamed = app.post("/locks/", json!({ "ttl_ms": LONG })).await.expect_problem(404, "not-found");
    assert_eq!(unnamed["detail"], "the last part of the path must not be empty");
    expect_nothing_stored(&app);
    for name in ["x".repeat(512), "%E2%82%AC".repeat(170), "a".to_owned()] {
        app.post(&format!("/locks/{name}"), json!({ "ttl_ms": LONG })).await.expect(201);
    }
}

#[tokio::test]
async fn a_request_to_acquire_names_its_broken_rule() {
    let app = TestApp::spawn().await;
    for (body, pointer, rule) in [
        (json!({ "ttl_ms": 0 }), "/ttl_ms", "between 100 and 60000"),
        (json!({ "ttl_ms": 99 }), "/ttl_ms", "between 100 and 60000"),
        (json!({ "ttl_ms": -1 }), "/ttl_ms", "out of range"),
        (json!({ "ttl_ms": 60_001 }), "/ttl_ms", "between 100 and 60000"),
        (json!({ "ttl_ms": 18_446_744_073_709_551_615_u64 }), "/ttl_ms", "between 100 and 60000"),
        (json!({ "ttl_ms": 1.5 }), "/ttl_ms", "whole number"),
        (json!({ "ttl_ms": "1s" }), "/ttl_ms", "whole number"),
        (json!({}), "/ttl_ms", "is missing"),
        (json!({ "ttl_ms": null }), "/ttl_ms", "is missing"),
        (json!({ "ttl_ms": LONG, "wait_ms": 30_001 }), "/wait_ms", "at most 30000"),
        (json!({ "ttl_ms": LONG, "wait_ms": -1 }), "/wait_ms", "out of range"),
        (json!({ "ttl_ms": LONG, "owner": "" }), "/owner", "not be empty"),
        (json!({ "ttl_ms": LONG, "owner": "a\nb" }), "/owner", "not contain control characters"),
        (json!({ "ttl_ms": LONG, "owner": "x".repeat(129) }), "/owner", "at most 128 characters"),
        (json!({ "ttl_ms": LONG, "metadata": [] }), "/metadata", "expected an object"),
        (json!({ "ttl_ms": LONG, "metadata": { "x": "y".repeat(1_100) } }), "/metadata", "at most 1024 bytes"),
        (json!({ "ttl_ms": LONG, "tll": 1 }), "/tll", "unknown field"),
    ] {
        expect_rule(&app.post("/locks/a", body).await, "invalid-body", pointer, rule);
    }
    app.post("/locks/stats", json!({ "ttl_ms": LONG })).await.expect_problem(405, "method-not-allowed");
    expect_nothing_stored(&app);
    // The limit counts characters, not bytes.
    app.post("/locks/a", json!({ "ttl_ms": LONG, "owner": "€".repeat(128) })).await.expect(201);
}

#[tokio::test]
async fn a_request_to_acquire_several_names_its_broken_rule() {
    let app = TestApp::spawn().await;
    let many: Vec<String> = (0..17).map(|at| at.to_string()).collect();
    for (resources, pointer, rule) in [
        (json!([]), "/resources", "1 to 16 resources"),
        (json!(["a", "b", "a"]), "/resources", "all be different"),
        (json!(many), "/resources", "1 to 16 resources"),
        (json!(["a", ""]), "/resources/1", "not be empty"),
        (json!(["a", "b\u{0}"]), "/resources/1", "not contain control characters"),
        (json!(["€".repeat(171)]), "/resources/0", "at most 512 bytes"),
        (json!(["stats"]), "/resources/0", "name of a route"),
        (json!("a"), "/resources", "expected an array"),
        (json!([1]), "/resources/0", "expected a string"),
    ] {
        let reply = app.post("/locks/acquire-all", json!({ "resources": resources, "ttl_ms": LONG })).await;
        expect_rule(&reply, "invalid-body", pointer, rule);
    }
    for (body, pointer, rule) in [
        (json!({ "ttl_ms": LONG }), "/resources", "is missing"),
        (json!({ "resources": ["a"] }), "/ttl_ms", "is missing"),
        (json!({ "resources": ["a"], "ttl_ms": 0 }), "/ttl_ms", "between 100 and 60000"),
        (json!({ "resources": ["a"], "ttl_ms": -1 }), "/ttl_ms", "out of range"),
        // With different limits, the stricter one applies.
        (json!({ "resources": ["mint:1", "a"], "ttl_ms": 60_001 }), "/ttl_ms", "between 100 and 60000"),
        (json!({ "resources": ["a"], "ttl_ms": LONG, "wait_ms": 1 }), "/wait_ms", "unknown field"),
    ] {
        expect_rule(&app.post("/locks/acquire-all", body).await, "invalid-body", pointer, rule);
    }
    expect_nothing_stored(&app);
}

#[tokio::test]
async fn a_request_to_hold_names_its_broken_rule() {
    let app = TestApp::spawn().await;
    let long_owner = format!("ttl_ms=1000&owner={}", "x".repeat(129));
    for (query, pointer, rule) in [
        ("", "/ttl_ms", "is missing"),
        ("ttl_ms=0", "/ttl_ms", "between 100 and 60000"),
        ("ttl_ms=-1", "/ttl_ms", "must be a whole number, got `-1`"),
        ("ttl_ms=1s", "/ttl_ms", "must be a whole number, got `1s`"),
        ("ttl_ms=99999999999999999999", "/ttl_ms", "must be a smaller number"),
        ("ttl_ms=60001", "/ttl_ms", "between 100 and 60000"),
        ("ttl_ms=1000&wait_ms=30001", "/wait_ms", "at most 30000"),
        ("ttl_ms=1000&owner=", "/owner", "not be empty"),
        ("ttl_ms=1000&owner=a%00", "/owner", "not contain control characters"),
        (&long_owner, "/owner", "at most 128 characters"),
        ("ttl_ms=1000&ttl_ms=1000", "/ttl_ms", "duplicate field"),
        ("ttl_ms=1000&tll=1", "/tll", "unknown field"),
    ] {
        expect_rule(&app.get(&format!("/locks/a/hold?{query}")).await, "invalid-query", pointer, rule);
    }
    expect_nothing_stored(&app);
}

#[tokio::test]
async fn malformed_tokens_are_refused_without_a_call_to_redis() {
    let app = TestApp::spawn().await;
    let rule = "32 hexadecimal digits";
    for bad in ["", "x", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdef0"] {
        expect_rule(&release(&app, "/locks/a", bad).await, "invalid-header", "/Lock-Token", rule);
        let extended = app.patch("/locks/a", json!({ "token": bad, "ttl_ms": LONG })).await;
        expect_rule(&extended, "invalid-body", "/token", rule);
    }
    expect_rule(&app.delete("/locks/a").await, "invalid-header", "/Lock-Token", "is missing");
    let twice = [("lock-token", STRANGER), ("lock-token", STRANGER)];
    let refused = app.send(Method::DELETE, "/locks/a", &twice, Body::empty()).await;
    expect_rule(&refused, "invalid-header", "/Lock-Token", "must not be repeated");
    for (body, pointer, rule) in [
        (json!({ "ttl_ms": LONG }), "/token", "is missing"),
        (json!({ "token": STRANGER }), "/ttl_ms", "is missing"),
        (json!({ "token": STRANGER, "ttl_ms": 0 }), "/ttl_ms", "between 100 and 60000"),
        (json!({ "token": STRANGER, "ttl_ms": LONG, "wait_ms": 1 }), "/wait_ms", "unknown field"),
    ] {
        expect_rule(&app.patch("/locks/a", body).await, "invalid-body", pointer, rule);
    }
    expect_rule(&app.delete("/locks/a?forced=true").await, "invalid-query", "/forced", "unknown field");
    expect_rule(&app.delete("/locks/a?force=1").await, "invalid-query", "/force", "`true` or `false`");
    expect_nothing_stored(&app);
}

#[tokio::test]
async fn wrong_tokens_are_refused_and_change_nothing() {
    let app = TestApp::spawn().await;
    let mine = app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect(201).json();
    let foreign = app.post("/locks/b", json!({ "ttl_ms": LONG })).await.expect(201).json();
    for token in [STRANGER, foreign["token"].as_str().expect("a token")] {
        release(&app, "/locks/a", token).await.expect_problem(409, "lock-not-owned");
        let extension = json!({ "token": token, "ttl_ms": LONG });
        app.patch("/locks/a", extension.clone()).await.expect_problem(409, "lock-lost");
        app.patch("/locks/free", extension).await.expect_problem(409, "lock-lost");
        release(&app, "/locks/free", token).await.expect_problem(409, "lock-lost");
    }
    let token = mine["token"].as_str().expect("a token");
    release(&app, "/locks/a", token).await.expect(204);
    release(&app, "/locks/a", token).await.expect_problem(409, "lock-lost");
}

#[tokio::test]
async fn an_expired_lease_cannot_be_extended() {
    let app = TestApp::spawn().await;
    let grant = app.post("/locks/a", json!({ "ttl_ms": 100 })).await.expect(201).json();
    eventually("the lease ends", async || app.get("/locks/a").await.json()["held"] == false).await;
    let extension = json!({ "token": grant["token"], "ttl_ms": LONG });
    app.patch("/locks/a", extension).await.expect_problem(409, "lock-lost");
    assert_eq!(app.get("/locks/a").await.json()["held"], false, "the lock is not acquired again");
}

#[tokio::test]
async fn a_waiter_has_nothing_to_release() {
    let app = TestApp::builder().system_clock().spawn().await;
    let grant = app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect(201).json();
    let waiters = async || -> Value { app.get("/locks/a").await.json()["waiters"].clone() };
    let waiting = app.post("/locks/a", json!({ "ttl_ms": LONG, "wait_ms": 20_000 }));
    let (waited, ()) = tokio::join!(waiting, async {
        eventually("it waits in the queue", async || waiters().await == 1).await;
        expect_rule(&app.delete("/locks/a").await, "invalid-header", "/Lock-Token", "is missing");
        release(&app, "/locks/a", STRANGER).await.expect_problem(409, "lock-not-owned");
        assert_eq!(waiters().await, 1, "it keeps its queue entry");
        release(&app, "/locks/a", grant["token"].as_str().expect("a token")).await.expect(204);
    });
    waited.expect(201);
}

#[tokio::test]
async fn an_invalid_page_of_the_list_is_refused() {
    let app = TestApp::spawn().await;
    for (query, pointer, rule) in [
        ("limit=0", "/limit", "between 1 and 500"),
        ("limit=501", "/limit", "between 1 and 500"),
        ("limit=-1", "/limit", "must be a whole number"),
        ("cursor=x", "/cursor", "next_cursor of a page"),
        ("cursor=1-", "/cursor", "next_cursor of a page"),
        ("page=2", "/page", "unknown field"),
    ] {
        expect_rule(&app.get(&format!("/locks?{query}")).await, "invalid-query", pointer, rule);
    }
}

#[tokio::test]
async fn an_unexpected_query_is_refused() {
    let app = TestApp::spawn().await;
    let refused = [
        app.post("/locks/a?ttl_ms=1000", json!({ "ttl_ms": LONG })).await,
        app.patch("/locks/a?ttl_ms=1000", json!({ "token": STRANGER, "ttl_ms": LONG })).await,
        app.post("/locks/acquire-all?ttl_ms=1000", json!({ "resources": ["a"], "ttl_ms": LONG })).await,
        app.get("/locks/a?ttl_ms=1000").await,
        app.get("/locks/stats?ttl_ms=1000").await,
    ];
    for reply in &refused {
        expect_rule(reply, "invalid-query", "/ttl_ms", "unknown field");
    }
    expect_nothing_stored(&app);
}

#[tokio::test]
async fn metadata_keeps_its_digits_and_is_json_for_every_parser() {
    let app = TestApp::spawn().await;
    let headers = [("content-type", "application/json")];
    let acquire = async |resource: &str, metadata: &str| {
        let body = format!(r#"{{"ttl_ms":30000,"metadata":{metadata}}}"#);
        app.send(Method::POST, &format!("/locks/{resource}"), &headers, body).await
    };
    let kept = r#"{"n":123456789012345678901234567890,"m":9007199254740993,"d":1.10}"#;
    acquire("a", kept).await.expect(201);
    let seen = app.get("/locks/a").await.expect(200).text();
    assert!(seen.contains(&format!("\"metadata\":{kept}")), "{seen}");
    for bad in [r#"{"a":1,"a":2}"#, r#"{"a":"\ud800"}"#, r#"{"a":1e400}"#] {
        acquire("b", bad).await.expect_violation(422, "invalid-body", "/metadata");
    }
    assert_eq!(app.get("/locks/b").await.expect(200).json()["held"], false);
}
