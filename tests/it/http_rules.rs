//! Rules of HTTP, JOSE and browsers that hold on every route, and settings without sense.

use axum::body::Body;
use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use gridtokenx_redis::app::check_config;
use gridtokenx_redis::config::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::auth::{SECRET, platform_token};
use crate::support::TestApp;

/// The answer to a request as text, from a connection of its own.
async fn answer(app: &mut TestApp, request: &str) -> String {
    let mut stream = TcpStream::connect(app.serve()).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    text
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let mut app = TestApp::spawn().await;
    for (hosts, version, status) in [
        ("", "1.1", "400"),
        ("Host: a\r\nHost: a\r\n", "1.1", "400"),
        ("Host: a\r\n", "1.1", "200"),
        ("Host:\r\n", "1.1", "200"),
        ("", "1.0", "200"),
        ("Host: a\r\nHost: a\r\n", "1.0", "400"),
        ("Host: [::1]:4040\r\n", "1.1", "200"),
        ("Host: a b\r\n", "1.1", "400"),
        ("Host: a/b\r\n", "1.1", "400"),
        ("Host: user@a\r\n", "1.1", "400"),
        ("Host: a:port\r\n", "1.1", "400"),
        ("Host: http://a\r\n", "1.0", "400"),
    ] {
        let request = format!("GET /health/live HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
        let text = answer(&mut app, &request).await;
        assert!(text.starts_with(&format!("HTTP/{version} {status}")), "{hosts:?}: {text}");
        assert_eq!(text.contains("\"code\":\"bad-request\""), status == "400", "{text}");
        assert!(text.contains("\r\nx-request-id: ") && text.contains("\r\nx-content-type-options: nosniff"), "{text}");
    }
}

#[tokio::test]
async fn a_part_of_a_value_does_not_replace_the_value() {
    let app = TestApp::spawn().await;
    app.send(Method::PUT, "/cache/a", &[], "whole").await.expect(201);
    for path in ["/cache/a", "/json/a", "/timeseries/a"] {
        let headers = [("content-range", "bytes 0-1/5"), ("content-type", "application/json")];
        app.send(Method::PUT, path, &headers, "{}").await.expect_problem(400, "bad-request");
    }
    assert_eq!(app.get("/cache/a").await.expect(200).text(), "whole");
    app.get("/json/a").await.expect(404);
    app.get("/timeseries/a").await.expect(404);
}

#[tokio::test]
async fn a_transfer_coding_that_is_not_decoded_is_refused() {
    let mut app = TestApp::spawn().await;
    for (coding, status) in [
        ("chunked", 201),
        ("Chunked", 200),
        ("gzip, chunked", 501),
        ("gzip\r\nTransfer-Encoding: chunked", 501),
        ("x, chunked", 501),
        ("chunked, chunked", 501),
    ] {
        let request = format!(
            "PUT /cache/te HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\nContent-Type: text/plain\r\n\
             Connection: close\r\n\r\n1\r\na\r\n0\r\n\r\n"
        );
        let text = answer(&mut app, &request).await;
        let is_success = text.starts_with("HTTP/1.1 20");
        assert_eq!(is_success, status != 501, "{coding}: {text}");
        assert!(is_success || text.starts_with("HTTP/1.1 501"), "{coding}: {text}");
        assert_eq!(text.contains("\"code\":\"unsupported-transfer-coding\""), !is_success, "{text}");
        assert_eq!(app.get("/cache/te").await.expect(200).text(), "a", "{coding}");
    }
    // The connection ends although the client would keep it.
    let open = "PUT /cache/te HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n";
    assert!(answer(&mut app, open).await.contains("\r\nconnection: close"));
}

#[tokio::test]
async fn head_has_no_effects() {
    let app = TestApp::spawn().await;
    let forwarded = [("x-limiter", "api"), ("x-key", "a")];
    for path in ["/ratelimit/enforce?limiter=api&key=a", "/locks/a/hold?ttl_ms=1000"] {
        let reply = app.send(Method::HEAD, path, &forwarded, Body::empty()).await.expect(405);
        assert!(!reply.header("allow").expect("the methods").contains("HEAD"), "{path}");
    }
    for path in ["/health", "/json/a", "/cache/a"] {
        assert!(!app.send(Method::HEAD, path, &[], Body::empty()).await.is(405), "{path}");
    }
}

#[tokio::test]
async fn equivalent_paths_are_one_path_and_invalid_ones_are_problems() {
    let app = TestApp::spawn().await;
    app.send(Method::PUT, "/%63ache/%61%2Eb", &[], "1").await.expect(201);
    for path in ["/cache/a.b", "/cache/%61.b", "/api/c%61che/a%2eb"] {
        assert_eq!(app.get(path).await.expect(200).text(), "1", "{path}");
    }
    for path in ["/cache/%zz", "/cache/a%4", "/json/%", "/timeseries/%+1"] {
        app.get(path).await.expect_problem(422, "invalid-path");
    }
    for path in ["/cache?prefix=%zz", "/cache?prefix=%FF", "/timeseries?prefix=%4"] {
        app.get(path).await.expect_violation(422, "invalid-query", "/prefix");
    }
    // A repetition under an equivalent path is the same request.
    let increment = async |path: &str| {
        let headers = [("idempotency-key", "k"), ("content-type", "application/json")];
        app.send(Method::POST, path, &headers, r#"{"by":1}"#).await.expect(200)
    };
    increment("/cache/n/increment").await;
    assert_eq!(increment("/api/cache/%6E/increment").await.header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn browsers_treat_no_response_as_something_else() {
    let app = TestApp::spawn().await;
    app.send(Method::PUT, "/cache/page", &[("content-type", "text/html")], "<script>1</script>").await.expect(201);
    for path in ["/health", "/cache/page", "/nowhere", "/metrics", "/swagger-ui/", "/problems/not-found"] {
        assert_eq!(app.get(path).await.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    let policy = async |path: &str| app.get(path).await.header("content-security-policy").map(str::to_owned);
    assert!(policy("/cache/page").await.is_some_and(|policy| policy.contains("sandbox")));
    for path in ["/swagger-ui/", "/swagger-ui/swagger-ui-bundle.js"] {
        let policy = policy(path).await.expect(path);
        assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe-eval"), "{policy}");
    }
    let initializer = app.get("/swagger-ui/swagger-initializer.js").await.expect(200).text();
    assert!(!initializer.contains("persistAuthorization\": true"), "{initializer}");
}

#[tokio::test]
async fn a_token_needs_one_issuer_and_no_unknown_extension() {
    let app = TestApp::builder().config(&format!("[auth]\njwt_secret = \"{SECRET}\"")).spawn().await;
    let ask = async |token: &str| {
        app.send(Method::GET, "/metrics", &[("authorization", &format!("Bearer {token}"))], Body::empty()).await
    };
    ask(&platform_token(&json!({}))).await.expect(200);
    for issuers in [json!(["gridtokenx-iam-service"]), json!(["other", "gridtokenx-iam-service"]), json!([])] {
        ask(&platform_token(&json!({ "iss": issuers }))).await.expect(401);
    }
    let payload = platform_token(&json!({})).split('.').nth(1).expect("a payload").to_owned();
    let signed = |header: Value| {
        let head = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
        let message = format!("{head}.{payload}");
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
        format!("{message}.{}", signature.expect("a signature"))
    };
    ask(&signed(json!({ "alg": "HS256" }))).await.expect(200);
    for critical in [json!(["exp"]), json!(["http://example.org/unknown"]), json!([]), json!("exp"), json!(null)] {
        ask(&signed(json!({ "alg": "HS256", "crit": critical }))).await.expect(401);
    }
}

#[tokio::test]
async fn an_array_is_not_an_object_on_any_route() {
    let app = TestApp::spawn().await;
    let prices = json!({ "prices": [[1_767_225_600_000_i64, 1]] });
    for (method, path, body, pointer) in [
        ("POST", "/cache/n/increment", json!([]), ""),
        ("POST", "/cache/n/increment", json!([5]), ""),
        ("POST", "/cache/n/touch", json!([1_000]), ""),
        ("POST", "/cache/batch", json!([["a"]]), ""),
        ("POST", "/json/a/toggle", json!(["$.b"]), ""),
        ("POST", "/json/batch", json!([]), ""),
        ("POST", "/locks/a", json!([1_000]), ""),
        ("POST", "/locks/acquire-all", json!([["a"], 1_000]), ""),
        ("POST", "/ratelimit/check", json!(["api", null, "a"]), ""),
        ("POST", "/ratelimit/check-all", json!({ "checks": [["api", null, "a"]] }), "/checks/0"),
        ("PUT", "/timeseries/a", json!([]), ""),
        ("POST", "/timeseries/a/samples", json!([[]]), ""),
        ("POST", "/market/prices/x", prices, "/prices/0"),
        ("POST", "/v2/heartbeat", json!([]), ""),
    ] {
        let headers = [("content-type", "application/json")];
        let reply = app.send(method.parse().expect("a method"), path, &headers, body.to_string()).await;
        let problem = reply.expect_violation(422, "invalid-body", pointer);
        let detail = problem["errors"][0]["detail"].as_str().expect("a detail");
        assert_eq!(detail, "invalid type: array, expected an object", "{method} {path}");
    }
    app.get("/cache/n").await.expect(404);
    app.get("/timeseries/a").await.expect(404);
}

#[tokio::test]
async fn details_are_sentences_and_name_no_types_of_rust() {
    let app = TestApp::spawn().await;
    let detail = async |method: &str, path: &str, content_type: &str, body: &str| {
        let headers = [("content-type", content_type)];
        let reply = app.send(method.parse().expect("a method"), path, &headers, body.to_owned()).await.expect(422);
        let problem = reply.json();
        // A load names the reason at its samples.
        let place = if problem["errors"].is_array() {
            &problem["errors"][0]["detail"]
        } else {
            &problem["refused"][0]["detail"]
        };
        (problem["detail"].as_str().unwrap_or_default().to_owned(), place.as_str().unwrap_or_default().to_owned())
    };
    let json = "application/json";
    let (text, _) = detail("POST", "/ratelimit/check", json, r#"{"limiter":"none","key":"a"}"#).await;
    assert_eq!(
        text,
        "limiter must exist: no limiter is named `none`; [[ratelimit.limiters]] of the configuration defines them"
    );
    let (_, text) = detail("POST", "/timeseries/a/samples", json, r#"{"samples":[],"on_duplicate":"x"}"#).await;
    assert_eq!(text, "unknown value `x`, expected one of `block`, `first`, `last`, `min`, `max`, `sum`");
    let (_, text) = detail("GET", "/timeseries/a/range?fill=x", json, "").await;
    assert!(text.starts_with("unknown value `x`, expected "), "{text}");
    let (_, text) = detail("POST", "/cache/a/increment", json, r#"{"by":1.5}"#).await;
    assert!(text.starts_with("invalid type: number `1.5`, expected "), "{text}");
    for line in ["[1]", "1", "null", "[]", r#"{"series":1,"value":1}"#] {
        let (_, text) = detail("POST", "/timeseries/samples", "application/x-ndjson", line).await;
        assert!(
            text.contains(", expected ") && !text.contains("struct") && !text.contains("sequence"),
            "{line}: {text}"
        );
    }
}

#[tokio::test]
async fn an_empty_cursor_is_no_page_of_any_list() {
    let app = TestApp::spawn().await;
    for path in [
        "/cache",
        "/timeseries",
        "/timeseries/a/range",
        "/locks",
        "/hosts",
        "/hosts/metrics/latest",
        "/users/a/activity",
        "/ratelimit/limiters/api/exceptions",
    ] {
        app.get(&format!("{path}?cursor=")).await.expect_violation(422, "invalid-query", "/cursor");
    }
}

#[test]
fn settings_without_sense_are_rejected_at_start() {
    const AUDIENCE: &str = "[[auth.jwt]]\nissuer = \"a\"\nalgorithm = \"HS256\"\nsecret_file = \"a\"\naudience = \"\"";
    const ORGANISATION: &str =
        "[[auth.jwt]]\nissuer = \"a\"\nalgorithm = \"HS256\"\nsecret_file = \"a\"\norganisation_claim = \"sub\"";
    for (setting, field) in [
        ("http.request_deadline = \"0s\"", "http.request_deadline"),
        ("http.header_timeout = \"0s\"", "http.header_timeout"),
        ("http.body_idle_timeout = \"0s\"", "http.body_idle_timeout"),
        ("http.body_limit = \"0B\"", "http.body_limit"),
        ("http.min_body_rate = \"0B\"", "http.min_body_rate"),
        ("http.shutdown_deadline = \"0s\"", "http.shutdown_deadline"),
        ("redis.command_timeout = \"0s\"", "redis.command_timeout"),
        ("redis.connect_timeout = \"0ms\"", "redis.connect_timeout"),
        ("redis.check_interval = \"0s\"", "redis.check_interval"),
        ("telemetry.export_interval = \"0s\"", "telemetry.export_interval"),
        ("telemetry.service_name = \"\"", "telemetry.service_name"),
        ("http.header_timeout = \"30500000w\"", "http.header_timeout"),
        ("http.body_limit = \"17179869183GiB\"", "http.body_limit"),
        ("http.max_connections = 9223372036854775807", "http.max_connections"),
        ("http.max_connections = -1", "http.max_connections"),
        ("http.workers = 1000000", "http.workers"),
        ("redis.pool_size = 9223372036854775807", "redis.pool_size"),
        ("redis.embedded.data_dir = \"\"", "redis.embedded.data_dir"),
        ("hosts.max_hosts = 9223372036854775807", "hosts.max_hosts"),
        ("cache.value_limit = \"0B\"", "cache.value_limit"),
        ("redis.command_timeout = \"3s\"", "redis.command_timeout"),
        ("http.request_deadline = \"400ms\"", "redis.command_timeout"),
        ("http.shutdown_deadline = \"9s\"", "pubsub.drain_spread"),
        ("http.cors_origins = [\"https://app.example.com:443\"]", "http.cors_origins"),
        ("alerts.interval = \"1ms\"", "alerts.interval"),
        ("redis.check_interval = \"1ms\"", "redis.check_interval"),
        ("hosts.batch_interval = \"1ms\"", "hosts.batch_interval"),
        ("hosts.cleanup_interval = \"1ms\"", "hosts.cleanup_interval"),
        (
            "timeseries.families = [{ prefix = \"a:*\", retention = \"1d\", labels = { b = \"c\" }, rest_label = \"b\" }]",
            "rest_label",
        ),
        (AUDIENCE, "auth.jwt[0].audience"),
        (ORGANISATION, "auth.jwt[0].organisation_claim"),
        ("log.level = \"warning\"", "log.level"),
        ("log.level = \"\"", "log.level"),
        ("log.level = \"info,hyper=verbose\"", "log.level"),
    ] {
        let config = Config::with_overrides(setting).expect("TOML");
        let error = check_config(&config).expect_err(setting).to_string();
        assert!(error.contains(field), "{setting}: {error}");
    }
    let variables = [("LOG_LEVEL".to_owned(), "warning".to_owned())];
    let error = check_config(&Config::load(None, variables).expect("loads")).expect_err("no level").to_string();
    assert!(error.contains("LOG_LEVEL") && error.contains("`warning`"), "{error}");
}

#[tokio::test]
async fn a_write_does_not_ignore_a_condition() {
    let app = TestApp::spawn().await;
    let json = ("content-type", "application/json");
    app.put("/timeseries/x", json!({})).await.expect(201);
    app.put("/json/a", json!({ "n": 1 })).await.expect(201);
    app.put("/cache/a", json!(1)).await.expect(201);
    for (name, value) in [("if-match", "\"0\""), ("if-none-match", "*")] {
        for (method, path, body) in [
            ("DELETE", "/timeseries/x", ""),
            ("POST", "/timeseries/x/samples", r#"{"samples":[{"value":1}]}"#),
            ("POST", "/cache/a/touch", r#"{"ttl_ms":1000}"#),
            ("POST", "/cache/a/increment", r#"{"by":1}"#),
            ("POST", "/json/a/touch", r#"{"ttl_ms":1000}"#),
            ("POST", "/locks/a", r#"{"ttl_ms":1000}"#),
        ] {
            let reply = app.send(method.parse().expect("a method"), path, &[json, (name, value)], body).await;
            let pointer = if name == "if-match" { "/If-Match" } else { "/If-None-Match" };
            reply.expect_violation(422, "invalid-header", pointer);
        }
    }
    assert_eq!(app.get("/cache/a").await.text(), "1");
    app.get("/timeseries/x").await.expect(200);
    // Where it is supported, it decides.
    let wrong = [json, ("if-match", "\"0\"")];
    app.send(Method::DELETE, "/cache/a", &wrong, "").await.expect(412);
    app.send(Method::POST, "/json/a/number/increment", &wrong, r#"{"path":"$.n","by":1}"#).await.expect(412);
}

#[tokio::test]
async fn a_value_that_is_none_of_the_names_is_refused_with_the_names() {
    let app = TestApp::spawn().await;
    for value in [json!(5), json!(true), json!([]), json!("x")] {
        let problem = app.put("/timeseries/x", json!({ "duplicate_policy": value })).await;
        let problem = problem.expect_violation(422, "invalid-body", "/duplicate_policy");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("`first`")), "{problem}");
        let strategy = json!({ "kind": value, "limit": 5, "window_ms": 1_000 });
        let problem =
            app.post("/ratelimit/check", json!({ "strategy": strategy, "key": "a" })).await.expect(422).json();
        assert!(value.is_array() || problem.to_string().contains("`sliding_window`"), "{problem}");
    }
}
