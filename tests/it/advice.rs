//! Problems that tell the caller what to do next.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use crate::auth::{READER, key};
use crate::support::{Reply, TestApp};

fn detail(reply: &Reply, status: u16, code: &str) -> String {
    reply.expect_problem(status, code)["detail"].as_str().expect("a detail").to_owned()
}

#[tokio::test]
async fn an_unknown_limiter_has_suggestions() {
    let app = TestApp::spawn().await;
    let text = detail(&app.get("/ratelimit/tradign/u1").await, 404, "unknown-limiter");
    assert_eq!(
        text,
        "no limiter is named `tradign`; did you mean `trading`? [[ratelimit.limiters]] of the configuration defines them"
    );
    let text = detail(&app.delete("/ratelimit/authentification/u1").await, 404, "unknown-limiter");
    assert!(text.contains("did you mean `authentication`?"), "{text}");
    let text = detail(&app.get("/ratelimit/withdrawals/u1").await, 404, "unknown-limiter");
    assert!(!text.contains("did you mean") && text.contains("[[ratelimit.limiters]]"), "{text}");
}

#[tokio::test]
async fn an_unknown_limiter_in_a_body_has_suggestions() {
    let limited = key("limited", READER, "scopes = [\"ratelimit:check:trading:*\"]");
    let owner = key("owner", "ak_11111111111111111111111111111111", "scopes = [\"admin\"]");
    let app = TestApp::builder().config(&(limited + &owner)).spawn().await;
    let post = async |credential: &str, path: &str, body: serde_json::Value| {
        let headers = [("x-api-key", credential), ("content-type", "application/json")];
        detail(&app.send(Method::POST, path, &headers, body.to_string()).await, 422, "invalid-body")
    };
    let owner = "ak_11111111111111111111111111111111";
    let check = json!({ "limiter": "tradign", "key": "u1" });
    for (path, body) in [
        ("/ratelimit/check", check.clone()),
        ("/ratelimit/enforce", check.clone()),
        ("/ratelimit/reserve", check.clone()),
        ("/ratelimit/check-all", json!({ "checks": [check] })),
    ] {
        let text = post(owner, path, body).await;
        assert!(text.contains("limiter must exist: no limiter is named `tradign`; did you mean `trading`?"), "{text}");
    }
    let reply = app
        .send(
            Method::POST,
            "/ratelimit/check",
            &[("x-api-key", READER), ("content-type", "application/json")],
            json!({ "limiter": "authentification", "key": "u1" }).to_string(),
        )
        .await;
    reply.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn an_unknown_series_has_suggestions() {
    let app = TestApp::spawn().await;
    for name in ["meter:north:7", "meter:north:8", "meter:south:7", "price:thb"] {
        app.put(&format!("/timeseries/{name}"), json!({})).await.expect(201);
    }
    for path in ["", "/range?from=0&to=1", "/stats?from=0&to=1", "/latest"] {
        let text = detail(&app.get(&format!("/timeseries/meter:nroth:7{path}")).await, 404, "series-not-found");
        assert!(text.contains("did you mean `meter:north:7`, `meter:north:8` or `meter:south:7`?"), "{path}: {text}");
        assert!(text.contains("PUT /timeseries/{key}"), "{path}: {text}");
    }
    let text = detail(&app.get("/timeseries/unlike-any-other").await, 404, "series-not-found");
    assert!(!text.contains("did you mean") && text.contains("PUT /timeseries/{key}"), "{text}");
}

#[tokio::test]
async fn a_deleted_series_is_not_suggested() {
    let app = TestApp::spawn().await;
    for name in ["meter:1", "meter:2"] {
        app.put(&format!("/timeseries/{name}"), json!({})).await.expect(201);
    }
    app.delete("/timeseries/meter:1").await.expect(204);
    let text = detail(&app.get("/timeseries/meter:3").await, 404, "series-not-found");
    assert!(text.contains("did you mean `meter:2`?"), "{text}");
}

#[tokio::test]
async fn a_credential_limited_to_keys_sees_no_other_names() {
    const OWNER: &str = "ak_11111111111111111111111111111111";
    let scopes = "scopes = [\"timeseries:read:orders:*\", \"ratelimit:read:trad*\"]";
    let config = key("limited", READER, scopes) + &key("owner", OWNER, "scopes = [\"admin\"]");
    let limiters = "[[ratelimit.limiters]]\nname = \"trades\"\nkey = \"rate_limit:trades:{user_id}\"\n\
                    strategy = { kind = \"sliding_window\", limit = 5, window = \"1m\" }\n\
                    [[ratelimit.limiters]]\nname = \"grades\"\nkey = \"rate_limit:grades:{user_id}\"\n\
                    strategy = { kind = \"sliding_window\", limit = 5, window = \"1m\" }\n";
    let app = TestApp::builder().config(&(config + limiters)).spawn().await;
    let get = async |credential: &str, path: &str| {
        app.send(Method::GET, path, &[("x-api-key", credential)], Body::empty()).await
    };
    for name in ["orders:1", "order:1", "orders-1"] {
        let headers = [("x-api-key", OWNER), ("content-type", "application/json")];
        app.send(Method::PUT, &format!("/timeseries/{name}"), &headers, "{}").await.expect(201);
    }
    let text = detail(&get(READER, "/timeseries/orders:2").await, 404, "series-not-found");
    assert!(
        text.contains("did you mean `orders:1`?") && !text.contains("order:1") && !text.contains("orders-1"),
        "{text}"
    );
    let text = detail(&get(OWNER, "/timeseries/orders:2").await, 404, "series-not-found");
    assert!(text.contains("`order:1`"), "{text}");
    let text = detail(&get(READER, "/ratelimit/tradess/u1").await, 404, "unknown-limiter");
    assert!(text.contains("`trades`") && !text.contains("`grades`"), "{text}");
    let text = detail(&get(OWNER, "/ratelimit/tradess/u1").await, 404, "unknown-limiter");
    assert!(text.contains("`trades` or `grades`"), "{text}");
}

#[tokio::test]
async fn a_slash_in_a_key_is_explained() {
    let app = TestApp::spawn().await;
    for (path, route) in [
        ("/cache/a/b", "/cache/{key}"),
        ("/api/cache/a/b", "/cache/{key}"),
        ("/cache/a/b/touch", "/cache/{key}"),
        ("/json/a/b", "/json/{key}"),
        ("/locks/a/b", "/locks/{resource}"),
        ("/ratelimit/api/a/b", "/ratelimit/{limiter}/{key}"),
    ] {
        let text = detail(&app.get(path).await, 404, "not-found");
        assert_eq!(text, format!("no route has this path; in a key of {route}, write `/` as `%2F`"), "{path}");
    }
    for path in ["/nowhere", "/nowhere/a/b", "/problems/a/b"] {
        let problem = app.get(path).await.expect_problem(404, "not-found");
        assert!(!problem["detail"].to_string().contains("%2F"), "{path}: {problem}");
    }
    app.put("/cache/a%2Fb", json!(1)).await.expect(201);
}

#[tokio::test]
async fn a_missing_credential_is_told_from_an_invalid_one() {
    let app = TestApp::builder().admin_key().spawn().await;
    for (headers, finding) in [
        (&[][..], "the request has no credential"),
        (&[("x-api-key", READER)], "the credential is not valid"),
        (&[("authorization", "Bearer a.b.c")], "the credential is not valid"),
        (&[("authorization", "Digest a")], "the credential is not valid"),
    ] {
        let reply = app.send(Method::GET, "/cache/a", headers, Body::empty()).await;
        let text = detail(&reply, 401, "unauthenticated");
        assert!(text.starts_with(finding), "{headers:?}: {text}");
        assert!(text.contains("`X-API-Key: <key>`") && text.contains("`Authorization: Bearer <token>`"), "{text}");
    }
}
