//! Administrators' exceptions and resets of single keys, and how soon all replicas follow.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::limits::{check, limiter};
use super::reservations::settle;
use crate::support::{Reply, TestApp, eventually};

const KEY: &str = "/ratelimit/limiters/orders/exceptions/u-1";

async fn put(app: &TestApp, path: &str, body: Value) -> Value {
    app.put(path, body).await.expect(200).json()
}

#[tokio::test]
async fn a_denied_key_is_refused_until_the_denial_ends() {
    let app = TestApp::spawn().await;
    let denied = put(&app, KEY, json!({ "action": "deny", "ttl_ms": 90_000 })).await;
    assert_eq!(denied, json!({ "key": "u-1", "action": "deny", "ends_at": crate::support::START + 90_000 }));
    let answer = check(&app, "orders", "u-1").await;
    assert_eq!(
        answer,
        json!({ "allowed": false, "limit": 10, "remaining": 0, "reset_ms": 90_000, "retry_after_ms": 90_000,
                "degraded": false })
    );
    assert_eq!(check(&app, "orders", "u-2").await["allowed"], true);
    app.clock().advance(Duration::from_millis(89_999));
    assert_eq!(check(&app, "orders", "u-1").await["retry_after_ms"], 1);
    app.clock().advance(Duration::from_millis(1));
    assert_eq!(check(&app, "orders", "u-1").await["remaining"], 9);
}

#[tokio::test]
async fn a_denial_without_an_end_has_no_retry_after() {
    let app = TestApp::spawn().await;
    put(&app, KEY, json!({ "action": "deny" })).await;
    let refused = app.post("/ratelimit/enforce", json!({ "limiter": "orders", "key": "u-1" })).await;
    let problem = refused.expect_problem(429, "rate-limited");
    assert_eq!((&problem["retry_after_ms"], refused.header("retry-after")), (&Value::Null, None));
    assert_eq!(check(&app, "orders", "u-1").await["retry_after_ms"], Value::Null);
    assert_eq!(app.get("/ratelimit/orders/u-1").await.json()["allowed"], false);
    app.delete(KEY).await.expect(204);
    app.delete(KEY).await.expect(204);
    assert_eq!(check(&app, "orders", "u-1").await["allowed"], true);
}

#[tokio::test]
async fn an_allowed_key_passes_and_is_not_counted() {
    let app = TestApp::spawn().await;
    put(&app, KEY, json!({ "action": "allow" })).await;
    for _ in 0..12 {
        assert_eq!(check(&app, "orders", "u-1").await["remaining"], 10);
    }
    app.delete(KEY).await.expect(204);
    assert_eq!(check(&app, "orders", "u-1").await["remaining"], 9);
}

#[tokio::test]
async fn an_exception_may_change_a_keys_strategy() {
    let app = TestApp::spawn().await;
    let strategy = json!({ "kind": "sliding_window", "limit": 500, "window_ms": 1_000 });
    let own = put(&app, KEY, json!({ "action": "limit", "strategy": strategy })).await;
    assert_eq!(own, json!({ "key": "u-1", "action": "limit", "strategy": strategy }));
    let reply =
        app.post("/ratelimit/check", json!({ "limiter": "orders", "key": "u-1", "cost": 300 })).await.expect(200);
    assert_eq!(reply.json()["remaining"], 200);
    assert_eq!(reply.header("ratelimit-policy"), Some(r#""orders";q=500;w=1"#));
    // The cost must fit the key's own limit.
    let above = app.post("/ratelimit/check", json!({ "limiter": "orders", "key": "u-1", "cost": 501 })).await;
    above.expect_violation(422, "invalid-body", "/cost");
    app.delete(KEY).await.expect(204);
    let above = app.post("/ratelimit/check", json!({ "limiter": "orders", "key": "u-1", "cost": 300 })).await;
    above.expect_violation(422, "invalid-body", "/cost");
}

#[tokio::test]
async fn an_exception_that_counts_in_another_way_leaves_what_was_used() {
    let day = "kind = \"fixed_window\", limit = 3, calendar = \"day\", zone = \"UTC\"";
    let sliding = "kind = \"sliding_window\", limit = 3, window = \"10s\"";
    let hour = json!({ "kind": "fixed_window", "limit": 100, "window_ms": 3_600_000 });
    let bucket = json!({ "kind": "token_bucket", "capacity": 100, "refill_per_second": 1 });
    let short = json!({ "kind": "sliding_window", "limit": 100, "window_ms": 500 });
    // An exception of another kind has ended when its reservation is settled, so that nothing is returned to it.
    for (base, own, left) in [(day, hour, 97), (day, bucket.clone(), 96), (sliding, short, 97), (sliding, bucket, 96)] {
        let config = limiter("l", &format!("strategy = {{ {base} }}\nreservations = \"30s\""));
        let app = TestApp::builder().config(&config).spawn().await;
        let reserve = async || {
            let body = json!({ "limiter": "l", "key": "k", "cost": 2 });
            app.post("/ratelimit/reserve", body).await.expect(200).json()["reservation"].clone()
        };
        let first = reserve().await;
        check(&app, "l", "k").await;
        let path = "/ratelimit/limiters/l/exceptions/k";
        put(&app, path, json!({ "action": "limit", "strategy": own })).await;
        assert_eq!(check(&app, "l", "k").await["remaining"], 99, "{base}, {own}");
        let second = reserve().await;
        // Reservations are found in the state that they belong to.
        settle(&app, first.as_str().expect("an id"), 1).await.expect(200);
        app.delete(path).await.expect(204);
        settle(&app, second.as_str().expect("an id"), 1).await.expect(200);
        settle(&app, second.as_str().expect("an id"), 1).await.expect_problem(404, "unknown-reservation");
        assert_eq!(check(&app, "l", "k").await["remaining"], 0, "{base}, {own}");
        assert_eq!(check(&app, "l", "k").await["allowed"], false, "{base}, {own}");
        put(&app, path, json!({ "action": "limit", "strategy": own })).await;
        assert_eq!(check(&app, "l", "k").await["remaining"], left, "{base}, {own}");
        // A reset deletes what either of them has counted.
        app.delete("/ratelimit/l/k").await.expect(204);
        assert_eq!(check(&app, "l", "k").await["remaining"], 99, "{base}, {own}");
        app.delete(path).await.expect(204);
        assert_eq!(check(&app, "l", "k").await["remaining"], 2, "{base}, {own}");
    }
}

#[tokio::test]
async fn exceptions_apply_to_check_all() {
    let app = TestApp::spawn().await;
    let both = json!({ "checks": [{ "limiter": "orders", "key": "u-1" }, { "limiter": "trading", "key": "u-1" }] });
    put(&app, KEY, json!({ "action": "allow" })).await;
    let answer = app.post("/ratelimit/check-all", both.clone()).await.expect(200).json();
    assert_eq!((&answer["allowed"], &answer["results"][1]["remaining"]), (&json!(true), &json!(49)), "{answer}");
    put(&app, KEY, json!({ "action": "deny" })).await;
    let answer = app.post("/ratelimit/check-all", both).await.expect(200).json();
    assert_eq!((&answer["allowed"], &answer["results"][0]["allowed"]), (&json!(false), &json!(false)), "{answer}");
    assert_eq!(answer["results"][1]["remaining"], 49, "{answer}");
    let alone = json!({ "checks": [{ "limiter": "orders", "key": "u-1" }] });
    assert_eq!(app.post("/ratelimit/check-all", alone).await.expect(200).json()["allowed"], false);
}

#[tokio::test]
async fn replicas_apply_an_exception_within_a_second() {
    let one = TestApp::builder().system_clock().spawn().await;
    let two = TestApp::builder().system_clock().beside(&one).spawn().await;
    for (action, allowed) in [("deny", false), ("allow", true)] {
        put(&one, KEY, json!({ "action": action })).await;
        let began = Instant::now();
        eventually("the other replica applies the exception", async || {
            check(&two, "orders", "u-1").await == check(&one, "orders", "u-1").await
        })
        .await;
        assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
        assert_eq!(check(&two, "orders", "u-1").await["allowed"], allowed);
    }
    let three = TestApp::builder().system_clock().beside(&one).spawn().await;
    eventually("a new replica applies the exception", async || {
        let listed = three.get("/ratelimit/limiters/orders/exceptions").await.json();
        listed["items"][0]["action"] == "allow"
    })
    .await;
}

#[tokio::test]
async fn exceptions_are_listed_page_by_page() {
    let app = TestApp::spawn().await;
    for nth in 0..5 {
        let path = format!("/ratelimit/limiters/orders/exceptions/user%20{nth}");
        put(&app, &path, json!({ "action": "deny", "ttl_ms": 1_000 + nth })).await;
    }
    put(&app, "/ratelimit/limiters/trading/exceptions/other", json!({ "action": "deny" })).await;
    let mut keys = Vec::new();
    let mut path = "/ratelimit/limiters/orders/exceptions?limit=2".to_owned();
    loop {
        let page = app.get(&path).await.expect(200).json();
        keys.extend(page["items"].as_array().expect("a list").iter().map(|item| item["key"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/ratelimit/limiters/orders/exceptions?limit=2&cursor={}", cursor.replace(' ', "%20"));
    }
    assert_eq!(keys, ["user 0", "user 1", "user 2", "user 3", "user 4"]);
    app.clock().advance(Duration::from_millis(1_003));
    let left = app.get("/ratelimit/limiters/orders/exceptions").await.json();
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1), "{left}");
}

#[tokio::test]
async fn an_expired_exception_is_replaced_when_the_maximum_is_reached() {
    let app = TestApp::spawn().await;
    // The maximum is 10,000. The script writes all but two of them in one call.
    let fill = "for n = 1, 9998 do redis.call('HSET', KEYS[1], 'orders filler-' .. n, '0 {\"action\":\"allow\"}') end return 1";
    let _: u64 = app.redis().command(&["EVAL", fill, "1", "rate_limit:exceptions"]);
    let path = |key: &str| format!("/ratelimit/limiters/orders/exceptions/{key}");
    put(&app, &path("a"), json!({ "action": "deny", "ttl_ms": 1_000 })).await;
    put(&app, &path("b"), json!({ "action": "deny" })).await;
    app.put(&path("c"), json!({ "action": "deny" })).await.expect_problem(409, "too-many-exceptions");
    // An existing exception can still be changed.
    put(&app, &path("b"), json!({ "action": "allow" })).await;
    app.clock().advance(Duration::from_secs(1));
    put(&app, &path("c"), json!({ "action": "deny" })).await;
    app.put(&path("d"), json!({ "action": "deny" })).await.expect_problem(409, "too-many-exceptions");
}

#[tokio::test]
async fn an_invalid_exception_is_rejected() {
    let app = TestApp::spawn().await;
    let gcra = json!({ "kind": "gcra", "limit": 1, "period_ms": 1 });
    for (body, pointer) in [
        (json!({}), "/action"),
        (json!({ "action": "shrug" }), "/action"),
        (json!({ "action": "limit" }), "/strategy"),
        (json!({ "action": "deny", "strategy": gcra }), "/strategy"),
        (json!({ "action": "limit", "strategy": { "kind": "gcra", "limit": 0, "period_ms": 1 } }), "/strategy/limit"),
        (json!({ "action": "deny", "ttl_ms": 0 }), "/ttl_ms"),
        (json!({ "action": "deny", "ttl_ms": 31_622_400_001_u64 }), "/ttl_ms"),
        (json!({ "action": "deny", "ttl": 5 }), "/ttl"),
    ] {
        app.put(KEY, body).await.expect_violation(422, "invalid-body", pointer);
    }
    let unknown = "/ratelimit/limiters/unknown/exceptions";
    app.get(unknown).await.expect_problem(404, "unknown-limiter");
    app.put(&format!("{unknown}/k"), json!({ "action": "deny" })).await.expect_problem(404, "unknown-limiter");
    app.delete(&format!("{unknown}/k")).await.expect_problem(404, "unknown-limiter");
    app.delete("/ratelimit/unknown/k").await.expect_problem(404, "unknown-limiter");
    let listed = app.get("/ratelimit/limiters/orders/exceptions?limit=0").await;
    listed.expect_violation(422, "invalid-query", "/limit");
}

#[tokio::test]
async fn resets_and_exceptions_need_the_admin_scope() {
    let digest = gridtokenx_redis::http::auth::api_key::digest(b"ak_00000000000000000000000000000001");
    let digest = gridtokenx_redis::http::auth::api_key::hex(&digest);
    let scopes = "[\"ratelimit:check\", \"ratelimit:read\", \"ratelimit:inline\"]";
    let gateway = format!("[[auth.keys]]\nid = \"gateway\"\nsha256 = \"{digest}\"\nscopes = {scopes}\n");
    let app = TestApp::builder().config(&gateway).spawn().await;
    let key = ("x-api-key", "ak_00000000000000000000000000000001");
    let json = ("content-type", "application/json");
    for (method, path) in [(Method::DELETE, "/ratelimit/orders/u-1"), (Method::PUT, KEY), (Method::DELETE, KEY)] {
        let reply = app.send(method, path, &[key, json], Body::from(r#"{"action":"allow"}"#)).await;
        reply.expect_problem(403, "forbidden");
    }
}

/// A limiter of one call an hour.
pub fn hourly() -> String {
    limiter("hourly", "strategy = { kind = \"gcra\", limit = 1, period = \"1h\" }")
}

/// Uses up the limit of a key, so that the replica caches a refusal.
async fn use_up(app: &TestApp) -> Reply {
    check(app, "hourly", "k").await;
    let refused = app.post("/ratelimit/check", json!({ "limiter": "hourly", "key": "k" })).await.expect(200);
    assert_eq!(refused.json()["allowed"], false);
    refused
}

/// Makes the replica read the latest version of the exceptions, so that no later poll clears its denial cache.
async fn refresh(app: &TestApp) {
    put(app, "/ratelimit/limiters/hourly/exceptions/other", json!({ "action": "allow" })).await;
    app.delete("/ratelimit/limiters/hourly/exceptions/other").await.expect(204);
}

#[tokio::test]
async fn a_reset_applies_to_every_replica() {
    let one = TestApp::builder().config(&hourly()).system_clock().spawn().await;
    let two = TestApp::builder().config(&hourly()).system_clock().beside(&one).spawn().await;
    for _ in 0..2 {
        use_up(&one).await;
        use_up(&two).await;
        two.delete("/ratelimit/hourly/k").await.expect(204);
        assert_eq!(two.get("/ratelimit/hourly/k").await.json()["remaining"], 1);
        let began = Instant::now();
        eventually("the other replica clears its denial cache", async || {
            check(&one, "hourly", "k").await["allowed"] == true
        })
        .await;
        assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_cached_refusal_is_valid_without_redis_for_up_to_a_minute() {
    let app = TestApp::builder().config(&hourly()).behind_proxy().spawn().await;
    refresh(&app).await;
    let first = use_up(&app).await;
    app.proxy().cut();
    eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
    let again = app.post("/ratelimit/check", json!({ "limiter": "hourly", "key": "k" })).await.expect(200);
    assert_eq!((again.json(), again.header("ratelimit")), (first.json(), first.header("ratelimit")));
    app.clock().advance(Duration::from_secs(59));
    let later = app.post("/ratelimit/check", json!({ "limiter": "hourly", "key": "k" })).await.expect(200).json();
    assert_eq!(later["retry_after_ms"], 3_541_000, "{later}");
    // Other keys are not cached, and after a minute Redis is called again.
    let unknown = app.post("/ratelimit/check", json!({ "limiter": "hourly", "key": "other" })).await;
    unknown.expect_problem(503, "redis-unavailable");
    app.clock().advance(Duration::from_secs(1));
    let stale = app.post("/ratelimit/check", json!({ "limiter": "hourly", "key": "k" })).await;
    stale.expect_problem(503, "redis-unavailable");
}

#[tokio::test]
async fn a_cached_refusal_does_not_call_redis() {
    // A minute is also the longest time for which a refusal is cached.
    let minute = limiter("hourly", "strategy = { kind = \"gcra\", limit = 1, period = \"1m\" }");
    let app = TestApp::builder().config(&minute).spawn().await;
    refresh(&app).await;
    use_up(&app).await;
    // A script adds the key to the index as well; wait for that call, so that it is not counted below.
    let indexed = || app.redis().command::<u64>(&["ZCARD", "rate_limit:list:hourly"]);
    eventually("the key is indexed", async || indexed() == 1).await;
    let calls = || -> u64 {
        let stats: String = app.redis().command(&["INFO", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).expect("calls").to_owned();
        line.split(['=', ',']).nth(1).expect("a count").parse().expect("a number")
    };
    let before = calls();
    for wait in [60_000, 2, 0] {
        let refused = check(&app, "hourly", "k").await;
        assert_eq!(refused["allowed"], wait == 0, "{refused}");
        assert_eq!(calls(), before + u64::from(wait == 0));
        for _ in 0..100 {
            let refused = check(&app, "hourly", "k").await;
            assert_eq!(refused["allowed"], false, "{refused}");
            if wait > 0 {
                assert_eq!(refused["retry_after_ms"], wait, "{refused}");
            }
        }
        app.clock().advance(Duration::from_millis(if wait > 2 { wait - 2 } else { wait }));
    }
    // In the last round one call was allowed, and Redis refused one call.
    assert_eq!(calls(), before + 2);
}

#[tokio::test]
async fn the_retry_after_of_a_cached_refusal_is_long_enough() {
    let strategy = "strategy = { kind = \"gcra\", limit = 1, period = \"300ms\" }";
    let app = TestApp::builder().config(&limiter("quick", strategy)).system_clock().spawn().await;
    for _ in 0..5 {
        check(&app, "quick", "k").await;
        let mut wait = 0;
        for _ in 0..3 {
            let refused = check(&app, "quick", "k").await;
            assert_eq!(refused["allowed"], false, "{refused}");
            wait = refused["retry_after_ms"].as_u64().expect("a time");
        }
        // The test is about this wait being long enough.
        tokio::time::sleep(Duration::from_millis(wait)).await;
        assert_eq!(app.get("/ratelimit/quick/k").await.json()["allowed"], true);
    }
}
