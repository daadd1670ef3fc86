//! The guard, which limits the service's own callers.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::http::auth::api_key;
use serde_json::{Value, json};

use super::limits::limiter;
use crate::support::{Exposition, Reply, TestApp, eventually};

const ONE: &str = "ak_00000000000000000000000000000001";
const TWO: &str = "ak_00000000000000000000000000000002";

/// Three calls an hour for each of two callers.
fn config(without_redis: &str) -> String {
    let callers = limiter(
        "callers",
        &format!("strategy = {{ kind = \"gcra\", limit = 3, period = \"1h\" }}\nwithout_redis = \"{without_redis}\""),
    );
    format!("ratelimit.guard = \"callers\"\n{callers}{}", credentials())
}

fn credentials() -> String {
    let key = |(id, key): (&str, &str)| {
        let digest = api_key::hex(&api_key::digest(key.as_bytes()));
        format!("[[auth.keys]]\nid = \"{id}\"\nsha256 = \"{digest}\"\nscopes = [\"admin\"]\n")
    };
    [("one", ONE), ("two", TWO)].into_iter().map(key).collect()
}

async fn get(app: &TestApp, key: &str, path: &str) -> Reply {
    app.send(Method::GET, path, &[("x-api-key", key)], Body::empty()).await
}

async fn post(app: &TestApp, key: &str, path: &str, body: &Value) -> Reply {
    let headers = [("x-api-key", key), ("content-type", "application/json")];
    app.send(Method::POST, path, &headers, body.to_string()).await
}

#[tokio::test]
async fn a_caller_above_the_limit_is_refused_before_the_handler_runs() {
    let app = TestApp::builder().config(&config("closed")).spawn().await;
    let body = json!({ "limiter": "callers", "key": "k" });
    for _ in 0..3 {
        post(&app, ONE, "/ratelimit/check", &body).await.expect(200);
    }
    let refused = post(&app, ONE, "/ratelimit/check", &body).await;
    let problem = refused.expect_problem(429, "rate-limited");
    assert_eq!((&problem["outcome"], &problem["retry_after_ms"]), (&json!("not_applied"), &json!(1_200_000)));
    assert_eq!(refused.header("retry-after"), Some("1200"));
    assert_eq!(refused.header("ratelimit-policy"), Some(r#""callers";q=3;w=3600"#));
    assert_eq!(refused.header("ratelimit"), Some(r#""callers";r=0;t=1200"#));
    // The guard applies to every route except the public ones.
    get(&app, ONE, "/cache/a").await.expect_problem(429, "rate-limited");
    get(&app, ONE, "/health/live").await.expect(200);
    get(&app, TWO, "/cache/a").await.expect(404);
    assert_eq!(get(&app, TWO, "/ratelimit/callers/key:one").await.expect(200).json()["remaining"], 0);
    let reset = app.send(Method::DELETE, "/ratelimit/callers/key:one", &[("x-api-key", TWO)], Body::empty()).await;
    reset.expect(204);
    get(&app, ONE, "/cache/a").await.expect(404);
}

#[tokio::test]
async fn a_refused_request_does_not_claim_its_idempotency_key() {
    let app = TestApp::builder().config(&config("closed")).spawn().await;
    for _ in 0..3 {
        get(&app, ONE, "/cache/a").await;
    }
    let headers = [("x-api-key", ONE), ("content-type", "application/json"), ("idempotency-key", "one")];
    let body = r#"{"limiter":"callers","key":"k"}"#;
    let refused = app.send(Method::POST, "/ratelimit/check", &headers, body).await;
    refused.expect_problem(429, "rate-limited");
    let kept: Vec<String> = app.redis().command(&["KEYS", "idempotency:*"]);
    assert_eq!(kept, Vec::<String>::new());
}

#[tokio::test]
async fn each_replica_counts_the_requests_of_a_credential_in_memory() {
    let config = format!("ratelimit.caller_rate = 3\n{}", credentials());
    let app = TestApp::builder().config(&config).behind_proxy().spawn().await;
    let replica = TestApp::builder().config(&config).beside(&app).spawn().await;
    for is_there in [true, false] {
        if !is_there {
            app.proxy().cut();
            eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
        }
        // The configuration needs no Redis.
        for _ in 0..3 {
            get(&app, ONE, "/ratelimit/limiters").await.expect(200);
        }
        let body = json!({ "limiter": "callers", "key": "k" });
        let refused = post(&app, ONE, "/ratelimit/check", &body).await;
        assert_eq!(refused.expect_problem(429, "rate-limited")["outcome"], "not_applied");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(refused.header("ratelimit-policy"), Some(r#""caller_rate";q=3;w=1"#));
        assert_eq!(refused.header("ratelimit"), Some(r#""caller_rate";r=0;t=1"#));
        get(&app, ONE, "/health/live").await.expect(200);
        get(&app, TWO, "/ratelimit/limiters").await.expect(200);
        get(&replica, ONE, "/ratelimit/limiters").await.expect(200);
        app.clock().advance(Duration::from_millis(999));
        get(&app, ONE, "/ratelimit/limiters").await.expect_problem(429, "rate-limited");
        app.clock().advance(Duration::from_millis(1));
        get(&app, ONE, "/ratelimit/limiters").await.expect(200);
        for clock in [app.clock(), replica.clock()] {
            clock.advance(Duration::from_secs(1));
        }
    }
    assert_eq!(app.redis().command::<Vec<String>>(&["KEYS", "rate_limit:*"]), Vec::<String>::new());
    let metrics = get(&app, ONE, "/metrics").await.expect(200);
    let of = |decision| {
        let labels = [("limiter", "caller_rate"), ("strategy", "fixed_window"), ("decision", decision)];
        Exposition::parse(&metrics.text()).count("ratelimit_decisions_total", &labels)
    };
    assert_eq!((of("refused"), of("degraded")), (4, 0));
}

#[tokio::test]
async fn a_reload_changes_how_many_requests_a_credential_may_send() {
    let config = |rate: u64| format!("ratelimit.caller_rate = {rate}\n{}", credentials());
    let app = TestApp::builder().config(&config(1)).spawn().await;
    let reload = |rate: u64| app.app().reloader().reload(Config::with_overrides(&config(rate)).expect("TOML"));
    get(&app, ONE, "/ratelimit/limiters").await.expect(200);
    get(&app, ONE, "/ratelimit/limiters").await.expect_problem(429, "rate-limited");
    let applied = reload(0).expect("valid").applied;
    assert_eq!(applied, ["ratelimit.caller_rate"]);
    eventually("nothing is limited", async || get(&app, ONE, "/ratelimit/limiters").await.is(200)).await;
    reload(5).expect("valid");
    eventually("few requests pass", async || get(&app, ONE, "/ratelimit/limiters").await.is(429)).await;
    let error = reload(1_000_000_001).expect_err("refused").to_string();
    assert!(error.contains("ratelimit.caller_rate"), "{error}");
}

#[tokio::test]
async fn callers_without_credentials_share_the_limit_of_the_guard_and_have_none_by_default() {
    let app = TestApp::builder().config(&config("closed").replace(&credentials(), "")).spawn().await;
    for _ in 0..3 {
        app.get("/cache/a").await.expect(404);
    }
    app.get("/cache/a").await.expect_problem(429, "rate-limited");
    let open = TestApp::builder().config("ratelimit.caller_rate = 1").spawn().await;
    for _ in 0..200 {
        open.get("/ratelimit/limiters").await.expect(200);
    }
    let states: Vec<String> = open.redis().command(&["KEYS", "rate_limit:*"]);
    assert_eq!(states, Vec::<String>::new());
}

#[tokio::test]
async fn without_redis_the_guard_follows_its_limiter() {
    for (without_redis, status) in [("open", 200), ("closed", 503)] {
        let app = TestApp::builder().config(&config(without_redis)).behind_proxy().spawn().await;
        app.proxy().cut();
        eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
        let reply = get(&app, ONE, "/ratelimit/limiters").await;
        assert!(reply.is(status), "{without_redis}: {}", reply.text());
        if status == 200 {
            for _ in 0..2 {
                get(&app, ONE, "/ratelimit/limiters").await.expect(200);
            }
            get(&app, ONE, "/ratelimit/limiters").await.expect_problem(429, "rate-limited");
        } else {
            reply.expect_problem(503, "redis-unavailable");
        }
    }
}

#[tokio::test]
async fn a_reload_changes_the_guard() {
    let app = TestApp::builder().config(&credentials()).spawn().await;
    for _ in 0..5 {
        get(&app, ONE, "/cache/a").await.expect(404);
    }
    app.app().reloader().reload(Config::with_overrides(&config("closed")).expect("TOML")).expect("valid");
    eventually("the guard is on", async || get(&app, ONE, "/cache/a").await.is(429)).await;
    app.app().reloader().reload(Config::with_overrides(&credentials()).expect("TOML")).expect("valid");
    eventually("the guard is off", async || get(&app, ONE, "/cache/a").await.is(404)).await;
    let unknown = Config::with_overrides("ratelimit.guard = \"unknown\"").expect("TOML");
    let error = app.app().reloader().reload(unknown).expect_err("refused").to_string();
    assert!(error.contains("ratelimit.guard"), "{error}");
}
