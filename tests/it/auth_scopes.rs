//! Scopes that are limited to keys, and scopes that permit nothing.

use gridtokenx_redis::app::check_config;
use gridtokenx_redis::config::Config;
use serde_json::{Value, json};

use crate::auth::{READER, SECRET, WRITER, key, platform_token};
use crate::support::TestApp;

const LIMITED: &str = "ak_99999999999999999999999999999999";

/// A key whose scopes are limited to `orders:*`, and tokens for whose subject some scopes are limited to its own keys.
async fn with_limited_scopes() -> TestApp {
    let scopes = ["cache:read", "cache:write", "json:write", "timeseries:write", "locks:write", "ratelimit:read"]
        .map(|scope| format!("\"{scope}:orders:*\""))
        .join(", ");
    let user = ["json:read:users:{sub}:*", "json:write:users:{sub}:*", "users:read:{sub}", "timeseries:read:{sub}:*"];
    let config = format!(
        "[auth]\njwt_secret = \"{SECRET}\"\n[auth.roles]\nuser = {user:?}\n{}{}",
        key("limited", LIMITED, &format!("scopes = [{scopes}, \"timeseries:write:energy:generation:*\"]")),
        key("writer", WRITER, "scopes = [\"admin\"]"),
    );
    TestApp::builder().config(&config).spawn().await
}

#[tokio::test]
async fn a_scope_may_be_limited_to_keys() {
    let app = with_limited_scopes().await;
    let send = async |method: &str, path: &str, body: Value| {
        let headers = [("x-api-key", LIMITED), ("content-type", "application/json")];
        app.send(method.parse().expect("a method"), path, &headers, body.to_string()).await
    };
    let lock = json!({ "ttl_ms": 1_000 });
    for (method, path, body) in [
        ("PUT", "/cache/orders:1", json!(1)),
        ("PUT", "/api/cache/orders%3A2", json!(1)),
        ("POST", "/cache/orders:n/increment", json!({ "by": 1 })),
        ("GET", "/cache/orders:1", Value::Null),
        ("PUT", "/json/orders:1", json!({ "b": true })),
        ("POST", "/json/orders:1/toggle", json!({ "path": "$.b" })),
        ("PUT", "/timeseries/orders:1", json!({})),
        ("POST", "/locks/orders:1", lock.clone()),
    ] {
        let reply = send(method, path, body).await;
        assert!(reply.status.is_success(), "{method} {path}: {}", reply.text());
    }
    for (method, path, body) in [
        ("PUT", "/cache/other", json!(1)),
        ("PUT", "/api/cache/other", json!(1)),
        ("PUT", "/cache/%6Frder", json!(1)),
        ("GET", "/cache/orders", Value::Null),
        ("HEAD", "/cache/orders", Value::Null),
        ("DELETE", "/cache/other", Value::Null),
        ("DELETE", "/cache/tags/orders:1", Value::Null),
        ("GET", "/json/orders:1", Value::Null),
        ("PUT", "/json/other", json!({})),
        ("POST", "/json/other/toggle", json!({ "path": "$.b" })),
        ("PUT", "/timeseries/other", json!({})),
        ("GET", "/timeseries/orders:1", Value::Null),
        ("POST", "/timeseries/samples", json!({ "samples": [] })),
        // Readings belong to two series, of which the scope has one.
        ("POST", "/energy/meters/m/readings", json!({})),
        ("POST", "/locks/other", lock),
        ("GET", "/locks/other/hold", Value::Null),
        ("GET", "/ratelimit/other/1", Value::Null),
        ("PUT", "/forms/orders:1", json!({})),
    ] {
        let reply = send(method, path, body).await;
        assert!(reply.is(403), "{method} {path}: {} {}", reply.status, reply.text());
    }
    let problem = send("PUT", "/cache/other", json!(1)).await.expect_problem(403, "forbidden");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("`cache:write`") && detail.contains("`other`"), "{detail}");
    assert!(!app.redis().keys().iter().any(|key| key.contains("other")), "{:?}", app.redis().keys());
}

#[tokio::test]
async fn lists_and_batches_respect_the_keys_of_a_scope() {
    let app = with_limited_scopes().await;
    let send = async |key: &str, method: &str, path: &str, body: Value| {
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        app.send(method.parse().expect("a method"), path, &headers, body.to_string()).await
    };
    for name in ["orders:1", "orders:2", "order", "other", "a"] {
        send(WRITER, "PUT", &format!("/cache/{name}"), json!(1)).await.expect(201);
        send(WRITER, "PUT", &format!("/json/{name}"), json!({})).await.expect(201);
        send(WRITER, "PUT", &format!("/timeseries/{name}"), json!({})).await.expect(201);
    }
    let keys = |reply: &crate::support::Reply| {
        let page = reply.json();
        let items = page["items"].as_array().expect("items").iter();
        let keys: Vec<String> = items.map(|item| item["key"].as_str().expect("a key").to_owned()).collect();
        (keys, page["next_cursor"].clone())
    };
    let orders = (vec!["orders:1".to_owned(), "orders:2".to_owned()], Value::Null);
    for query in ["", "?limit=3", "?prefix=ord", "?prefix=orders:"] {
        let list = send(LIMITED, "GET", &format!("/cache{query}"), Value::Null).await.expect(200);
        assert_eq!(keys(&list), orders, "{query}");
    }
    send(LIMITED, "GET", "/cache?prefix=oth", Value::Null).await.expect_problem(403, "forbidden");
    send(LIMITED, "GET", "/timeseries", Value::Null).await.expect_problem(403, "forbidden");
    let set = |key: &str| json!({ "key": key, "value": 2 });
    for (path, good, bad) in [
        (
            "/cache/batch",
            json!({ "get": ["orders:1"], "set": [set("orders:3")], "delete": ["orders:2"] }),
            vec![
                json!({ "get": ["orders:1", "other"] }),
                json!({ "set": [set("orders:4"), set("other")] }),
                json!({ "delete": ["orders:1", "other"] }),
            ],
        ),
        (
            "/json/batch",
            json!({ "get": [{ "key": "orders:1" }], "delete": [{ "key": "orders:2" }] }),
            vec![
                json!({ "get": [{ "key": "other" }] }),
                json!({ "set": [{ "key": "orders:4", "value": 1 }, { "key": "other", "value": 1 }] }),
                json!({ "delete": [{ "key": "other" }] }),
            ],
        ),
        (
            "/locks/acquire-all",
            json!({ "resources": ["orders:1", "orders:2"], "ttl_ms": 1_000 }),
            vec![json!({ "resources": ["orders:3", "other"], "ttl_ms": 1_000 })],
        ),
    ] {
        for bad in bad {
            let problem = send(LIMITED, "POST", path, bad).await.expect_problem(403, "forbidden");
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("`other`")), "{problem}");
        }
        let reply = send(LIMITED, "POST", path, good).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text());
    }
    send(LIMITED, "GET", "/cache/orders:4", Value::Null).await.expect(404);
    assert_eq!(send(WRITER, "GET", "/cache/other", Value::Null).await.expect(200).text(), "1");
}

#[tokio::test]
async fn no_cursor_names_a_key_outside_the_scope() {
    let scopes = ["cache:read", "timeseries:read"]
        .map(|scope| ["a:*", "m", "z:*"].map(|keys| format!("\"{scope}:{keys}\"")).join(", "));
    let config = format!(
        "{}{}",
        key("limited", LIMITED, &format!("scopes = [{}]", scopes.join(", "))),
        key("writer", WRITER, "scopes = [\"admin\"]"),
    );
    let app = TestApp::builder().config(&config).spawn().await;
    let send = async |key: &str, method: &str, path: &str| {
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        let body = if method == "PUT" { r#"{"labels":{"site":"A"}}"# } else { "" };
        app.send(method.parse().expect("a method"), path, &headers, body).await
    };
    for name in ["a:1", "a:2", "b:secret", "m", "m:secret", "n:secret", "z:1", "z:2", "zz:secret"] {
        send(WRITER, "PUT", &format!("/cache/{name}")).await.expect(201);
        send(WRITER, "PUT", &format!("/timeseries/{name}")).await.expect(201);
    }
    for list in ["/cache?", "/timeseries?", "/timeseries?filter=site%3DA&"] {
        for limit in 1..=6 {
            let (mut found, mut path) = (Vec::new(), format!("{list}limit={limit}"));
            for _ in 0..20 {
                let page = send(LIMITED, "GET", &path).await.expect(200).json();
                let items = page["items"].as_array().expect("items").iter();
                found.extend(items.map(|item| item["key"].as_str().expect("a key").to_owned()));
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                // The cache writes its cursors in hexadecimal.
                assert!(!cursor.contains("secret") && !cursor.contains("736563726574"), "{path}: {cursor}");
                path = format!("{list}limit={limit}&cursor={cursor}");
            }
            assert_eq!(found, ["a:1", "a:2", "m", "z:1", "z:2"], "{list} {limit}");
        }
    }
}

#[tokio::test]
async fn the_subject_of_a_token_selects_its_own_keys() {
    let app = with_limited_scopes().await;
    let ask = async |subject: &str, method: &str, path: &str| {
        let token = platform_token(&json!({ "sub": subject, "role": "user" }));
        let headers = [("authorization", format!("Bearer {token}")), ("content-type", "application/json".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let body = if method == "GET" { "" } else { "{}" };
        app.send(method.parse().expect("a method"), path, &headers, body).await
    };
    ask("ann", "PUT", "/json/users:ann:cart").await.expect(201);
    ask("ann", "GET", "/json/users:ann:cart").await.expect(200);
    ask("ann", "GET", "/users/ann/preferences").await.expect_problem(404, "json-missing");
    for (subject, path) in [
        ("bob", "/json/users:ann:cart"),
        ("an", "/json/users:ann:cart"),
        ("ann:cart", "/json/users:ann:cart:1"),
        ("*", "/json/users:ann:cart"),
        ("", "/json/users::cart"),
        ("bob", "/users/ann/preferences"),
        ("anna", "/users/ann/preferences"),
    ] {
        ask(subject, "GET", path).await.expect_problem(403, "forbidden");
    }
}

#[test]
fn a_scope_that_permits_nothing_is_rejected_at_start() {
    for (scopes, field) in [
        ("[\"cache:wirte\"]", "auth.keys[0].scopes"),
        ("[\"cashe:read\"]", "auth.keys[0].scopes"),
        ("[\"cache:read:a*b\"]", "auth.keys[0].scopes"),
        ("[\"users:read:{sub}\"]", "auth.keys[0].scopes"),
    ] {
        let config = Config::with_overrides(&key("a", READER, &format!("scopes = {scopes}"))).expect("TOML");
        let error = check_config(&config).expect_err(scopes).to_string();
        assert!(error.contains(field), "{scopes}: {error}");
    }
    let config = Config::with_overrides("[auth.roles]\nuser = [\"json:raed\"]").expect("TOML");
    let error = check_config(&config).expect_err("misspelt").to_string();
    assert!(error.contains("auth.roles.user") && error.contains("json:read"), "{error}");
}
