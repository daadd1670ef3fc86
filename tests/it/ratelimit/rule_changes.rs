//! What a key has used when its rule changes, or when Redis's clock is set back.

use std::time::Duration;

use gridtokenx_redis::config::Config;
use serde_json::{Value, json};

use super::limits::{check, limiter};
use super::reservations::settle;
use crate::support::{START, TestApp, eventually};

/// A limiter `l` with this strategy, which takes reservations.
pub fn rule(strategy: &str) -> String {
    limiter("l", &format!("strategy = {{ {strategy} }}\nreservations = \"30s\""))
}

pub fn bucket(capacity: u64, refill: u64) -> String {
    format!("kind = \"token_bucket\", capacity = {capacity}, refill_per_second = {refill}")
}

pub async fn reload(app: &TestApp, strategy: &str) {
    let before = app.get("/ratelimit/limiters").await.json();
    app.app().reloader().reload(Config::with_overrides(&rule(strategy)).expect("TOML")).expect("valid");
    eventually("the rule applies", async || app.get("/ratelimit/limiters").await.json() != before).await;
}

pub async fn take(app: &TestApp, cost: u64) -> Value {
    app.post("/ratelimit/check", json!({ "limiter": "l", "key": "k", "cost": cost })).await.expect(200).json()
}

pub async fn remaining(app: &TestApp) -> Value {
    app.get("/ratelimit/l/k").await.expect(200).json()["remaining"].clone()
}

#[tokio::test]
async fn a_bucket_keeps_what_was_left_when_its_rule_changes() {
    for (before, used, after, left) in [
        (bucket(50, 2), 40, bucket(50, 20), 10),
        (bucket(100, 20), 95, bucket(100, 2), 5),
        (bucket(100, 2), 20, bucket(10, 2), 10),
        (bucket(100, 2), 95, bucket(10, 7), 5),
        (bucket(50, 2), 50, bucket(500, 20), 0),
        (bucket(7, 3), 2, "kind = \"gcra\", limit = 9, period = \"7s\"".to_owned(), 5),
        ("kind = \"gcra\", limit = 600000000, period = \"1m\"".to_owned(), 599_999_999, bucket(3, 3), 1),
    ] {
        let app = TestApp::builder().config(&rule(&before)).spawn().await;
        take(&app, used).await;
        reload(&app, &after).await;
        assert_eq!(remaining(&app).await, left, "{before} to {after}");
        let mut admitted = 0;
        while take(&app, 1).await["allowed"] == true {
            admitted += 1;
        }
        assert_eq!(admitted, left, "{before} to {after}");
    }
}

#[tokio::test]
async fn a_window_keeps_what_was_used_when_its_rule_changes() {
    let window = |length: &str| format!("kind = \"fixed_window\", limit = 10, window = \"{length}\"");
    let calendar =
        |of: &str, zone: &str| format!("kind = \"fixed_window\", limit = 10, calendar = \"{of}\", zone = \"{zone}\"");
    for (before, after, seconds) in [
        (window("1h"), window("1m"), 90),
        (window("1m"), window("1h"), 90),
        (window("1h"), calendar("day", "UTC"), 90),
        (calendar("month", "UTC"), calendar("day", "UTC"), 36 * 3_600),
        (calendar("day", "America/New_York"), calendar("day", "Asia/Bangkok"), 0),
    ] {
        let app = TestApp::builder().config(&rule(&before)).spawn().await;
        app.clock().advance(Duration::from_secs(seconds));
        take(&app, 6).await;
        let body = json!({ "limiter": "l", "key": "k", "cost": 4 });
        let reserved = app.post("/ratelimit/reserve", body).await.expect(200).json();
        reload(&app, &after).await;
        assert_eq!(take(&app, 1).await["allowed"], false, "{before} to {after}");
        let settled = settle(&app, reserved["reservation"].as_str().expect("an id"), 1).await.expect(200).json();
        assert_eq!(settled["remaining"], 3, "{before} to {after}");
        let last = take(&app, 3).await;
        assert_eq!((&last["allowed"], &last["remaining"]), (&json!(true), &json!(0)), "{before} to {after}");
        // It counts until the end of the window of the new rule.
        let left = last["reset_ms"].as_u64().expect("a time");
        app.clock().advance(Duration::from_millis(left - 1));
        assert_eq!(take(&app, 1).await["allowed"], false, "{before} to {after}");
        app.clock().advance(Duration::from_millis(1));
        assert_eq!(take(&app, 1).await["remaining"], 9, "{before} to {after}");
    }
}

#[tokio::test]
async fn a_window_of_an_earlier_version_is_read() {
    let strategy = "kind = \"fixed_window\", limit = 10, window = \"1h\"";
    let app = TestApp::builder().config(&rule(strategy)).spawn().await;
    let write = "return redis.call('SET', KEYS[1], struct.pack('>I7I7', ARGV[1], 7))";
    let began = (START * 1_000).to_string();
    let _: String = app.redis().command(&["EVAL", write, "1", "rate_limit:l:k", &began]);
    assert_eq!(take(&app, 1).await["remaining"], 2);
    app.clock().advance(Duration::from_secs(3_600));
    assert_eq!(take(&app, 1).await["remaining"], 9);
}

#[tokio::test]
async fn the_wait_of_a_changed_bucket_is_that_of_its_rule() {
    let app = TestApp::builder().config(&rule(&bucket(50, 2))).spawn().await;
    take(&app, 50).await;
    reload(&app, &bucket(50, 20)).await;
    let refused = take(&app, 1).await;
    assert_eq!((&refused["retry_after_ms"], &refused["reset_ms"]), (&json!(50), &json!(2_500)), "{refused}");
    app.clock().advance(Duration::from_millis(50));
    assert_eq!(take(&app, 1).await["allowed"], true);
    reload(&app, &bucket(50, 2)).await;
    let refused = take(&app, 1).await;
    assert_eq!((&refused["retry_after_ms"], &refused["reset_ms"]), (&json!(500), &json!(25_000)), "{refused}");
}

#[tokio::test]
async fn an_exceptions_rule_and_the_limiters_rule_keep_what_was_left() {
    let app = TestApp::builder().config(&rule(&bucket(50, 2))).spawn().await;
    take(&app, 40).await;
    let own = json!({ "kind": "token_bucket", "capacity": 500, "refill_per_second": 20 });
    let path = "/ratelimit/limiters/l/exceptions/k";
    app.put(path, json!({ "action": "limit", "strategy": own })).await.expect(200);
    assert_eq!(take(&app, 1).await["remaining"], 9);
    app.delete(path).await.expect(204);
    assert_eq!(take(&app, 1).await["remaining"], 8);
}

#[tokio::test]
async fn callers_with_strategies_of_one_kind_keep_what_was_used() {
    let app = TestApp::spawn().await;
    let ask = async |capacity: u64, refill: u64, cost: u64| {
        let strategy = json!({ "kind": "token_bucket", "capacity": capacity, "refill_per_second": refill });
        let body = json!({ "strategy": strategy, "key": "k", "cost": cost });
        app.post("/ratelimit/check", body).await.expect(200).json()
    };
    assert_eq!(ask(50, 2, 40).await["remaining"], 10);
    assert_eq!(ask(50, 20, 1).await["remaining"], 9);
    assert_eq!(ask(1, 1, 1).await["allowed"], false);
    assert_eq!(ask(500, 2, 1).await["remaining"], 458);
}

#[tokio::test]
async fn callers_with_different_windows_do_not_change_each_others_counts() {
    let backoff = |window: u64| json!({ "kind": "exponential_backoff", "limit": 5, "window_ms": window, "factor": 2, "maximum_ms": 7_200_000 });
    let window = |kind: &str, window: u64| json!({ "kind": kind, "limit": 5, "window_ms": window });
    let day = |zone: &str| json!({ "kind": "fixed_window", "limit": 5, "calendar": "day", "zone": zone });
    for (long, short) in [
        (window("fixed_window", 3_600_000), window("fixed_window", 1_000)),
        (window("sliding_window", 3_600_000), window("sliding_window", 1_000)),
        (backoff(3_600_000), backoff(1_000)),
        (day("Asia/Bangkok"), day("America/New_York")),
    ] {
        let app = TestApp::spawn().await;
        let ask = async |strategy: &Value, cost: u64| {
            let body = json!({ "strategy": strategy, "key": "k", "cost": cost });
            app.post("/ratelimit/check", body).await.expect(200).json()
        };
        assert_eq!(ask(&long, 5).await["remaining"], 0, "{long}");
        assert_eq!(ask(&short, 1).await["remaining"], 4, "{short}");
        app.clock().advance(Duration::from_millis(1_200));
        let again = ask(&long, 1).await;
        assert_eq!(again["allowed"], false, "{long}: {again}");
        // Only the limit differs, so both count the same calls.
        let mut higher = long.clone();
        higher["limit"] = json!(7);
        if higher["kind"] != "exponential_backoff" {
            assert_eq!(ask(&higher, 1).await["remaining"], 1, "{higher}");
        }
    }
}

#[tokio::test]
async fn a_reservation_is_settled_in_units_of_its_cost() {
    for (after, used, left) in [
        (bucket(50, 20), 40, 5),
        (bucket(50, 20), 0, 45),
        (bucket(50, 1), 40, 5),
        (bucket(50, 1), 0, 45),
        (bucket(50, 1), 30, 15),
        (bucket(50, 20), 45, 0),
    ] {
        let app = TestApp::builder().config(&rule(&bucket(50, 2))).spawn().await;
        take(&app, 5).await;
        let body = json!({ "limiter": "l", "key": "k", "cost": 40 });
        let reserved = app.post("/ratelimit/reserve", body).await.expect(200).json();
        reload(&app, &after).await;
        let id = reserved["reservation"].as_str().expect("an id");
        let settled = settle(&app, id, used).await.expect(200).json();
        assert_eq!(settled["remaining"], left, "{after}: {used}");
    }
}

#[tokio::test]
async fn states_and_reservations_of_an_earlier_version_are_read() {
    let app = TestApp::builder().config(&rule(&bucket(50, 2))).spawn().await;
    let now = START * 1_000;
    // 40 of 50 are used, 30 of them by a reservation.
    let write = "redis.call('SET', KEYS[1], struct.pack('>I7I4I4', ARGV[1] + 20000000, 0, 1)) \
                 redis.call('HSET', KEYS[2], 'first', ARGV[1] + 30000000, 'given', 0, ARGV[2], \
                 string.format('%.0f 15000000 0 1 %.0f', ARGV[1] + 30000000, ARGV[1] + 20000000))";
    let secret = "0f".repeat(16);
    let (state, reserved) = ("rate_limit:l:k", "rate_limit:reserved:{rate_limit:l:k}");
    let _: Option<i64> = app.redis().command(&["EVAL", write, "2", state, reserved, &now.to_string(), &secret]);
    assert_eq!(remaining(&app).await, 10);
    // `l k` in base64.
    assert_eq!(settle(&app, &format!("{secret}.bCBr"), 10).await.expect(200).json()["remaining"], 30);
    assert_eq!(take(&app, 1).await["remaining"], 29);
}

/// Every strategy: 3 in ten seconds, or a penalty of ten seconds.
const KINDS: &[&str] = &[
    "kind = \"sliding_window\", limit = 3, window = \"10s\"",
    "kind = \"fixed_window\", limit = 3, window = \"10s\"",
    "kind = \"token_bucket\", capacity = 3, refill_per_second = 0.3",
    "kind = \"gcra\", limit = 3, period = \"10s\"",
    "kind = \"exponential_backoff\", limit = 3, window = \"10s\", factor = 2, maximum = \"1m\"",
];

#[tokio::test]
async fn a_clock_that_was_ahead_blocks_a_key_for_one_limit_at_most() {
    for kind in KINDS {
        let config = limiter("l", &format!("strategy = {{ {kind} }}"));
        let ahead = TestApp::builder().config(&config).spawn().await;
        ahead.clock().advance(Duration::from_secs(3_600));
        for _ in 0..4 {
            check(&ahead, "l", "k").await;
        }
        let app = TestApp::builder().config(&config).beside(&ahead).spawn().await;
        // Nothing more than one limit is owed, and a look changes nothing.
        for _ in 0..2 {
            let peeked = app.get("/ratelimit/l/k").await.expect(200).json();
            assert!(peeked["retry_after_ms"].as_u64().is_some_and(|wait| wait <= 10_000), "{kind}: {peeked}");
        }
        let refused = check(&app, "l", "k").await;
        assert_eq!(refused["allowed"], false, "{kind}: {refused}");
        let wait = refused["retry_after_ms"].as_u64().expect("a time");
        assert!(wait <= 10_000, "{kind}: {refused}");
        app.clock().advance(Duration::from_millis(wait));
        assert_eq!(check(&app, "l", "k").await["allowed"], true, "{kind}");
    }
}

#[tokio::test]
async fn a_clock_that_was_ahead_blocks_a_callers_strategy_for_one_limit_at_most() {
    for strategy in [
        json!({ "kind": "sliding_window", "limit": 3, "window_ms": 10_000 }),
        json!({ "kind": "fixed_window", "limit": 3, "window_ms": 10_000 }),
        json!({ "kind": "token_bucket", "capacity": 3, "refill_per_second": 0.3 }),
        json!({ "kind": "gcra", "limit": 3, "period_ms": 10_000 }),
        json!({ "kind": "exponential_backoff", "limit": 3, "window_ms": 10_000, "factor": 2, "maximum_ms": 60_000 }),
    ] {
        // With the last call the limit is used up, or also violated.
        for calls in [3, 4] {
            let ask = async |app: &TestApp, strategy: &Value| {
                app.post("/ratelimit/check", json!({ "strategy": strategy, "key": "k" })).await.expect(200).json()
            };
            let ahead = TestApp::spawn().await;
            ahead.clock().advance(Duration::from_secs(3_600));
            for _ in 0..calls {
                ask(&ahead, &strategy).await;
            }
            let app = TestApp::builder().beside(&ahead).spawn().await;
            let other = json!({ "kind": strategy["kind"], "capacity": 3, "refill_per_second": 1 });
            let later = if strategy["kind"] == "token_bucket" { &other } else { &strategy };
            // A rule that another caller chose does not keep the debt from draining.
            let refused = ask(&app, later).await;
            assert_eq!(refused["allowed"], false, "{strategy}: {refused}");
            assert!(refused["reset_ms"].as_u64().is_some_and(|wait| wait <= 10_000), "{strategy}: {refused}");
            app.clock().advance(Duration::from_secs(10));
            assert_eq!(ask(&app, later).await["allowed"], true, "{strategy}");
        }
    }
}

#[tokio::test]
async fn a_settled_debt_is_kept_when_the_clock_is_set_back() {
    let ahead = TestApp::builder().config(&rule(&bucket(50, 2))).spawn().await;
    ahead.clock().advance(Duration::from_secs(3_600));
    let body = json!({ "limiter": "l", "key": "k", "cost": 40 });
    let reserved = ahead.post("/ratelimit/reserve", body).await.expect(200).json();
    settle(&ahead, reserved["reservation"].as_str().expect("an id"), 90).await.expect(200);
    let app = TestApp::builder().config(&rule(&bucket(50, 2))).beside(&ahead).spawn().await;
    // 90 of 50 are used.
    assert_eq!(take(&app, 1).await["retry_after_ms"], 20_500);
    app.clock().advance(Duration::from_millis(20_500));
    assert_eq!(take(&app, 1).await["allowed"], true);
}

#[tokio::test]
async fn a_shorter_penalty_applies_to_blocked_keys() {
    let backoff = |window: &str| {
        format!("kind = \"exponential_backoff\", limit = 1, window = \"{window}\", factor = 2, maximum = \"1h\"")
    };
    let config = |window: &str| limiter("l", &format!("strategy = {{ {} }}", backoff(window)));
    let app = TestApp::builder().config(&config("30m")).spawn().await;
    check(&app, "l", "k").await;
    assert_eq!(check(&app, "l", "k").await["retry_after_ms"], 1_800_000);
    app.app().reloader().reload(Config::with_overrides(&config("1s")).expect("TOML")).expect("valid");
    eventually("the rule applies", async || check(&app, "l", "other").await["retry_after_ms"] == 1_000).await;
    let refused = check(&app, "l", "k").await;
    assert_eq!(refused["retry_after_ms"], 1_000, "{refused}");
    app.clock().advance(Duration::from_secs(1));
    assert_eq!(check(&app, "l", "k").await["allowed"], true);
}
