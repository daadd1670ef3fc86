//! Resets of all keys with a prefix, and the index that they use.

use serde_json::json;

use super::exceptions::hourly;
use super::limits::{check, limiter};
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
