use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::Response;
use serde_json::json;

use super::source::{HttpSource, reply};
use super::{ON_DEMAND, http_task, run};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn a_part_of_a_key_cannot_leave_its_place_in_the_url() {
    let source = HttpSource::start(|_, _| async { reply(200, "1") }).await;
    let app = TestApp::builder().config(&http_task(&source.url(), ON_DEMAND)).spawn().await;
    for part in ["a%2F..%2Fadmin", "a%3Fx=1", "a%23b", "%252e%252e"] {
        app.get(&format!("/warming/values/market:rate:{part}")).await.expect(200);
    }
    assert_eq!(source.paths(), ["/rates/a%2F..%2Fadmin", "/rates/a%3Fx%3D1", "/rates/a%23b", "/rates/%252e%252e"]);
    app.get("/warming/values/market:rate:..").await.expect_problem(502, "warming-source-failed");
    assert_eq!(source.requests(), 4);
}

#[tokio::test]
async fn redirects_and_private_addresses_are_not_followed() {
    let target = HttpSource::start(|_, _| async { reply(200, "\"secret\"") }).await;
    let location = target.url();
    let source =
        HttpSource::start(move |_, _| {
            let location = location.clone();
            async move {
                Response::builder().status(302).header("location", location).body(Body::empty()).expect("a response")
            }
        })
        .await;
    let app = TestApp::builder().config(&http_task(&source.url(), ON_DEMAND)).spawn().await;
    let problem = app.get("/warming/values/market:rate:a").await.expect_problem(502, "warming-source-failed");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("redirects (302)")), "{problem}");
    assert_eq!(target.requests(), 0);
    // The same host without the permission for private addresses: no connection is made.
    let config = http_task(&target.url(), ON_DEMAND).replace("allow_private = [\"127.0.0.0/8\"]", "allow_private = []");
    let app = TestApp::builder().config(&config).spawn().await;
    let problem = app.get("/warming/values/market:rate:a").await.expect_problem(502, "warming-source-failed");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("not public")), "{problem}");
    let config = config.replace("127.0.0.1", "localhost");
    let app = TestApp::builder().config(&config).spawn().await;
    app.get("/warming/values/market:rate:a").await.expect_problem(502, "warming-source-failed");
    assert_eq!(target.requests(), 0);
}

#[tokio::test]
async fn a_failing_source_leaves_what_is_cached_and_is_left_alone() {
    let fails = Arc::new(AtomicBool::new(false));
    let inner = Arc::clone(&fails);
    let source = HttpSource::start(move |_, _| {
        let fails = inner.load(Ordering::SeqCst);
        async move { if fails { reply(500, "{}") } else { reply(200, "1") } }
    })
    .await;
    let task = format!("{ON_DEMAND}keys = [\"market:rate:a\", \"market:rate:b\"]\nattempts = 2\n");
    let app = TestApp::builder().config(&http_task(&source.url(), &task)).spawn().await;
    assert_eq!(run(&app, "rates", json!({})).await["new"], 2);
    fails.store(true, Ordering::SeqCst);
    let record = run(&app, "rates", json!({})).await;
    assert_eq!((&record["result"], &record["failed"], &record["attempts"]), (&json!("failed"), &json!(2), &json!(3)));
    assert_eq!(record["keys"], json!(["market:rate:a", "market:rate:b"]));
    assert_eq!(app.get("/cache/market:rate:a").await.expect(200).text(), "1");
    for nth in 0..5 {
        app.get(&format!("/warming/values/market:rate:c{nth}")).await.expect_problem(502, "warming-source-failed");
    }
    let asked = source.requests();
    app.get("/warming/values/market:rate:d").await.expect_problem(502, "warming-source-failed");
    assert_eq!(source.requests(), asked, "the source is left alone");
    // The service itself is ready.
    app.get("/health/ready").await.expect(200);
    fails.store(false, Ordering::SeqCst);
    app.clock().advance(std::time::Duration::from_secs(31));
    app.get("/warming/values/market:rate:d").await.expect(200);
}

#[tokio::test]
async fn a_tenth_of_faults_costs_few_values() {
    let source =
        HttpSource::start(|nth, _| async move { if nth % 10 == 3 { reply(503, "{}") } else { reply(200, "1") } }).await;
    let keys: Vec<String> = (0..300).map(|nth| format!("market:rate:{nth}")).collect();
    let task = format!("{ON_DEMAND}keys = {}\n", json!(keys));
    let app = TestApp::builder().config(&http_task(&source.url(), &task)).spawn().await;
    let record = run(&app, "rates", json!({})).await;
    let new = record["new"].as_u64().expect("a number");
    assert!(new * 100 > 95 * 300, "{record}");
}

#[tokio::test]
async fn a_value_that_the_source_has_not_changed_lives_on() {
    let source = HttpSource::start(|_, request| async move {
        if request.headers().get("if-none-match").is_some_and(|tag| tag == "\"v1\"") {
            return Response::builder().status(304).body(Body::empty()).expect("a response");
        }
        let mut response = reply(200, "{\"big\":true}");
        response.headers_mut().insert("etag", "\"v1\"".parse().expect("a header"));
        response
    })
    .await;
    let task = format!("{ON_DEMAND}keys = [\"market:rate:a\"]\n");
    let app = TestApp::builder().config(&http_task(&source.url(), &task)).spawn().await;
    assert_eq!(run(&app, "rates", json!({})).await["new"], 1);
    for _ in 0..2 {
        app.redis().command::<i64>(&["PEXPIRE", "cache:market:rate:a", "5000"]);
        let record = run(&app, "rates", json!({})).await;
        assert_eq!((&record["unchanged"], &record["bytes"]), (&json!(1), &json!(0)), "{record}");
        assert!(app.redis().command::<i64>(&["PTTL", "cache:market:rate:a"]) > 500_000);
    }
    // A value that a client has written since is not confirmed by the tag of another one.
    app.put("/cache/market:rate:a", json!({ "other": 1 })).await;
    assert_eq!(run(&app, "rates", json!({})).await["changed"], 1);
}

#[tokio::test]
async fn a_value_that_the_source_confirms_gets_the_tags_of_its_task() {
    let source = HttpSource::start(|_, request| async move {
        let is_known = request.headers().contains_key("if-none-match");
        let mut response = reply(if is_known { 304 } else { 200 }, if is_known { "" } else { "{\"a\":1}" });
        response.headers_mut().insert("etag", "\"v1\"".parse().expect("a header"));
        response
    })
    .await;
    let config = |tags: &str| http_task(&source.url(), &format!("{ON_DEMAND}keys = [\"market:rate:a\"]\n{tags}"));
    let before = TestApp::builder().config(&config("")).spawn().await;
    assert_eq!(run(&before, "rates", json!({})).await["new"], 1);
    let app = TestApp::builder().config(&config("tags = [\"rates\"]\n")).beside(&before).spawn().await;
    assert_eq!(run(&app, "rates", json!({})).await["unchanged"], 1);
    assert_eq!(app.get("/cache/market:rate:a").await.expect(200).text(), "{\"a\":1}");
    app.delete("/cache/tags/rates").await.expect(204);
    app.get("/cache/market:rate:a").await.expect_problem(404, "cache-miss");
}

#[tokio::test]
async fn bodies_have_a_limit_and_must_be_json() {
    let source = HttpSource::start(|_, request| async move {
        match request.uri().path() {
            "/rates/large" => reply(200, vec![b'1'; 2 << 20]),
            "/rates/text" => reply(200, "<html>"),
            _ => {
                let mut response = reply(200, "1");
                response.headers_mut().insert("cache-control", "no-store".parse().expect("a header"));
                response
            }
        }
    })
    .await;
    let app = TestApp::builder().config(&http_task(&source.url(), ON_DEMAND)).spawn().await;
    for part in ["large", "text", "private"] {
        app.get(&format!("/warming/values/market:rate:{part}")).await.expect_problem(502, "warming-source-failed");
        app.get(&format!("/cache/market:rate:{part}")).await.expect(404);
    }
}

#[tokio::test]
async fn a_source_that_is_away_at_the_start_is_asked_again() {
    let source = HttpSource::start(|_, _| async { reply(200, "1") }).await;
    let away = http_task(
        "http://127.0.0.1:1",
        "strategy = { kind = \"startup\" }\nkeys = [\"market:rate:a\"]\nattempts = 1\n",
    );
    let app = TestApp::builder().config(&away).spawn().await;
    eventually("the first run has failed", async || {
        app.get("/warming/tasks/rates").await.json()["last_result"] == "failed"
    })
    .await;
    app.get("/health/ready").await.expect(200);
    let back = http_task(&source.url(), "strategy = { kind = \"startup\" }\nkeys = [\"market:rate:a\"]\n");
    let other = TestApp::builder().config(&back).beside(&app).spawn().await;
    other.clock().advance(std::time::Duration::from_secs(31));
    eventually("the next run succeeds", async || other.get("/cache/market:rate:a").await.is(200)).await;
}

#[tokio::test]
async fn wrong_sources_are_refused_at_the_start() {
    let refused = |text: &str| {
        let text = format!("redis.url = \"redis://127.0.0.1:1\"\n{text}");
        let config = gridtokenx_redis::config::Config::with_overrides(&text).expect("TOML");
        let clock = gridtokenx_redis::clock::Clock::System;
        gridtokenx_redis::app::App::build(config, clock, 1).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let source = |text: &str| format!("warming.tasks = []\n[[warming.sources]]\nname = \"s\"\n{text}");
    for (text, reason) in [
        (source("kind = \"http\"\nurl = \"http://10.0.0.1/\""), "warming.http.allow"),
        (source("kind = \"computed\"\nfunction = \"os.exec\""), "book.top"),
        (source("kind = \"computed\"\nfunction = \"book.top\"\narguments = { path = \"x\" }"), "unknown argument"),
        (source("kind = \"literal\"\nfile = \"/nonexistent\""), "cannot be read"),
        ("warming.http.allow = [\"https://example.org\"]".to_owned(), "warming.http.allow[0]"),
        ("warming.http.allow_private = [\"10.0.0.0\"]".to_owned(), "warming.http.allow_private"),
        ("warming.database.url_file = \"/nonexistent\"".to_owned(), "warming.database.url_file"),
        ("warming.sources = []".to_owned(), "must be the name of a source"),
        ("warming.cpu_share = 2.0".to_owned(), "warming.cpu_share"),
    ] {
        let error = refused(&text);
        assert!(error.contains(reason), "{text}: {error}");
    }
}
