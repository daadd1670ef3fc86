//! The guard, which limits the service's own callers.

use axum::body::Body;
use axum::http::Method;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::http::auth::api_key;
use serde_json::{Value, json};

use super::limits::limiter;
use crate::support::{Reply, TestApp, eventually};

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
async fn callers_without_credentials_share_one_limit_and_the_guard_is_off_by_default() {
    let app = TestApp::builder().config(&config("closed").replace(&credentials(), "")).spawn().await;
    for _ in 0..3 {
        app.get("/cache/a").await.expect(404);
    }
    app.get("/cache/a").await.expect_problem(429, "rate-limited");
    let open = TestApp::spawn().await;
    for _ in 0..200 {
        open.get("/cache/a").await.expect(404);
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
