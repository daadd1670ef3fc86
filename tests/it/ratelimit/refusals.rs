//! Refusals from memory: they concern only the rule that refused.

use std::time::Duration;

use gridtokenx_redis::config::Config;
use serde_json::{Value, json};

use super::limits::{check, limiter};
use crate::support::{TestApp, eventually};

fn window(limit: u64, ms: u64) -> Value {
    json!({ "kind": "sliding_window", "limit": limit, "window_ms": ms })
}

#[tokio::test]
async fn a_used_up_strategy_refuses_no_other_strategy_of_the_key() {
    let app = TestApp::spawn().await;
    let ask = async |strategy: &Value| {
        app.post("/ratelimit/check", json!({ "strategy": strategy, "key": "user-7" })).await.expect(200).json()
    };
    let used_up = window(1, 60_000);
    assert_eq!(ask(&used_up).await["allowed"], true);
    for _ in 0..2 {
        assert_eq!(ask(&used_up).await["allowed"], false);
    }
    for other in [
        window(2, 60_000),
        window(3, 120_000),
        json!({ "kind": "fixed_window", "limit": 1, "window_ms": 60_000 }),
        json!({ "kind": "fixed_window", "limit": 2, "calendar": "day", "zone": "Asia/Bangkok" }),
        json!({ "kind": "token_bucket", "capacity": 1, "refill_per_second": 1 }),
        json!({ "kind": "exponential_backoff", "limit": 1, "window_ms": 60_000, "factor": 2, "maximum_ms": 60_000 }),
    ] {
        let answer = ask(&other).await;
        // Strategies of one kind share what was used, which counts against each limit.
        assert_eq!(answer["allowed"], true, "{other}: {answer}");
    }
    assert_eq!(ask(&used_up).await["allowed"], false);
}

#[tokio::test]
async fn a_callers_strategy_is_not_refused_after_another_one_has_changed_its_state() {
    let app = TestApp::spawn().await;
    let bucket = |capacity: u64, refill: f64| json!({ "kind": "token_bucket", "capacity": capacity, "refill_per_second": refill });
    let (slow, fast) = (bucket(10, 0.1), bucket(20, 1_000.0));
    let ask = async |strategy: &Value, cost: u64| {
        let body = json!({ "strategy": strategy, "key": "k", "cost": cost });
        app.post("/ratelimit/check", body).await.expect(200).json()
    };
    assert_eq!(ask(&slow, 10).await["remaining"], 0);
    assert_eq!(ask(&slow, 1).await["allowed"], false);
    // The debt now drains at the rate of the other strategy.
    assert_eq!(ask(&fast, 1).await["remaining"], 9);
    app.clock().advance(Duration::from_millis(200));
    assert_eq!(ask(&slow, 1).await["remaining"], 9);
}

#[tokio::test]
async fn a_key_is_not_refused_by_the_rule_of_an_exception_that_has_ended() {
    let app = TestApp::spawn().await;
    let own = json!({ "action": "limit", "strategy": window(1, 3_600_000), "ttl_ms": 10_000 });
    app.put("/ratelimit/limiters/orders/exceptions/u-1", own).await.expect(200);
    assert_eq!(check(&app, "orders", "u-1").await["allowed"], true);
    for _ in 0..2 {
        assert_eq!(check(&app, "orders", "u-1").await["allowed"], false);
    }
    app.clock().advance(Duration::from_secs(10));
    let answer = check(&app, "orders", "u-1").await;
    assert_eq!((&answer["allowed"], &answer["remaining"]), (&json!(true), &json!(8)), "{answer}");
}

#[tokio::test]
async fn a_key_is_not_refused_by_a_rule_from_before_a_reload() {
    let rule = |limit: u64| {
        limiter("l", &format!("strategy = {{ kind = \"sliding_window\", limit = {limit}, window = \"1h\" }}"))
    };
    let app = TestApp::builder().config(&rule(1)).behind_proxy().spawn().await;
    for allowed in [true, false, false] {
        assert_eq!(check(&app, "l", "k").await["allowed"], allowed);
    }
    // Redis is unavailable while the rule changes, so that the exceptions cannot be read again.
    app.proxy().cut();
    eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
    app.app().reloader().reload(Config::with_overrides(&rule(2)).expect("TOML")).expect("valid");
    let limit = async || app.get("/ratelimit/limiters").await.json()["items"][0]["strategy"]["limit"].clone();
    eventually("the rule applies", async || limit().await == 2).await;
    app.proxy().heal();
    eventually("checks succeed again", async || app.get("/ratelimit/l/k").await.is(200)).await;
    assert_eq!(check(&app, "l", "k").await["allowed"], true);
}
