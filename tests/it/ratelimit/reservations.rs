//! Reservations: reserve a cost, settle it later.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::limits::{check, limiter, states};
use crate::support::{Cluster, Reply, TestApp, eventually};

/// Limiters of every strategy that takes reservations. The limit is 10, in 100 seconds or a day.
const KINDS: &[(&str, &str)] = &[
    ("gcra", "{ kind = \"gcra\", limit = 10, period = \"100s\" }"),
    ("bucket", "{ kind = \"token_bucket\", capacity = 10, refill_per_second = 0.1 }"),
    ("fixed", "{ kind = \"fixed_window\", limit = 10, window = \"100s\" }"),
    ("day", "{ kind = \"fixed_window\", limit = 10, calendar = \"day\", zone = \"Asia/Bangkok\" }"),
    ("sliding", "{ kind = \"sliding_window\", limit = 10, window = \"100s\" }"),
];

pub fn limiters() -> String {
    let settings =
        |(name, strategy): &(&str, &str)| limiter(name, &format!("strategy = {strategy}\nreservations = \"30s\""));
    KINDS.iter().map(settings).collect()
}

async fn app() -> TestApp {
    TestApp::builder().config(&limiters()).spawn().await
}

async fn reserve(app: &TestApp, limiter: &str, cost: u64) -> (Value, String) {
    let body = json!({ "limiter": limiter, "key": "k", "cost": cost });
    let answer = app.post("/ratelimit/reserve", body).await.expect(200).json();
    let id = answer["reservation"].as_str().unwrap_or_else(|| panic!("no reservation: {answer}")).to_owned();
    (answer, id)
}

pub async fn settle(app: &TestApp, id: &str, cost: u64) -> Reply {
    app.post(&format!("/ratelimit/reservations/{id}/settle"), json!({ "cost": cost })).await
}

async fn remaining(app: &TestApp, limiter: &str) -> u64 {
    app.get(&format!("/ratelimit/{limiter}/k")).await.expect(200).json()["remaining"].as_u64().expect("a number")
}

#[tokio::test]
async fn settling_returns_the_unused_cost() {
    let app = app().await;
    for (name, _) in KINDS {
        check(&app, name, "k").await;
        let (answer, id) = reserve(&app, name, 6).await;
        assert_eq!(
            (&answer["allowed"], &answer["remaining"], &answer["hold_ms"]),
            (&json!(true), &json!(3), &json!(30_000))
        );
        check(&app, name, "k").await;
        let settled = settle(&app, &id, 2).await.expect(200);
        assert_eq!(settled.json()["remaining"], 6, "{name}: {}", settled.text());
        assert!(settled.header("ratelimit").is_some_and(|field| field.contains("r=6")), "{name}");
        assert_eq!(remaining(&app, name).await, 6, "{name}");
        settle(&app, &id, 2).await.expect_problem(404, "unknown-reservation");
        assert_eq!(remaining(&app, name).await, 6, "{name}");
    }
}

#[tokio::test]
async fn cost_beyond_the_reservation_becomes_debt() {
    let app = app().await;
    for (name, _) in KINDS {
        let (_, id) = reserve(&app, name, 4).await;
        assert_eq!(settle(&app, &id, 4).await.expect(200).json()["remaining"], 6, "{name}");
        let (_, id) = reserve(&app, name, 1).await;
        let settled = settle(&app, &id, 16).await.expect(200).json();
        assert_eq!((&settled["allowed"], &settled["remaining"]), (&json!(false), &json!(0)), "{name}: {settled}");
        // The debt is ten more than the limit.
        let wait = settled["retry_after_ms"].as_u64().expect("a time");
        let clock = app.clock();
        clock.advance(Duration::from_millis(wait - 1));
        assert_eq!(check(&app, name, "k").await["allowed"], false, "{name}");
        clock.advance(Duration::from_millis(1));
        assert_eq!(check(&app, name, "k").await["allowed"], true, "{name}");
    }
}

#[tokio::test]
async fn a_repeated_settlement_counts_once() {
    let app = app().await;
    let (_, id) = reserve(&app, "gcra", 6).await;
    let path = format!("/ratelimit/reservations/{id}/settle");
    let headers = [("content-type", "application/json"), ("idempotency-key", "one")];
    for (remaining, reset, replayed) in [(2, 80_000, None), (2, 80_000, Some("true")), (4, 57_000, Some("true"))] {
        let reply = app.send(Method::POST, &path, &headers, Body::from(r#"{"cost":8}"#)).await.expect(200);
        let answer = reply.json();
        assert_eq!((&answer["remaining"], &answer["reset_ms"]), (&json!(remaining), &json!(reset)), "{answer}");
        assert_eq!(reply.header("idempotency-replayed"), replayed);
        if replayed.is_some() {
            app.clock().advance(Duration::from_secs(23));
        }
    }
    let again = settle(&app, &id, 8).await.expect_problem(404, "unknown-reservation");
    assert_eq!(again["outcome"], "not_applied");
    assert_eq!(remaining(&app, "gcra").await, 6);
}

#[tokio::test]
async fn overdue_reservations_are_returned_before_others_are_settled() {
    let app = app().await;
    for (cost, hold, pause) in [(5, 10_000, 9), (1, 30_000, 21)] {
        let body = json!({ "limiter": "gcra", "key": "k", "cost": cost, "hold_ms": hold });
        let answer = app.post("/ratelimit/reserve", body).await.expect(200).json();
        app.clock().advance(Duration::from_secs(pause));
        if cost == 1 {
            // The first reservation was returned 20 s ago, which left no debt: only the ten units beyond the second one are.
            let settled = settle(&app, answer["reservation"].as_str().expect("an id"), 11).await.expect(200).json();
            assert_eq!((&settled["remaining"], &settled["reset_ms"]), (&json!(0), &json!(100_000)), "{settled}");
        }
    }
}

#[tokio::test]
async fn reservations_are_kept_as_long_as_their_debt_can_last() {
    let app = app().await;
    reserve(&app, "gcra", 5).await;
    for _ in 0..3 {
        check(&app, "gcra", "k").await;
    }
    let left: i64 = app.redis().command(&["PTTL", "rate_limit:reserved:{rate_limit:gcra:k}"]);
    // 30 s, the time in which a full debt drains, and ten minutes more with a manual clock.
    assert!((725_000..=730_001).contains(&left), "{left}");
    app.clock().advance(Duration::from_secs(55));
    // 8 units are 80 s of debt. The last 20 s of the reservation's debt were returned as of its end.
    assert_eq!(app.get("/ratelimit/gcra/k").await.json()["reset_ms"], 5_000);
}

#[tokio::test]
async fn an_unsettled_reservation_is_returned_at_its_end() {
    let app = app().await;
    for (name, _) in KINDS {
        let (_, id) = reserve(&app, name, 10).await;
        app.clock().advance(Duration::from_millis(29_999));
        // Up to two units become available within 30 s without the reservation.
        let before = remaining(&app, name).await;
        assert!(before <= 2, "{name}: {before}");
        app.clock().advance(Duration::from_millis(1));
        assert_eq!(remaining(&app, name).await, 10, "{name}");
        settle(&app, &id, 1).await.expect_problem(404, "unknown-reservation");
        assert_eq!(check(&app, name, "k").await["remaining"], 9, "{name}");
        // The next limiter starts in a new window.
        app.clock().advance(Duration::from_secs(86_400));
    }
    let names: Vec<Value> = KINDS.iter().map(|(name, _)| json!({ "limiter": name, "key": "k" })).collect();
    for (name, _) in KINDS {
        reserve(&app, name, 10).await;
    }
    app.clock().advance(Duration::from_secs(30));
    let together = app.post("/ratelimit/check-all", json!({ "checks": names })).await.expect(200).json();
    assert_eq!(together["allowed"], true, "{together}");
}

#[tokio::test]
async fn a_cost_that_no_longer_counts_is_not_returned() {
    let app = app().await;
    for name in ["fixed", "sliding"] {
        let body = json!({ "limiter": name, "key": "k", "cost": 6, "hold_ms": 20_000 });
        // Fixed windows of 100 s are aligned to 1970.
        app.clock().advance(Duration::from_secs(90));
        let first = app.post("/ratelimit/reserve", body.clone()).await.expect(200).json();
        app.clock().advance(Duration::from_secs(15));
        if name == "fixed" {
            check(&app, name, "k").await;
            settle(&app, first["reservation"].as_str().expect("an id"), 0).await.expect(200);
            assert_eq!(remaining(&app, name).await, 9);
        }
        app.clock().advance(Duration::from_secs(200));
    }
    // A drained debt is not returned.
    let (_, id) = reserve(&app, "gcra", 3).await;
    app.clock().advance(Duration::from_secs(25));
    check(&app, "gcra", "k").await;
    settle(&app, &id, 0).await.expect(200);
    // 3 units are 30 s of debt, of which 5 s were left and are returned. The debt of one new unit is 10 s.
    assert_eq!(app.get("/ratelimit/gcra/k").await.json()["reset_ms"], 10_000);
}

#[tokio::test]
async fn a_refusal_reserves_nothing() {
    let app = app().await;
    for (name, _) in KINDS {
        reserve(&app, name, 6).await;
        let refused =
            app.post("/ratelimit/reserve", json!({ "limiter": name, "key": "k", "cost": 5 })).await.expect(200);
        let refused = refused.json();
        assert_eq!((&refused["allowed"], refused.get("reservation")), (&json!(false), None), "{name}: {refused}");
        assert_eq!(remaining(&app, name).await, 4, "{name}");
    }
    let stored: u64 = app.redis().command(&["HLEN", "rate_limit:reserved:{rate_limit:gcra:k}"]);
    assert_eq!(stored, 3, "one reservation and the two other fields");
    for key in states(&app) {
        let left: i64 = app.redis().command(&["PTTL", &key]);
        assert!(left > 0, "{key} has no TTL");
    }
}

#[tokio::test]
async fn any_replica_settles_even_after_a_restart() {
    let one = TestApp::builder().config(&limiters()).system_clock().spawn().await;
    let two = TestApp::builder().config(&limiters()).system_clock().beside(&one).spawn().await;
    let (_, first) = reserve(&one, "sliding", 4).await;
    let (_, second) = reserve(&one, "sliding", 4).await;
    drop(one);
    assert_eq!(settle(&two, &first, 1).await.expect(200).json()["remaining"], 5);
    let three = TestApp::builder().config(&limiters()).system_clock().beside(&two).spawn().await;
    assert_eq!(settle(&three, &second, 0).await.expect(200).json()["remaining"], 9);
    let brief = json!({ "limiter": "sliding", "key": "k", "cost": 9, "hold_ms": 50 });
    three.post("/ratelimit/reserve", brief).await.expect(200);
    drop(three);
    eventually("the reservation is returned although its replica has ended", async || {
        remaining(&two, "sliding").await == 9
    })
    .await;
}

#[tokio::test]
async fn reservations_survive_a_restart_of_a_durable_redis() {
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let app = TestApp::builder().config(&limiters()).redis_options(&durable).system_clock().spawn().await;
    let (_, first) = reserve(&app, "sliding", 4).await;
    let (_, second) = reserve(&app, "sliding", 4).await;
    app.redis().kill();
    eventually("the loss is noticed", async || app.get("/health/ready").await.is(503)).await;
    settle(&app, &first, 1).await.expect_problem(503, "redis-unavailable");
    app.redis().boot();
    eventually("the service is ready again", async || app.get("/health/ready").await.is(200)).await;
    assert_eq!(settle(&app, &first, 1).await.expect(200).json()["remaining"], 5);
    assert_eq!(settle(&app, &second, 0).await.expect(200).json()["remaining"], 9);
}

#[tokio::test]
async fn the_shipped_user_may_reserve_settle_and_reset() {
    let app = TestApp::builder().config(&limiters()).system_clock().spawn().await;
    for (name, _) in KINDS {
        let (_, id) = reserve(&app, name, 4).await;
        settle(&app, &id, 1).await.expect(200);
        let path = format!("/ratelimit/{name}?prefix=k");
        let reset = async || app.delete(&path).await.expect(200).json()["reset"].clone();
        eventually("the key is indexed", async || reset().await == 1).await;
        assert_eq!(remaining(&app, name).await, 10, "{name}");
    }
}

#[tokio::test]
async fn a_key_has_a_maximum_of_open_reservations() {
    let strategy = "strategy = { kind = \"fixed_window\", limit = 5000, window = \"1h\" }";
    let app =
        TestApp::builder().config(&limiter("large", &format!("{strategy}\nreservations = \"30s\""))).spawn().await;
    let (_, first) = reserve(&app, "large", 1).await;
    for _ in 1..1_000 {
        reserve(&app, "large", 1).await;
    }
    let body = json!({ "limiter": "large", "key": "k" });
    app.post("/ratelimit/reserve", body).await.expect_problem(409, "too-many-reservations");
    assert_eq!(remaining(&app, "large").await, 4_000);
    settle(&app, &first, 1).await.expect(200);
    let (_, third) = reserve(&app, "large", 1).await;
    settle(&app, &third, 0).await.expect(200);
}

#[tokio::test]
async fn a_reset_deletes_reservations_and_exceptions_prevent_them() {
    let app = app().await;
    let (_, id) = reserve(&app, "bucket", 7).await;
    app.delete("/ratelimit/bucket/k").await.expect(204);
    settle(&app, &id, 0).await.expect_problem(404, "unknown-reservation");
    assert_eq!(remaining(&app, "bucket").await, 10);
    for (action, allowed) in [("allow", true), ("deny", false)] {
        app.put("/ratelimit/limiters/bucket/exceptions/k", json!({ "action": action })).await.expect(200);
        let answer =
            app.post("/ratelimit/reserve", json!({ "limiter": "bucket", "key": "k" })).await.expect(200).json();
        assert_eq!((&answer["allowed"], answer.get("reservation")), (&json!(allowed), None), "{answer}");
    }
    let backoff = json!({ "kind": "exponential_backoff", "limit": 3, "window_ms": 1_000, "factor": 2,
                          "maximum_ms": 60_000 });
    let exception = json!({ "action": "limit", "strategy": backoff });
    app.put("/ratelimit/limiters/bucket/exceptions/k", exception).await.expect(200);
    let reply = app.post("/ratelimit/reserve", json!({ "limiter": "bucket", "key": "k" })).await;
    reply.expect_violation(422, "invalid-body", "/limiter");
}

#[tokio::test]
async fn on_a_cluster_reservations_are_in_the_slot_of_their_state() {
    let cluster = Cluster::start().await;
    let app = TestApp::builder().config(&format!("{}{}", limiters(), cluster.config())).spawn().await;
    for key in ["a", "{g}b", "{user 7}:c"] {
        for (name, _) in KINDS {
            let body = json!({ "limiter": name, "key": key, "cost": 6 });
            let answer = app.post("/ratelimit/reserve", body).await.expect(200).json();
            let settled = settle(&app, answer["reservation"].as_str().expect("an id"), 2).await.expect(200).json();
            assert_eq!(settled["remaining"], 8, "{name} {key}");
        }
    }
}

#[tokio::test]
async fn without_redis_nothing_is_reserved_or_settled() {
    let open = limiter(
        "open",
        "strategy = { kind = \"gcra\", limit = 10, period = \"1m\" }\nwithout_redis = \"open\"\nreservations = \"10s\"",
    );
    let app = TestApp::builder().config(&open).behind_proxy().spawn().await;
    let (_, id) = reserve(&app, "open", 1).await;
    app.proxy().cut();
    eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
    let body = json!({ "limiter": "open", "key": "k" });
    app.post("/ratelimit/reserve", body).await.expect_problem(503, "redis-unavailable");
    settle(&app, &id, 0).await.expect_problem(503, "redis-unavailable");
    assert_eq!(check(&app, "open", "k").await["degraded"], true);
}

#[tokio::test]
async fn invalid_reservations_are_rejected() {
    let app = TestApp::builder()
        .config(&limiters())
        .config(&limiter("none", "strategy = { kind = \"gcra\", limit = 1, period = \"1s\" }"))
        .spawn()
        .await;
    for (body, pointer) in [
        (json!({ "limiter": "unknown", "key": "k" }), "/limiter"),
        (json!({ "limiter": "none", "key": "k" }), "/limiter"),
        (json!({ "key": "k" }), "/limiter"),
        (json!({ "limiter": "gcra", "key": "" }), "/key"),
        (json!({ "limiter": "gcra", "key": "k", "cost": 0 }), "/cost"),
        (json!({ "limiter": "gcra", "key": "k", "cost": 11 }), "/cost"),
        (json!({ "limiter": "gcra", "key": "k", "hold_ms": 0 }), "/hold_ms"),
        (json!({ "limiter": "gcra", "key": "k", "hold_ms": 30_001 }), "/hold_ms"),
        (json!({ "limiter": "gcra", "key": "k", "ttl_ms": 1 }), "/ttl_ms"),
    ] {
        app.post("/ratelimit/reserve", body).await.expect_violation(422, "invalid-body", pointer);
    }
    let (_, id) = reserve(&app, "gcra", 1).await;
    let path = format!("/ratelimit/reservations/{id}/settle");
    for cost in [json!(-1), json!(1.5), json!(101), Value::Null] {
        app.post(&path, json!({ "cost": cost })).await.expect_violation(422, "invalid-body", "/cost");
    }
    let made_up = id.replace(&id[..4], "ffff");
    for unknown in
        ["x", "0123456789abcdef0123456789abcdef.bm9uZSBr", "0123456789abcdef0123456789abcdef.bm9ib2R5IGs", &made_up]
    {
        settle(&app, unknown, 0).await.expect_problem(404, "unknown-reservation");
    }
    settle(&app, &id, 0).await.expect(200);
}
