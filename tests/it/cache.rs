//! Single values: round trips, TTLs, limits, conditions and validation.

use std::sync::Arc;

use axum::http::Method;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Reply, TestApp, eventually};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

async fn put_text(app: &TestApp, path: &str, text: &str) -> Reply {
    app.send(Method::PUT, path, &[("content-type", "text/plain; charset=utf-8")], text.to_owned()).await
}

#[tokio::test]
async fn a_read_returns_the_stored_bytes_and_content_type() {
    let app = TestApp::spawn().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    for (name, content_type, body) in [
        ("json", "application/json", b"{\"a\": 1,  \"b\":\"\xc3\xa9\"}".to_vec()),
        ("binary", "application/octet-stream", every_byte.clone()),
        ("image", "image/png", every_byte.into_iter().rev().collect()),
        ("text", "text/plain; charset=utf-8", b"hello".to_vec()),
        ("empty", "text/plain", Vec::new()),
        ("empty-json", "application/json", Vec::new()),
        ("envelope", "application/json", b"\0gc\x01\0\x07\0\0".to_vec()),
    ] {
        let path = format!("/cache/{name}");
        let stored = app.send(Method::PUT, &path, &[("content-type", content_type)], body.clone()).await.expect(201);
        assert_eq!(stored.header("cache-ttl-ms"), Some("3600000"), "{name}");
        let read = app.get(&path).await.expect(200);
        assert_eq!(read.body, body, "{name}");
        assert_eq!(read.header("content-type"), Some(content_type), "{name}");
        assert_eq!(read.header("etag"), stored.header("etag"), "{name}");
        let head = app.send(Method::HEAD, &path, &[], "").await.expect(200);
        assert!(head.body.is_empty(), "{name}");
        assert_eq!(head.header("content-length"), Some(body.len().to_string().as_str()), "{name}");
        assert_eq!(head.header("etag"), read.header("etag"), "{name}");
        app.send(Method::PUT, &path, &[("content-type", content_type)], body).await.expect(204);
    }
}

#[tokio::test]
async fn a_client_that_sends_only_octet_streams_can_state_the_media_type() {
    let app = TestApp::spawn().await;
    let headers = [("content-type", "application/octet-stream"), ("cache-content-type", "application/json")];
    app.send(Method::PUT, "/cache/typed", &headers, "{\"user\":7}").await.expect(201);
    let read = app.get("/cache/typed").await.expect(200);
    assert_eq!((read.header("content-type"), read.json()), (Some("application/json"), json!({"user": 7})));
    for wrong in ["", "json", "/json", "application/"] {
        let headers = [("cache-content-type", wrong)];
        let refused = app.send(Method::PUT, "/cache/refused", &headers, "x").await;
        let refused = refused.expect_problem(422, "invalid-header");
        assert!(format!("{refused:?}").contains("/cache-content-type"), "{wrong}: {refused:?}");
    }
    app.get("/cache/refused").await.expect_problem(404, "cache-miss");
}

#[tokio::test]
async fn a_body_without_a_content_type_is_an_octet_stream() {
    let app = TestApp::spawn().await;
    app.send(Method::PUT, "/cache/a", &[], "x").await.expect(201);
    assert_eq!(app.get("/cache/a").await.expect(200).header("content-type"), Some("application/octet-stream"));
}

#[tokio::test]
async fn platform_values_are_stored_unwrapped_under_their_bare_keys() {
    let app = TestApp::spawn().await;
    app.put("/cache/user:profile:7", json!({"name": "Ada"})).await.expect(201);
    let raw: String = app.redis().command(&["GET", "user:profile:7"]);
    assert_eq!(raw, r#"{"name":"Ada"}"#);
    for (text, content_type) in [("hello", "text/plain; charset=utf-8"), ("7", "application/json")] {
        let _: () = app.redis().command(&["SET", "user:wallet:7", text]);
        let read = app.get("/cache/user:wallet:7").await.expect(200);
        assert_eq!((read.text().as_str(), read.header("content-type")), (text, Some(content_type)));
    }
    let _: () = app.redis().command(&["SET", "user:wallet:7", "{\"w\":1}", "PX", "60000"]);
    let read = app.get("/cache/user:wallet:7").await.expect(200);
    assert_eq!((read.text().as_str(), read.header("content-type")), ("{\"w\":1}", Some("application/json")));
}

#[tokio::test]
async fn client_keys_do_not_collide_with_internal_keys() {
    let app = TestApp::spawn().await;
    for key in
        ["lock:settlement", "%7Bindex%7D", "tag:%7Bt%7D", "cache:a", "a%2Fb%3Fc%20%25", "gridtokenx:x", "metrics:hosts"]
    {
        app.put(&format!("/cache/{key}"), json!(key)).await.expect(201);
        assert_eq!(app.get(&format!("/cache/{key}")).await.expect(200).json(), json!(key));
    }
    let keys = app.redis().keys();
    assert!(keys.iter().all(|key| key.starts_with("cache:")), "{keys:?}");
    assert_eq!(keys.len(), 8, "{keys:?}");
}

#[tokio::test]
async fn the_policy_of_the_longest_prefix_sets_the_ttl() {
    let app = TestApp::builder()
        .config("[[cache.policies]]\nprefix = \"s:\"\nttl = \"5m\"\n[[cache.policies]]\nprefix = \"s:long:\"\nttl = \"2h\"\n[[cache.policies]]\nprefix = \"s:ever\"")
        .spawn()
        .await;
    for (key, ttl) in [("s:1", Some("300000")), ("s:long:1", Some("7200000")), ("s:ever", None), ("x", Some("3600000"))]
    {
        let stored = app.put(&format!("/cache/{key}"), json!(1)).await.expect(201);
        assert_eq!(stored.header("cache-ttl-ms"), ttl, "{key}");
        assert_eq!(app.get(&format!("/cache/{key}")).await.expect(200).header("cache-ttl-ms").is_some(), ttl.is_some());
    }
    let given = app.put("/cache/s:1?ttl_ms=5000", json!(1)).await.expect(204);
    assert_eq!(given.header("cache-ttl-ms"), Some("5000"));
}

#[tokio::test]
async fn a_value_expires_and_reads_return_its_ttl() {
    let app = TestApp::spawn().await;
    app.put("/cache/a?ttl_ms=60000", json!(1)).await.expect(201);
    let left: u64 =
        app.get("/cache/a").await.expect(200).header("cache-ttl-ms").and_then(|ms| ms.parse().ok()).expect("a number");
    assert!((1..=60_000).contains(&left), "{left}");
    app.put("/cache/a?ttl_ms=1", json!(1)).await.expect(204);
    eventually("the value expires", async || app.get("/cache/a").await.is(404)).await;
    app.get("/cache/a").await.expect_problem(404, "cache-miss");
}

#[tokio::test]
async fn keep_ttl_keeps_the_remaining_ttl() {
    let app = TestApp::spawn().await;
    app.put("/cache/a?ttl_ms=60000", json!(1)).await.expect(201);
    let kept = app.put("/cache/a?keep_ttl=true", json!(2)).await.expect(204);
    let left: u64 = kept.header("cache-ttl-ms").and_then(|ms| ms.parse().ok()).expect("a number");
    assert!((1..=60_000).contains(&left), "{left}");
    let given = app.put("/cache/c?keep_ttl=true&ttl_ms=5000", json!(1)).await.expect(201);
    assert_eq!(given.header("cache-ttl-ms"), Some("5000"), "without a previous value the request's TTL applies");
    let fresh = app.put("/cache/b?keep_ttl=true", json!(1)).await.expect(201);
    assert_eq!(fresh.header("cache-ttl-ms"), Some("3600000"), "without a previous value the policy's TTL applies");
}

#[tokio::test]
async fn invalid_keys_and_parameters_are_rejected_and_store_nothing() {
    let app = TestApp::spawn().await;
    let long = "k".repeat(513);
    for key in ["a%0Ab", "%00", "%7F", "%C2%85", "%FF", long.as_str()] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let rejected = app.send(method, &format!("/cache/{key}"), &[], "").await;
            rejected.expect_violation(422, "invalid-path", "/key");
        }
    }
    // An escaped letter is the letter (RFC 3986, section 6.2.2.2), so this is the path of the batch.
    app.get("/cache/%62atch").await.expect_problem(405, "method-not-allowed");
    let big = 1_u128 << 63;
    for ttl in ["0", "-1", "NaN", "1.5", "", &big.to_string(), "31536000001", "99999999999999999999"] {
        app.put(&format!("/cache/a?ttl_ms={ttl}"), json!(1)).await.expect_violation(422, "invalid-query", "/ttl_ms");
        app.get(&format!("/cache/a?touch_ms={ttl}")).await.expect_violation(422, "invalid-query", "/touch_ms");
        app.get(&format!("/cache/a?lease_ms={ttl}")).await.expect_violation(422, "invalid-query", "/lease_ms");
    }
    for (query, name) in [
        ("ttl=5", "/ttl"),
        ("ttl_ms=1&ttl_ms=2", "/ttl_ms"),
        ("keep_ttl=yes", "/keep_ttl"),
        ("tags=", "/tags"),
        ("tags=a,,b", "/tags"),
        ("tags=%0A", "/tags"),
        ("tags=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "/tags"),
    ] {
        app.put(&format!("/cache/a?{query}"), json!(1)).await.expect_violation(422, "invalid-query", name);
    }
    app.get("/cache/a?on_error=hide").await.expect_violation(422, "invalid-query", "/on_error");
    app.get("/cache/a?x=1").await.expect_violation(422, "invalid-query", "/x");
    app.delete("/cache/a?take=2").await.expect_violation(422, "invalid-query", "/take");
    for (name, value) in
        [("if-match", "abc"), ("if-none-match", "\"a"), ("cache-lease", "short"), ("content-type", "te\u{e9}xt")]
    {
        let rejected = app.send(Method::PUT, "/cache/a", &[(name, value)], "1").await;
        rejected.expect_violation(422, "invalid-header", &format!("/{name}"));
    }
    let long_type = format!("text/{}", "x".repeat(251));
    let rejected = app.send(Method::PUT, "/cache/a", &[("content-type", &long_type)], "1").await;
    rejected.expect_violation(422, "invalid-header", "/content-type");
    assert_eq!(app.redis().keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_over_the_limit_is_rejected() {
    let app = TestApp::spawn().await;
    let body = vec![b'x'; 1 << 20];
    app.send(Method::PUT, "/cache/a", &[OCTETS], body.clone()).await.expect(201);
    assert_eq!(app.get("/cache/a").await.expect(200).body, body);
    let larger = vec![b'x'; (1 << 20) + 1];
    app.send(Method::PUT, "/cache/b", &[OCTETS], larger).await.expect_problem(413, "body-too-large");
    app.get("/cache/b").await.expect_problem(404, "cache-miss");
}

#[tokio::test]
async fn reads_honour_if_none_match_and_if_match() {
    let app = TestApp::spawn().await;
    let stored = app.put("/cache/a", json!(1)).await.expect(201);
    let etag = stored.header("etag").expect("an etag").to_owned();
    for candidates in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let unchanged = app.send(Method::GET, "/cache/a", &[("if-none-match", &candidates)], "").await.expect(304);
        assert!(unchanged.body.is_empty());
        assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
    }
    app.send(Method::GET, "/cache/a", &[("if-none-match", "\"x\"")], "").await.expect(200);
    app.send(Method::GET, "/cache/a", &[("if-match", "\"x\"")], "").await.expect_problem(412, "precondition-failed");
    app.put("/cache/a", json!(2)).await.expect(204);
    app.send(Method::GET, "/cache/a", &[("if-none-match", &etag)], "").await.expect(200);
}

#[tokio::test]
async fn writes_honour_their_conditions() {
    let app = TestApp::spawn().await;
    let json_type = ("content-type", "application/json");
    let put = async |condition: (&str, &str), body: &'static str| {
        app.send(Method::PUT, "/cache/a", &[json_type, condition], body).await
    };
    put(("if-match", "*"), "1").await.expect_problem(412, "precondition-failed");
    let first = put(("if-none-match", "*"), "1").await.expect(201);
    let etag = first.header("etag").expect("an etag").to_owned();
    put(("if-none-match", "*"), "2").await.expect_problem(412, "precondition-failed");
    put(("if-none-match", &etag), "2").await.expect_problem(412, "precondition-failed");
    put(("if-match", "\"other\""), "2").await.expect_problem(412, "precondition-failed");
    put(("if-match", &format!("W/{etag}")), "2").await.expect_problem(412, "precondition-failed");
    assert_eq!(app.get("/cache/a").await.expect(200).text(), "1");
    put(("if-match", &etag), "2").await.expect(204);
    put(("if-match", &etag), "3").await.expect_problem(412, "precondition-failed");
    let stale = app.send(Method::DELETE, "/cache/a", &[("if-match", &etag)], "").await;
    stale.expect_problem(412, "precondition-failed");
    app.send(Method::DELETE, "/cache/a?take=true", &[("if-match", &etag)], "")
        .await
        .expect_problem(412, "precondition-failed");
    assert_eq!(app.get("/cache/a").await.expect(200).text(), "2");
    app.send(Method::DELETE, "/cache/a", &[("if-match", "*")], "").await.expect(204);
    app.send(Method::DELETE, "/cache/a", &[("if-match", "*")], "").await.expect_problem(412, "precondition-failed");
}

#[tokio::test]
async fn of_concurrent_create_only_writes_one_succeeds() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    let replies = join_all((0..32).map(|n| {
        let replica = if n % 2 == 0 { &app } else { &other };
        create_once(replica, n)
    }))
    .await;
    let created: Vec<usize> = (0..32).filter(|&n| replies[n].is(201)).collect();
    assert_eq!(created.len(), 1, "{created:?}");
    assert!(replies.iter().filter(|reply| reply.is(412)).count() == 31);
    assert_eq!(app.get("/cache/once").await.expect(200).text(), created[0].to_string());
}

async fn create_once(app: &TestApp, n: usize) -> Reply {
    app.send(Method::PUT, "/cache/once", &[("if-none-match", "*")], n.to_string()).await
}

#[tokio::test]
async fn compare_and_swap_does_not_lose_updates() {
    let app = Arc::new(TestApp::spawn().await);
    app.put("/cache/sum", json!(0)).await.expect(201);
    join_all((0..16).map(|_| {
        let app = Arc::clone(&app);
        async move {
            loop {
                let current = app.get("/cache/sum").await.expect(200);
                let etag = current.header("etag").expect("an etag").to_owned();
                let next = current.json().as_i64().expect("a number") + 1;
                let headers = [("content-type", "application/json"), ("if-match", etag.as_str())];
                let swapped = app.send(Method::PUT, "/cache/sum", &headers, next.to_string()).await;
                if swapped.is(204) {
                    return;
                }
                assert!(swapped.is(412) || swapped.is(409), "{}", swapped.text());
            }
        }
    }))
    .await;
    assert_eq!(app.get("/cache/sum").await.expect(200).text(), "16");
}

#[tokio::test]
async fn delete_is_idempotent_and_take_returns_a_value_once() {
    let app = TestApp::spawn().await;
    app.put("/cache/a", json!(1)).await.expect(201);
    app.delete("/cache/a").await.expect(204);
    app.delete("/cache/a").await.expect(204);
    app.get("/cache/a").await.expect_problem(404, "cache-miss");
    put_text(&app, "/cache/token", "secret").await.expect(201);
    let taken = app.delete("/cache/token?take=true").await.expect(200);
    assert_eq!((taken.text().as_str(), taken.header("content-type")), ("secret", Some("text/plain; charset=utf-8")));
    app.delete("/cache/token?take=true").await.expect_problem(404, "cache-miss");
}

#[tokio::test]
async fn of_concurrent_takes_one_returns_the_value() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    for (key, query) in [("plain", ""), ("tagged", "?tags=t")] {
        app.put(&format!("/cache/{key}{query}"), json!(key)).await.expect(201);
        let path = format!("/cache/{key}?take=true");
        let takers = (0..32).map(|n| if n % 2 == 0 { app.delete(&path) } else { other.delete(&path) });
        let replies = join_all(takers).await;
        assert_eq!(replies.iter().filter(|reply| reply.is(200)).count(), 1, "{key}");
        assert_eq!(replies.iter().filter(|reply| reply.is(404)).count(), 31, "{key}");
    }
}

#[tokio::test]
async fn touch_extends_the_ttl() {
    let app = TestApp::spawn().await;
    app.put("/cache/a?ttl_ms=60000", json!(1)).await.expect(201);
    app.post("/cache/a/touch", json!({"ttl_ms": 120_000})).await.expect(204);
    let ttl: i64 = app.redis().command(&["PTTL", "cache:a"]);
    assert!((60_001..=120_000).contains(&ttl), "{ttl}");
    let extended = app.get("/cache/a?touch_ms=300000").await.expect(200);
    assert_eq!(extended.header("cache-ttl-ms"), Some("300000"));
    let ttl: i64 = app.redis().command(&["PTTL", "cache:a"]);
    assert!((120_001..=300_000).contains(&ttl), "{ttl}");
    app.post("/cache/none/touch", json!({"ttl_ms": 1})).await.expect_problem(404, "cache-miss");
    app.get("/cache/none?touch_ms=1").await.expect_problem(404, "cache-miss");
    for ttl in [json!(0), json!(-1), json!("1"), json!(1.5), json!(31_536_000_001_u64), json!(1_u64 << 63), json!(null)]
    {
        let rejected = app.post("/cache/a/touch", json!({"ttl_ms": ttl})).await;
        rejected.expect_violation(422, "invalid-body", "/ttl_ms");
    }
    app.post("/cache/a/touch", json!({})).await.expect_violation(422, "invalid-body", "/ttl_ms");
    app.post("/cache/a/touch", json!({"ttl_ms": 1, "tl": 1})).await.expect_violation(422, "invalid-body", "/tl");
}

#[tokio::test]
async fn a_key_of_another_type_is_neither_read_nor_overwritten() {
    let app = TestApp::spawn().await;
    let _: () = app.redis().command(&["HSET", "user:profile:1", "a", "1"]);
    app.get("/cache/user:profile:1").await.expect_problem(409, "wrong-type");
    app.put("/cache/user:profile:1", json!(1)).await.expect_problem(409, "wrong-type");
    app.delete("/cache/user:profile:1").await.expect_problem(409, "wrong-type");
    app.delete("/cache/user:profile:1?take=true").await.expect_problem(409, "wrong-type");
    app.post("/cache/user:profile:1/increment", json!({})).await.expect_problem(409, "wrong-type");
    app.post("/cache/user:profile:1/touch", json!({"ttl_ms": 1})).await.expect_problem(409, "wrong-type");
    let kept: String = app.redis().command(&["HGET", "user:profile:1", "a"]);
    assert_eq!(kept, "1");
}
