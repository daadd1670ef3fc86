//! Scopes that are limited to keys, and scopes that permit nothing.

use gridtokenx_redis::app::check_config;
use gridtokenx_redis::config::Config;
use serde_json::{Value, json};

use crate::auth::{READER, SECRET, WRITER, key, platform_token};
use crate::support::{TestApp, eventually};

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
    let item = |key: &str| json!({ "key": key });
    for (path, lists) in [
        (
            "/cache/batch",
            [
                ("get", json!(["orders:1"]), json!("other")),
                ("set", json!([set("orders:3")]), set("other")),
                ("delete", json!(["orders:2"]), json!("other")),
            ],
        ),
        (
            "/json/batch",
            [
                // The credential must not read any document.
                ("get", json!([]), item("orders:1")),
                ("set", json!([set("orders:3")]), set("other")),
                ("delete", json!([item("orders:2")]), item("other")),
            ],
        ),
    ] {
        for (list, good, bad) in &lists {
            let problem = send(LIMITED, "POST", path, json!({ *list: [bad] })).await.expect_problem(403, "forbidden");
            assert_eq!(problem["errors"], Value::Null, "{problem}");
            let mut mixed = vec![bad.clone()];
            mixed.extend(good.as_array().expect("items").iter().cloned());
            let more = json!([set("orders:5")]);
            let body = if *list == "set" { json!({ "set": mixed }) } else { json!({ *list: mixed, "set": more }) };
            let reply = send(LIMITED, "POST", path, body).await.expect(200).json();
            let results = reply[*list].as_array().expect("results");
            assert_eq!((results.len(), &results[0]["status"]), (mixed.len(), &json!(403)), "{reply}");
            assert_eq!(results[0]["error"]["code"], "forbidden", "{reply}");
            assert!(results[1..].iter().all(|result| result["status"].as_u64() < Some(300)), "{reply}");
        }
    }
    let body = json!({ "resources": ["orders:3", "other"], "ttl_ms": 1_000 });
    let problem = send(LIMITED, "POST", "/locks/acquire-all", body).await.expect_problem(403, "forbidden");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("`other`")), "{problem}");
    let body = json!({ "resources": ["orders:1", "orders:2"], "ttl_ms": 1_000 });
    send(LIMITED, "POST", "/locks/acquire-all", body).await.expect(201);
    assert_eq!(send(WRITER, "GET", "/cache/other", Value::Null).await.expect(200).text(), "1");
    assert_eq!(send(WRITER, "GET", "/json/other", Value::Null).await.expect(200).text(), "{}");
}

#[tokio::test]
async fn a_batch_reads_with_the_scope_for_reads_only() {
    let config = format!(
        "{}{}{}",
        key("reader", READER, "scopes = [\"cache:read\", \"json:read\"]"),
        key("writer", WRITER, "scopes = [\"cache:write\", \"json:write\"]"),
        key("other", LIMITED, "scopes = [\"locks:read\"]"),
    );
    let app = TestApp::builder().config(&config).spawn().await;
    let send = async |key: &str, path: &str, body: Value| {
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        app.send("POST".parse().expect("a method"), path, &headers, body.to_string()).await
    };
    for (path, item) in [("/cache/batch", json!("secret:1")), ("/json/batch", json!({ "key": "secret:1" }))] {
        let store = json!({ "set": [{ "key": "secret:1", "value": 1 }] });
        send(WRITER, path, store.clone()).await.expect(200);
        let read = json!({ "get": [item] });
        let found = send(READER, path, read.clone()).await.expect(200).json();
        assert_eq!(found["get"][0]["status"], 200, "{found}");
        send(WRITER, path, read.clone()).await.expect_problem(403, "forbidden");
        send(READER, path, store.clone()).await.expect_problem(403, "forbidden");
        send(READER, path, json!({ "delete": [item] })).await.expect_problem(403, "forbidden");
        send(LIMITED, path, read).await.expect_problem(403, "forbidden");
        let both = json!({ "get": [item], "set": store["set"] });
        let mixed = send(WRITER, path, both).await.expect(200).json();
        assert_eq!((&mixed["get"][0]["status"], mixed["get"][0]["value"].as_u64()), (&json!(403), None), "{mixed}");
    }
}

#[tokio::test]
async fn keys_in_bodies_and_lists_are_those_of_the_scope() {
    let scopes = ["pubsub:write", "pubsub:read", "timeseries:write", "locks:read", "locks:write", "json:secrets"]
        .map(|scope| format!("\"{scope}:a:*\""))
        .join(", ");
    let limits = "\"ratelimit:check:trading:a*\", \"ratelimit:check:inline:a*\", \"ratelimit:inline:a*\"";
    let secrets = "[json.encryption]\nkeys = [{ id = \"k\", key = \"                   00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\" }]\n                   [[json.collections]]\nprefix = \"a:\"\nencrypted = [\"$.s\"]\n                   [[json.collections]]\nprefix = \"b:\"\nencrypted = [\"$.s\"]\n";
    let config = format!(
        "pubsub.token_secret = \"{SECRET}\"\n{secrets}{}{}",
        key("limited", LIMITED, &format!("scopes = [{scopes}, {limits}, \"json:read\"]")),
        key("writer", WRITER, "scopes = [\"admin\"]"),
    );
    let app = TestApp::builder().config(&config).spawn().await;
    let send = async |key: &str, method: &str, path: &str, body: Value| {
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        app.send(method.parse().expect("a method"), path, &headers, body.to_string()).await
    };
    let inline = |key: &str| {
        let strategy = json!({ "kind": "sliding_window", "limit": 5, "window_ms": 1_000 });
        json!({ "strategy": strategy, "key": key })
    };
    let reserve = |key: &str| json!({ "limiter": "trading", "key": key });
    let token = |channel: &str| json!({ "channels": [channel], "ttl_ms": 60_000 });
    for (path, good, bad) in [
        ("/pubsub/tokens", token("a:b"), token("b:a")),
        ("/ratelimit/check", inline("a1"), inline("b1")),
        ("/ratelimit/reserve", reserve("a1"), reserve("b1")),
    ] {
        let reply = send(LIMITED, "POST", path, good).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text());
        send(LIMITED, "POST", path, bad).await.expect_problem(403, "forbidden");
    }
    for (key, status) in [("a2", 200), ("b2", 403)] {
        let reserved = send(WRITER, "POST", "/ratelimit/reserve", reserve(key)).await.expect(200).json();
        let path = format!("/ratelimit/reservations/{}/settle", reserved["reservation"].as_str().expect("an id"));
        send(LIMITED, "POST", &path, json!({ "cost": 1 })).await.expect(status);
    }
    let sample = |series: &str| json!({ "series": series, "value": 1 });
    let both = json!({ "samples": [sample("b:1"), sample("a:1")] });
    let loaded = send(LIMITED, "POST", "/timeseries/samples", both).await.expect(200).json();
    assert_eq!((&loaded["stored"], &loaded["refused"][0]["code"]), (&json!(1), &json!("forbidden")), "{loaded}");
    let foreign = json!({ "samples": [sample("b:1")] });
    send(LIMITED, "POST", "/timeseries/samples", foreign).await.expect(422);
    send(WRITER, "GET", "/timeseries/a:1", Value::Null).await.expect(200);
    send(WRITER, "GET", "/timeseries/b:1", Value::Null).await.expect(404);
    for name in ["a:1", "b:1"] {
        send(WRITER, "POST", &format!("/locks/{name}"), json!({ "ttl_ms": 60_000 })).await.expect(201);
        send(WRITER, "PUT", &format!("/json/{name}"), json!({ "s": "plain" })).await.expect(201);
    }
    let listed = async |key: &str| {
        let page = send(key, "GET", "/locks", Value::Null).await.expect(200).json();
        let items = page["items"].as_array().expect("items").iter();
        let mut names: Vec<String> = items.map(|item| item["resource"].as_str().expect("a name").to_owned()).collect();
        names.sort();
        names
    };
    eventually("both locks are listed", async || listed(WRITER).await == ["a:1", "b:1"]).await;
    assert_eq!(listed(LIMITED).await, ["a:1"]);
    send(LIMITED, "GET", "/pubsub/channels", Value::Null).await.expect(200);
    let shown = async |name: &str| send(LIMITED, "GET", &format!("/json/{name}"), Value::Null).await.expect(200).text();
    assert!(shown("a:1").await.contains("plain") && !shown("b:1").await.contains("plain"));
    let batch = json!({ "get": [{ "key": "a:1" }, { "key": "b:1" }] });
    let batch = send(LIMITED, "POST", "/json/batch", batch).await.expect(200).json();
    assert_eq!(batch["get"][0]["value"]["s"], "plain", "{batch}");
    assert_ne!(batch["get"][1]["value"]["s"], "plain", "{batch}");
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
