//! Resets of all keys with a prefix, and the index that they use.

use axum::http::Method;
use serde_json::json;

use super::exceptions::hourly;
use super::limits::{check, limiter};
use super::reservations::settle;
use crate::support::{TestApp, eventually, in_repository};

#[tokio::test]
async fn keys_are_reset_by_prefix() {
    let app = TestApp::spawn().await;
    for key in ["10.0.0.1:/a", "10.0.0.1:/b c", "10.0.0.10:/a", "10.0.0.2:/a", "{10.0.0.1}:/a"] {
        check(&app, "api", key).await;
        check(&app, "api", key).await;
        check(&app, "orders", key).await;
    }
    let indexed = || app.redis().command::<u64>(&["ZCARD", "rate_limit:list:api"]);
    eventually("all keys are indexed", async || indexed() == 5).await;
    let reset = app.delete("/ratelimit/api?prefix=10.0.0.1:").await.expect(200).json();
    assert_eq!(reset, json!({ "reset": 2 }));
    for (key, left) in
        [("10.0.0.1:%2Fa", 100), ("10.0.0.1:%2Fb%20c", 100), ("10.0.0.10:%2Fa", 98), ("%7B10.0.0.1%7D:%2Fa", 98)]
    {
        assert_eq!(app.get(&format!("/ratelimit/api/{key}")).await.json()["remaining"], left, "{key}");
    }
    assert_eq!(app.get("/ratelimit/orders/10.0.0.1:%2Fa").await.json()["remaining"], 9);
    assert_eq!(indexed(), 3);
    assert_eq!(app.delete("/ratelimit/api?prefix=").await.expect(200).json()["reset"], 3);
    let keys: Vec<String> = app.redis().command(&["KEYS", "rate_limit:api:*"]);
    assert_eq!(keys, Vec::<String>::new());
    app.delete("/ratelimit/api").await.expect_violation(422, "invalid-query", "/prefix");
    let long = format!("/ratelimit/api?prefix={}", "k".repeat(513));
    app.delete(&long).await.expect_violation(422, "invalid-query", "/prefix");
    app.delete("/ratelimit/unknown?prefix=a").await.expect_problem(404, "unknown-limiter");
}

#[tokio::test]
async fn many_keys_are_reset_in_steps() {
    let app = TestApp::spawn().await;
    let calls = (0..1_200).map(|nth| {
        let app = &app;
        async move { check(app, "orders", &format!("client-{nth}")).await }
    });
    futures_util::future::join_all(calls).await;
    let indexed = || app.redis().command::<u64>(&["ZCARD", "rate_limit:list:orders"]);
    eventually("all keys are indexed", async || indexed() == 1_200).await;
    assert_eq!(app.delete("/ratelimit/orders?prefix=client-1").await.expect(200).json()["reset"], 311);
    let rest = app.delete("/ratelimit/orders?prefix=client-&cursor=client-3").await.expect(200).json();
    assert_eq!(rest, json!({ "reset": 776 }));
    let bad = app.delete("/ratelimit/orders?prefix=client-&cursor=").await;
    bad.expect_violation(422, "invalid-query", "/cursor");
    assert_eq!(app.get("/ratelimit/orders/client-100").await.json()["remaining"], 10);
    assert_eq!(app.get("/ratelimit/orders/client-200").await.json()["remaining"], 9);
    assert_eq!(app.get("/ratelimit/orders/client-30").await.json()["remaining"], 10);
}

#[tokio::test]
async fn a_sweep_removes_keys_whose_state_has_expired() {
    let brief = limiter("brief", "strategy = { kind = \"gcra\", limit = 1, period = \"100ms\" }");
    let app = TestApp::builder().config(&format!("{brief}{}", hourly())).system_clock().spawn().await;
    check(&app, "hourly", "stays").await;
    for nth in 0..80 {
        check(&app, "brief", &format!("client-{nth}")).await;
    }
    let indexed = |limiter: &str| app.redis().command::<u64>(&["ZCARD", &format!("rate_limit:list:{limiter}")]);
    eventually("keys are indexed", async || indexed("brief") > 0).await;
    eventually("all keys are removed", async || indexed("brief") == 0).await;
    assert_eq!(indexed("hourly"), 1);
    let left: i64 = app.redis().command(&["PTTL", "rate_limit:list:hourly"]);
    assert!(left > 0, "{left}");
}

#[tokio::test]
async fn an_index_has_a_maximum_size() {
    let app = TestApp::spawn().await;
    let path = in_repository("migrations-lua/ratelimit/index_keys.lua");
    let script = std::fs::read_to_string(path).expect("the script");
    let keys: Vec<String> = (0..80).map(|nth| format!("client-{nth}")).collect();
    let mut call = vec!["EVAL", &script, "1", "rate_limit:list:full", "50", "60000"];
    call.extend(keys.iter().map(String::as_str));
    assert_eq!(app.redis().command::<u64>(&call), 50);
    assert_eq!(app.redis().command::<u64>(&["ZCARD", "rate_limit:list:full"]), 50);
    let ttl: i64 = app.redis().command(&["PTTL", "rate_limit:list:full"]);
    assert!((1..=60_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn new_keys_are_indexed_after_an_outage() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    check(&app, "orders", "k").await;
    app.proxy().cut();
    eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
    app.delete("/ratelimit/orders?prefix=k").await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    let indexed = || app.redis().command::<u64>(&["ZCARD", "rate_limit:list:orders"]);
    eventually("the key is indexed", async || indexed() == 1).await;
    assert_eq!(app.delete("/ratelimit/orders?prefix=k").await.expect(200).json()["reset"], 1);
}

#[tokio::test]
async fn a_value_of_another_type_affects_only_its_index() {
    let app = TestApp::spawn().await;
    let _: String = app.redis().command(&["SET", "rate_limit:list:orders", "x"]);
    assert_eq!(check(&app, "orders", "k").await["allowed"], true);
    app.delete("/ratelimit/orders?prefix=k").await.expect_problem(409, "wrong-type");
    eventually("the error is reported", async || {
        let report = app.get("/health/ready").await.json();
        report["tasks"]["ratelimit.index"]["last_error"].as_str().is_some_and(|text| text.contains("another kind"))
    })
    .await;
    check(&app, "api", "k").await;
    let indexed = || app.redis().command::<u64>(&["ZCARD", "rate_limit:list:api"]);
    eventually("keys of other limiters are indexed", async || indexed() == 1).await;
    app.delete("/ratelimit/api/k").await.expect(204);
    eventually("the sweep removes the key", async || indexed() == 0).await;
}

/// Uses a key of `orders`, denies another one, and makes a reservation, whose id it returns.
async fn seed(app: &TestApp) -> String {
    check(app, "orders", "k").await;
    app.put("/ratelimit/limiters/orders/exceptions/denied", json!({ "action": "deny" })).await.expect(200);
    let body = json!({ "limiter": "trading", "key": "k", "cost": 5 });
    let reserved = app.post("/ratelimit/reserve", body).await.expect(200).json();
    let indexed = || app.redis().command::<u64>(&["ZCARD", "rate_limit:list:orders"]);
    eventually("the key is indexed", async || indexed() == 1).await;
    reserved["reservation"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn what_frees_memory_works_while_it_is_full() {
    let app = TestApp::spawn().await;
    let id = seed(&app).await;
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    let version = || app.redis().command::<String>(&["HGET", "rate_limit:exceptions", ""]);
    let mut before = version();
    let mut is_changed = || {
        let now = version();
        std::mem::replace(&mut before, now.clone()) != now
    };
    let settled = settle(&app, &id, 2).await.expect(200).json();
    assert_eq!(settled["remaining"], 48, "{settled}");
    settle(&app, &id, 2).await.expect_problem(404, "unknown-reservation");
    app.delete("/ratelimit/limiters/orders/exceptions/denied").await.expect(204);
    assert!(is_changed(), "other replicas notice");
    assert_eq!(app.get("/ratelimit/orders/denied").await.expect(200).json()["allowed"], true);
    app.delete("/ratelimit/orders/k").await.expect(204);
    assert!(is_changed(), "other replicas notice");
    app.delete("/ratelimit/trading/k").await.expect(204);
    assert!(is_changed(), "other replicas notice");
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
    check(&app, "orders", "p").await;
    let indexed = || app.redis().command::<Option<String>>(&["ZSCORE", "rate_limit:list:orders", "p"]);
    eventually("the key is indexed", async || indexed().is_some()).await;
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(app.delete("/ratelimit/orders?prefix=p").await.expect(200).json()["reset"], 1);
    assert!(is_changed(), "other replicas notice");
    let states = super::limits::states(&app);
    assert_eq!(states, ["rate_limit:exceptions"]);
    let put = json!({ "action": "deny" });
    let refused = app.put("/ratelimit/limiters/orders/exceptions/other", put).await;
    assert_eq!(refused.expect_problem(507, "redis-out-of-memory")["outcome"], "not_applied");
    assert!(!is_changed(), "nothing was changed");
}

#[tokio::test]
async fn a_change_that_fails_halfway_does_not_claim_that_nothing_was_applied() {
    for (denied, method, path, outcome) in [
        // The key is reset, and other replicas are not told.
        ("evalsha", Method::DELETE, "/ratelimit/orders/k", "unknown"),
        ("hget", Method::DELETE, "/ratelimit/orders/k", "unknown"),
        ("hgetall", Method::DELETE, "/ratelimit/orders/k", "applied"),
        ("unlink", Method::DELETE, "/ratelimit/orders/k", "not_applied"),
        ("zrem", Method::DELETE, "/ratelimit/orders?prefix=k", "unknown"),
        ("exists", Method::DELETE, "/ratelimit/orders?prefix=k", "unknown"),
        ("evalsha", Method::DELETE, "/ratelimit/orders?prefix=k", "unknown"),
        ("hgetall", Method::DELETE, "/ratelimit/orders?prefix=k", "applied"),
        ("zrangebylex", Method::DELETE, "/ratelimit/orders?prefix=k", "not_applied"),
        ("hgetall", Method::DELETE, "/ratelimit/limiters/orders/exceptions/denied", "applied"),
        ("hgetall", Method::PUT, "/ratelimit/limiters/orders/exceptions/k", "applied"),
        ("evalsha", Method::PUT, "/ratelimit/limiters/orders/exceptions/k", "not_applied"),
    ] {
        // The test changes the permissions of the default user.
        let app = TestApp::builder().redis_options(&["--save", ""]).spawn().await;
        seed(&app).await;
        let _: String = app.redis().command(&["ACL", "SETUSER", "default", &format!("-{denied}")]);
        let json = [("content-type", "application/json")];
        let body = if method == Method::PUT { r#"{"action":"deny"}"# } else { "" };
        let problem = app.send(method.clone(), path, &json, body).await.expect_problem(503, "redis-denied");
        assert_eq!(problem["outcome"], outcome, "{method} {path} without {denied}: {problem}");
        let _: String = app.redis().command(&["ACL", "SETUSER", "default", &format!("+{denied}")]);
        let is_reset = app.redis().command::<u64>(&["EXISTS", "rate_limit:orders:k"]) == 0;
        if method == Method::DELETE && !path.contains("exceptions") {
            assert_eq!(is_reset, outcome != "not_applied", "{method} {path} without {denied}");
        }
    }
}
