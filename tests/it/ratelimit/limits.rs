//! Checks of named limiters over HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, START, TestApp};

/// The configuration of a limiter with these settings, which is closed by default.
pub fn limiter(name: &str, settings: &str) -> String {
    let closed = if settings.contains("without_redis") { "" } else { "without_redis = \"closed\"\n" };
    format!("[[ratelimit.limiters]]\nname = \"{name}\"\nkey = \"rate_limit:{name}:{{key}}\"\n{closed}{settings}\n")
}

pub async fn check(app: &TestApp, limiter: &str, key: &str) -> Value {
    app.post("/ratelimit/check", json!({ "limiter": limiter, "key": key })).await.expect(200).json()
}

/// The keys of all states, sorted.
pub fn states(app: &TestApp) -> Vec<String> {
    let mut keys = app.redis().keys();
    keys.retain(|key| !key.starts_with("rate_limit:list:"));
    keys
}

async fn enforce(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Reply {
    app.send(Method::GET, path, headers, Body::empty()).await
}

#[tokio::test]
async fn a_used_up_limit_refuses_and_states_the_wait() {
    let app = TestApp::spawn().await;
    for left in (0..10).rev() {
        let answer = check(&app, "orders", "user-7").await;
        assert_eq!(
            answer,
            json!({ "allowed": true, "limit": 10, "remaining": left, "reset_ms": 60_000, "retry_after_ms": 0,
                    "degraded": false })
        );
    }
    app.clock().advance(Duration::from_secs(20));
    let refused = check(&app, "orders", "user-7").await;
    assert_eq!(
        refused,
        json!({ "allowed": false, "limit": 10, "remaining": 0, "reset_ms": 40_000, "retry_after_ms": 40_000,
                "degraded": false })
    );
    assert_eq!(check(&app, "orders", "user-8").await["allowed"], true);
}

#[tokio::test]
async fn states_have_the_platforms_keys_and_a_ttl() {
    let app = TestApp::builder().system_clock().spawn().await;
    check(&app, "api", "10.0.0.1:/orders").await;
    check(&app, "meter_verify", "u 1").await;
    check(&app, "sensitive", "{u}1").await;
    let keys = states(&app);
    assert_eq!(keys, ["rate_limit:api:10.0.0.1:/orders", "rate_limit:meter_verify:u%201", "rate_limit:sensitive:{u}1"]);
    for (key, life) in keys.iter().zip([60_000, 300_000, 60_000]) {
        let left: i64 = app.redis().command(&["PTTL", key]);
        assert!((life - 5_000..=life).contains(&left), "{key}: {left}");
    }
}

#[tokio::test]
async fn responses_have_the_ratelimit_headers() {
    let app = TestApp::spawn().await;
    let request = json!({ "limiter": "trading", "key": "user-7", "cost": 48 });
    let reply = app.post("/ratelimit/check", request).await.expect(200);
    assert_eq!(reply.header("ratelimit-policy"), Some(r#""trading";q=50;w=25"#));
    assert_eq!(reply.header("ratelimit"), Some(r#""trading";r=2;t=1"#));
    let both = json!({ "checks": [{ "limiter": "orders", "key": "u" }, { "limiter": "trading", "key": "u" }] });
    let reply = app.post("/ratelimit/check-all", both).await.expect(200);
    assert_eq!(reply.header("ratelimit-policy"), Some(r#""orders";q=10;w=60, "trading";q=50;w=25"#));
    assert_eq!(reply.header("ratelimit"), Some(r#""orders";r=9;t=60, "trading";r=49;t=1"#));
}

#[tokio::test]
async fn the_status_of_enforce_is_the_decision() {
    let app = TestApp::spawn().await;
    let body = json!({ "limiter": "authentication", "key": "ada", "cost": 4 });
    let passed = app.post("/ratelimit/enforce", body.clone()).await.expect(204);
    assert_eq!(passed.header("ratelimit"), Some(r#""authentication";r=1;t=300"#));
    let refused = app.post("/ratelimit/enforce", body).await;
    let problem = refused.expect_problem(429, "rate-limited");
    assert_eq!(problem["retry_after_ms"], 300_000);
    assert_eq!(problem["outcome"], "not_applied");
    assert_eq!(refused.header("retry-after"), Some("300"));
    assert_eq!(refused.header("ratelimit"), Some(r#""authentication";r=1;t=300"#));
    assert_eq!(refused.header("ratelimit-policy"), Some(r#""authentication";q=5;w=300"#));
}

#[tokio::test]
async fn enforce_accepts_the_query_headers_or_both() {
    let app = TestApp::spawn().await;
    let headers = [("x-ratelimit-limiter", "orders"), ("x-ratelimit-key", "u-1"), ("x-ratelimit-cost", "4")];
    enforce(&app, "/ratelimit/enforce", &headers).await.expect(204);
    // The proxy's query takes precedence over headers, which its client may have sent.
    enforce(&app, "/ratelimit/enforce?limiter=orders&key=u-1&cost=3", &[("x-ratelimit-key", "me")]).await.expect(204);
    enforce(&app, "/ratelimit/enforce?limiter=orders&cost=1", &[("x-ratelimit-key", "u-1")]).await.expect(204);
    assert_eq!(app.get("/ratelimit/orders/u-1").await.json()["remaining"], 2);
    // A proxy that sends POST forwards its client's body.
    let posted = app.send(Method::POST, "/ratelimit/enforce", &headers, "amount=7").await;
    posted.expect_problem(429, "rate-limited");
    // A HEAD must have no effect, so it cannot take anything.
    app.send(Method::HEAD, "/ratelimit/enforce?limiter=orders&key=u-2", &[], Body::empty()).await.expect(405);
}

#[tokio::test]
async fn a_peek_takes_and_stores_nothing() {
    let app = TestApp::spawn().await;
    let limiters = app.get("/ratelimit/limiters").await.expect(200).json();
    for limiter in limiters["items"].as_array().expect("a list") {
        let path = format!("/ratelimit/{}/some-key", limiter["name"].as_str().expect("a name"));
        let peeked = app.get(&path).await.expect(200).json();
        assert_eq!((&peeked["allowed"], &peeked["remaining"]), (&json!(true), &peeked["limit"]), "{limiter}: {peeked}");
        assert_eq!((&peeked["reset_ms"], &peeked["retry_after_ms"]), (&json!(0), &json!(0)), "{limiter}: {peeked}");
    }
    assert_eq!(states(&app), Vec::<String>::new());
    let taken = app.post("/ratelimit/check", json!({ "limiter": "orders", "key": "a/b", "cost": 7 })).await;
    assert_eq!(taken.expect(200).json()["remaining"], 3);
    for _ in 0..3 {
        let peeked = app.get("/ratelimit/orders/a%2Fb?cost=4").await.expect(200).json();
        assert_eq!(peeked["allowed"], false, "{peeked}");
        assert_eq!((&peeked["remaining"], &peeked["retry_after_ms"]), (&json!(3), &json!(60_000)), "{peeked}");
    }
    // A peek never violates a back-off.
    check(&app, "sensitive", "u").await;
    let peeked = app.get("/ratelimit/sensitive/u?cost=3").await.expect(200).json();
    assert_eq!((&peeked["allowed"], &peeked["remaining"]), (&json!(false), &json!(2)), "{peeked}");
    assert_eq!(check(&app, "sensitive", "u").await["allowed"], true);
}

#[tokio::test]
async fn a_shadow_limiter_counts_and_never_refuses() {
    let shadow = limiter("s", "strategy = { kind = \"gcra\", limit = 2, period = \"1m\" }\nshadow = true");
    let strict = limiter("t", "strategy = { kind = \"gcra\", limit = 3, period = \"1m\" }");
    let app = TestApp::builder().config(&(shadow + &strict)).spawn().await;
    for _ in 0..2 {
        assert_eq!(check(&app, "s", "k").await.get("shadow"), None);
    }
    let shadowed = check(&app, "s", "k").await;
    assert_eq!((&shadowed["allowed"], &shadowed["shadow"]), (&json!(true), &json!(true)), "{shadowed}");
    // It does not refuse a call for several limits either, so the other cost is taken.
    let both = json!({ "checks": [{ "limiter": "s", "key": "k" }, { "limiter": "t", "key": "k" }] });
    let answer = app.post("/ratelimit/check-all", both).await.expect(200).json();
    assert_eq!(answer["allowed"], true, "{answer}");
    assert_eq!((&answer["results"][0]["shadow"], &answer["results"][1]["remaining"]), (&json!(true), &json!(2)));
    let stats = app.get("/ratelimit/stats").await.expect(200).json();
    assert_eq!(stats["since"], START);
    assert_eq!(
        stats["limiters"][0],
        json!({ "limiter": "s", "strategy": "gcra", "allowed": 4, "refused": 0, "near": 1, "shadow": 2, "degraded": 0 })
    );
}

#[tokio::test]
async fn decisions_are_counted_by_limiter_and_strategy() {
    let strategy = limiter("ten", "strategy = { kind = \"gcra\", limit = 10, period = \"1m\" }\nnear = 0.7");
    let app = TestApp::builder().config(&strategy).spawn().await;
    for _ in 0..13 {
        check(&app, "ten", "k").await;
    }
    let stats = app.get("/ratelimit/stats").await.expect(200).json();
    let counted = json!({ "limiter": "ten", "strategy": "gcra", "allowed": 10, "refused": 3, "near": 4, "shadow": 0,
                          "degraded": 0 });
    assert_eq!(stats["limiters"], json!([counted]));
    let text = app.get("/metrics").await.expect(200).text();
    for (decision, count) in [("allowed", 10), ("refused", 3), ("near", 4)] {
        let line =
            format!("ratelimit_decisions_total{{decision=\"{decision}\",limiter=\"ten\",strategy=\"gcra\"}} {count}");
        assert!(text.contains(&line), "{line}: {text}");
    }
    assert!(text.contains("ratelimit_check_seconds_count{limiter=\"ten\",strategy=\"gcra\"} 13"), "{text}");
}

#[tokio::test]
async fn the_limiters_in_force_are_listed() {
    let app = TestApp::spawn().await;
    let listed = app.get("/ratelimit/limiters").await.expect(200).json();
    let names: Vec<&str> =
        listed["items"].as_array().expect("a list").iter().filter_map(|l| l["name"].as_str()).collect();
    assert_eq!(names, ["api", "authentication", "market_data", "meter_verify", "orders", "sensitive", "trading"]);
    assert_eq!(
        listed["items"][0],
        json!({ "name": "api", "key": "rate_limit:api:{ip}:{endpoint}", "cost": 1,
                "without_redis": "open", "shadow": false, "near": 0.8,
                "strategy": { "kind": "sliding_window", "limit": 100, "window_ms": 60_000 } })
    );
}

#[tokio::test]
async fn an_inline_strategy_needs_the_scope() {
    let key = |id: &str, scopes: &str| {
        let digest = gridtokenx_redis::http::auth::api_key::digest(format!("ak_{id:0>32}").as_bytes());
        let digest = gridtokenx_redis::http::auth::api_key::hex(&digest);
        format!("[[auth.keys]]\nid = \"{id}\"\nsha256 = \"{digest}\"\nscopes = {scopes}\n")
    };
    let keys = key("1", "[\"ratelimit:check\"]") + &key("2", "[\"ratelimit:check\", \"ratelimit:inline\"]");
    let app = TestApp::builder().config(&keys).admin_key().spawn().await;
    let body = json!({ "strategy": { "kind": "token_bucket", "capacity": 3, "refill_per_second": 0.5 }, "key": "k" });
    let all = json!({ "checks": [body] });
    let json = ("content-type", "application/json");
    for (path, body) in [("/ratelimit/check", &body), ("/ratelimit/enforce", &body), ("/ratelimit/check-all", &all)] {
        let send = async |id: &str| {
            let credential = format!("ak_{id:0>32}");
            app.send(Method::POST, path, &[json, ("x-api-key", &credential)], body.to_string()).await
        };
        let refused = send("1").await.expect_problem(403, "forbidden");
        assert!(refused["detail"].as_str().is_some_and(|text| text.contains("ratelimit:inline")), "{refused}");
        assert!(send("2").await.status.is_success());
    }
    assert_eq!(states(&app), ["rate_limit:inline:token_bucket:k"]);
}

#[tokio::test]
async fn a_changed_strategy_ignores_the_state_of_the_previous_one() {
    let kinds = [
        "{ kind = \"gcra\", limit = 9, period = \"1m\" }",
        "{ kind = \"sliding_window\", limit = 9, window = \"1m\" }",
        "{ kind = \"fixed_window\", limit = 9, window = \"1h\" }",
        "{ kind = \"exponential_backoff\", limit = 9, window = \"1m\", factor = 2, maximum = \"1h\" }",
    ];
    let first = TestApp::spawn().await;
    for kind in kinds.iter().chain(kinds.iter().rev().skip(1)) {
        let settings = limiter("l", &format!("strategy = {kind}"));
        let app = TestApp::builder().config(&settings).beside(&first).spawn().await;
        assert_eq!(check(&app, "l", "k").await["remaining"], 8, "{kind}");
        let again = check(&app, "l", "k").await;
        assert_eq!(again["remaining"], 7, "{kind}");
    }
}
