//! Locks on one Redis: one holder, leases, tokens, fences.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, START, TestApp, eventually};

/// A lease longer than any test.
const LONG: u64 = 60_000;

async fn acquire(app: &TestApp, path: &str, ttl_ms: u64) -> Value {
    app.post(path, json!({ "ttl_ms": ttl_ms })).await.expect(201).json()
}

async fn release(app: &TestApp, path: &str, token: &str) -> Reply {
    app.send(Method::DELETE, path, &[("lock-token", token)], Body::empty()).await
}

fn token(grant: &Value) -> &str {
    grant["token"].as_str().expect("a token")
}

fn fence(grant: &Value) -> u64 {
    grant["fencing_token"].as_u64().expect("a fencing token")
}

#[tokio::test]
async fn a_grant_states_how_long_its_holder_may_rely_on_it() {
    let app = TestApp::spawn().await;
    let grant = acquire(&app, "/locks/settlement:42", 30_000).await;
    assert_eq!(grant["resource"], "settlement:42");
    assert_eq!(grant["ttl_ms"], 30_000);
    assert_eq!(grant["guarantee"], "single_node_lease");
    assert_eq!(grant["nodes"], json!({ "granted": 1, "total": 1 }));
    // 1 % and 2 ms for drift, and the round trip.
    let validity = grant["validity_ms"].as_u64().expect("a number");
    assert!((28_000..=29_698).contains(&validity), "{grant}");
    assert_eq!(grant["expires_at"], START + 29_698, "{grant}");
    assert_eq!(fence(&grant), u64::try_from(START).expect("positive") * 1_000);
}

#[tokio::test]
async fn the_key_is_a_plain_string_with_the_token_and_expires_with_the_lease() {
    let app = TestApp::spawn().await;
    let grant = acquire(&app, "/locks/settlement:42", 30_000).await;
    let stored: String = app.redis().command(&["GET", "lock:settlement:42"]);
    assert_eq!(stored, token(&grant));
    for key in ["lock:settlement:42", "lock:holder:{lock:settlement:42}"] {
        let left: u64 = app.redis().command(&["PTTL", key]);
        assert!((1..=30_000).contains(&left), "{key}: {left}");
    }
    let keys = app.redis().keys();
    for key in &keys {
        let left: i64 = app.redis().command(&["PTTL", key]);
        assert!(left > 0, "{key} never expires");
    }
}

#[tokio::test]
async fn a_second_client_learns_how_long_to_wait() {
    let app = TestApp::spawn().await;
    acquire(&app, "/locks/order_matching:GRID", LONG).await;
    let refused = app.post("/locks/order_matching:GRID", json!({ "ttl_ms": LONG })).await;
    let problem = refused.expect_problem(409, "lock-held");
    assert!((1..=LONG).contains(&problem["retry_after_ms"].as_u64().expect("a time")), "{problem}");
    assert_eq!(problem["outcome"], "not_applied");
    assert!(!refused.text().contains("token"), "{problem}");
}

#[tokio::test]
async fn an_extension_lengthens_and_never_shortens() {
    let app = TestApp::spawn().await;
    let grant = acquire(&app, "/locks/a", 20_000).await;
    let longer = app.patch("/locks/a", json!({ "token": token(&grant), "ttl_ms": 50_000 })).await.expect(200).json();
    assert_eq!(longer["ttl_ms"], 50_000);
    assert_eq!(longer["fencing_token"], grant["fencing_token"]);
    let same = app.patch("/locks/a", json!({ "token": token(&grant), "ttl_ms": 1_000 })).await.expect(200).json();
    assert!(same["ttl_ms"].as_u64().expect("a number") > 40_000, "{same}");
    let left: u64 = app.redis().command(&["PTTL", "lock:a"]);
    assert!(left > 40_000, "{left}");
}

#[tokio::test]
async fn only_the_holder_releases() {
    let app = TestApp::spawn().await;
    let grant = acquire(&app, "/locks/a", LONG).await;
    let stranger = "0123456789abcdef0123456789abcdef";
    release(&app, "/locks/a", stranger).await.expect_problem(409, "lock-not-owned");
    app.patch("/locks/a", json!({ "token": stranger, "ttl_ms": LONG })).await.expect_problem(409, "lock-lost");
    app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect_problem(409, "lock-held");
    release(&app, "/locks/a", token(&grant)).await.expect(204);
    release(&app, "/locks/a", token(&grant)).await.expect_problem(409, "lock-lost");
    acquire(&app, "/locks/a", LONG).await;
    release(&app, "/locks/a", token(&grant)).await.expect_problem(409, "lock-not-owned");
}

#[tokio::test]
async fn an_expired_lease_is_lost_and_the_lock_is_free() {
    let app = TestApp::spawn().await;
    let grant = acquire(&app, "/locks/a", 100).await;
    eventually("the lease ends", async || app.get("/locks/a").await.json()["held"] == false).await;
    let again = json!({ "token": token(&grant), "ttl_ms": LONG });
    app.patch("/locks/a", again).await.expect_problem(409, "lock-lost");
    release(&app, "/locks/a", token(&grant)).await.expect_problem(409, "lock-lost");
    let next = acquire(&app, "/locks/a", LONG).await;
    assert!(fence(&next) > fence(&grant));
}

#[tokio::test]
async fn fencing_tokens_rise_with_a_clock_that_stops_or_goes_back() {
    let app = TestApp::spawn().await;
    let mut highest = 0;
    for _ in 0..20 {
        let grant = acquire(&app, "/locks/a", LONG).await;
        assert!(fence(&grant) > highest);
        highest = fence(&grant);
        release(&app, "/locks/a", token(&grant)).await.expect(204);
    }
    let earlier = TestApp::builder().beside(&app).spawn().await;
    app.clock().advance(Duration::from_secs(3_600));
    let ahead = acquire(&app, "/locks/a", LONG).await;
    release(&app, "/locks/a", token(&ahead)).await.expect(204);
    let behind = acquire(&earlier, "/locks/a", LONG).await;
    assert_eq!(fence(&behind), fence(&ahead) + 1);
}

#[tokio::test]
async fn fencing_tokens_rise_when_redis_forgets_everything() {
    let app = TestApp::builder().system_clock().spawn().await;
    let mut highest = 0;
    for _ in 0..50 {
        let grant = acquire(&app, "/locks/a", LONG).await;
        assert!(fence(&grant) > highest, "{} after {highest}", fence(&grant));
        highest = fence(&grant);
        let _: String = app.redis().command(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn inspecting_a_lock_shows_its_holder_and_never_its_token() {
    let app = TestApp::spawn().await;
    let request = json!({ "ttl_ms": LONG, "owner": "worker 3", "metadata": { "epoch": 17, "zones": [1, 2] } });
    let grant = app.post("/locks/market_clearing:17", request).await.expect(201).json();
    let seen = app.get("/locks/market_clearing:17").await.expect(200);
    assert!(!seen.text().contains(token(&grant)), "{}", seen.text());
    let seen = seen.json();
    assert_eq!(seen["held"], true);
    assert_eq!(seen["owner"], "worker 3");
    assert_eq!(seen["metadata"], json!({ "epoch": 17, "zones": [1, 2] }));
    assert_eq!(seen["acquired_at"], START);
    assert_eq!(seen["fencing_token"], grant["fencing_token"]);
    assert_eq!(seen["waiters"], 0);
    let free = app.get("/locks/free:lock").await.expect(200).json();
    assert_eq!(free, json!({ "resource": "free:lock", "held": false, "waiters": 0 }));
}

#[tokio::test]
async fn a_lock_held_by_another_program_is_respected() {
    let app = TestApp::spawn().await;
    let _: String = app.redis().command(&["SET", "lock:a", "foreign", "NX"]);
    let problem = app.post("/locks/a", json!({ "ttl_ms": LONG })).await.expect_problem(409, "lock-held");
    assert_eq!(problem.get("retry_after_ms"), None, "a lease that never expires: {problem}");
    let seen = app.get("/locks/a").await.expect(200).json();
    assert_eq!(seen, json!({ "resource": "a", "held": true, "waiters": 0 }));
    // A list is not a lock, but it blocks the key.
    let _: u64 = app.redis().command(&["RPUSH", "lock:b", "x"]);
    app.post("/locks/b", json!({ "ttl_ms": LONG })).await.expect_problem(409, "lock-held");
    app.get("/locks/b").await.expect_problem(409, "wrong-type");
}

#[tokio::test]
async fn force_frees_any_lock_and_raises_the_fence() {
    let app = TestApp::spawn().await;
    let grant = acquire(&app, "/locks/a", LONG).await;
    app.delete("/locks/a?force=true").await.expect(204);
    let raised = app.get("/locks/a").await.json();
    assert!(raised["held"] == false && raised["fencing_token"].as_u64() > Some(fence(&grant)), "{raised}");
    app.patch("/locks/a", json!({ "token": token(&grant), "ttl_ms": LONG })).await.expect_problem(409, "lock-lost");
    assert!(fence(&acquire(&app, "/locks/a", LONG).await) > raised["fencing_token"].as_u64().expect("a fence"));
    app.delete("/locks/free?force=true").await.expect(204);
    assert_eq!(app.get("/locks/stats").await.json()["forced"], 2);
}

#[tokio::test]
async fn force_requires_the_admin_scope() {
    let key = "ak_00112233445566778899aabbccddeeff";
    let digest =
        gridtokenx_redis::http::auth::api_key::hex(&gridtokenx_redis::http::auth::api_key::digest(key.as_bytes()));
    let block = format!("[[auth.keys]]\nid = \"worker\"\nsha256 = \"{digest}\"\nscopes = [\"locks:write\"]\n");
    let app = TestApp::builder().config(&block).spawn().await;
    let headers = [("x-api-key", key), ("content-type", "application/json")];
    app.send(Method::POST, "/locks/a", &headers, json!({ "ttl_ms": LONG }).to_string()).await.expect(201);
    let refused = app.send(Method::DELETE, "/locks/a?force=true", &headers, Body::empty()).await;
    refused.expect_problem(403, "forbidden");
    app.send(Method::GET, "/locks/a", &headers, Body::empty()).await.expect_problem(403, "forbidden");
    app.post("/locks/b", json!({ "ttl_ms": LONG })).await.expect_problem(401, "unauthenticated");
    let left: u64 = app.redis().command(&["EXISTS", "lock:a"]);
    assert_eq!(left, 1);
}

#[tokio::test]
async fn named_locks_have_their_own_defaults_and_limits() {
    let app = TestApp::spawn().await;
    let minted = app.post("/locks/mint:SN-1:1767225600000", json!({})).await.expect(201).json();
    assert_eq!(minted["ttl_ms"], 120_000);
    app.post("/locks/token_minting:w", json!({ "ttl_ms": 120_000 })).await.expect(201);
    app.post("/locks/token_minting:v", json!({ "ttl_ms": 120_001 })).await.expect_violation(
        422,
        "invalid-body",
        "/ttl_ms",
    );
    app.post("/locks/other", json!({})).await.expect_violation(422, "invalid-body", "/ttl_ms");
    let extended = app.patch("/locks/mint:SN-1:1767225600000", json!({ "token": token(&minted) })).await;
    assert_eq!(extended.expect(200).json()["ttl_ms"], 120_000);
}

#[tokio::test]
async fn names_cannot_collide_or_choose_a_slot() {
    let app = TestApp::spawn().await;
    for name in ["a%7Bb%7D", "a%257Bb%257D", "a%20b", "a%2520b", "fence:%7Block:a%7D", "a%2Fb", "%C3%A9"] {
        acquire(&app, &format!("/locks/{name}"), LONG).await;
    }
    assert_eq!(app.get("/locks/a%2Fb").await.json()["resource"], "a/b");
    let stored: u64 = app.redis().command(&["EXISTS", "lock:a%7Bb%7D"]);
    assert_eq!(stored, 1);
}

#[tokio::test]
async fn held_locks_are_listed_in_pages() {
    let app = TestApp::builder().system_clock().spawn().await;
    for at in 0..5 {
        acquire(&app, &format!("/locks/page:{at}"), LONG).await;
    }
    let gone = acquire(&app, "/locks/page:gone", LONG).await;
    release(&app, "/locks/page:gone", token(&gone)).await.expect(204);
    eventually("all are listed", async || app.get("/locks").await.json()["items"].as_array().map(Vec::len) == Some(5))
        .await;
    eventually("the released one is not counted", async || app.get("/locks/stats").await.json()["held"] == 5).await;
    let (mut seen, mut path) = (Vec::new(), "/locks?limit=2".to_owned());
    loop {
        let page = app.get(&path).await.expect(200).json();
        for item in page["items"].as_array().expect("items") {
            assert!(item["held"] == true && item.get("token").is_none(), "{item}");
            seen.push(item["resource"].as_str().expect("a name").to_owned());
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/locks?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["page:0", "page:1", "page:2", "page:3", "page:4"]);
}

#[tokio::test]
async fn the_list_is_bounded() {
    const LIMIT: u64 = 100_000;
    let app = TestApp::builder().system_clock().spawn().await;
    let ends_us = (app.clock().now() + 3_600_000) * 1_000;
    let fill = "for at = 1, ARGV[1] do redis.call('ZADD', KEYS[1], ARGV[2], 'many:' .. at) end";
    let _: () =
        app.redis().command(&["EVAL", fill, "1", "locks:index", &(LIMIT + 3).to_string(), &ends_us.to_string()]);
    acquire(&app, "/locks/a", LONG).await;
    eventually("no more than the limit are listed", async || {
        app.redis().command::<u64>(&["ZCARD", "locks:index"]) <= LIMIT
    })
    .await;
}

#[tokio::test]
async fn expired_leases_are_removed_from_the_list_and_counted() {
    let app = TestApp::builder().system_clock().spawn().await;
    for at in 0..6 {
        acquire(&app, &format!("/locks/many:{at}"), 100 + at).await;
    }
    let listed = async || -> u64 { app.redis().command(&["ZCARD", "locks:index"]) };
    eventually("the list is empty", async || listed().await == 0).await;
    eventually("the expired leases are counted", async || {
        app.get("/locks/stats").await.json()["expired"].as_u64() >= Some(3)
    })
    .await;
}
