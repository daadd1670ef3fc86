//! Limits while Redis is unavailable, slow, or has lost its data.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::limits::{check, limiter};
use crate::support::{Exposition, Reply, TestApp, eventually};

/// An open and a closed limiter of 8 a minute.
fn both() -> String {
    let gcra = "strategy = { kind = \"gcra\", limit = 8, period = \"1m\" }";
    let open = limiter("open", &format!("{gcra}\nwithout_redis = \"open\""));
    let closed = limiter("closed", &format!("{gcra}\nwithout_redis = \"closed\""));
    format!("ratelimit.instances = 2\n{open}{closed}")
}

async fn request_check(app: &TestApp, limiter: &str, key: &str) -> Reply {
    app.post("/ratelimit/check", json!({ "limiter": limiter, "key": key })).await
}

#[track_caller]
fn assert_closed(reply: &Reply) {
    let problem = reply.expect_problem(503, "redis-unavailable");
    assert!(problem["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{problem}");
    assert!(reply.header("retry-after").is_some(), "{problem}");
}

#[tokio::test]
async fn a_closed_limiter_answers_503_without_redis() {
    let app = TestApp::builder().config(&both()).behind_proxy().spawn().await;
    app.proxy().cut();
    eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
    assert_closed(&request_check(&app, "closed", "k").await);
    assert_closed(&app.post("/ratelimit/enforce", json!({ "limiter": "closed", "key": "k" })).await);
    assert_closed(&app.get("/ratelimit/closed/k").await);
    // A closed limiter fails the whole call.
    let mixed = json!({ "checks": [{ "limiter": "open", "key": "k" }, { "limiter": "closed", "key": "k" }] });
    assert_closed(&app.post("/ratelimit/check-all", mixed).await);
    app.proxy().heal();
    eventually("checks succeed again", async || request_check(&app, "closed", "k").await.is(200)).await;
    assert_eq!(check(&app, "open", "k").await["remaining"], 7);
}

#[tokio::test]
async fn an_open_limiter_admits_its_replicas_share_without_redis() {
    let app = TestApp::builder().config(&both()).behind_proxy().spawn().await;
    app.proxy().cut();
    eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
    for left in (0..4).rev() {
        let answer = check(&app, "open", "k").await;
        assert_eq!(
            answer,
            json!({ "allowed": true, "limit": 4, "remaining": left, "reset_ms": 60_000, "retry_after_ms": 0,
                    "degraded": true })
        );
    }
    let refused = app.post("/ratelimit/enforce", json!({ "limiter": "open", "key": "k" })).await;
    assert_eq!(refused.expect_problem(429, "rate-limited")["retry_after_ms"], 60_000);
    assert_eq!(app.get("/ratelimit/open/k").await.expect(200).json()["remaining"], 0);
    app.clock().advance(Duration::from_secs(60));
    assert_eq!(check(&app, "open", "k").await["allowed"], true);
    let stats = app.get("/ratelimit/stats").await.json();
    let open = stats["limiters"].as_array().and_then(|all| all.iter().find(|one| one["limiter"] == "open")).cloned();
    assert_eq!(open.expect("counted")["degraded"], 6, "{stats}");
    let all = json!({ "checks": [{ "limiter": "open", "key": "a", "cost": 4 }, { "limiter": "open", "key": "b" }] });
    let first = app.post("/ratelimit/check-all", all.clone()).await.expect(200).json();
    assert_eq!((&first["allowed"], &first["results"][1]["degraded"]), (&json!(true), &json!(true)), "{first}");
    let second = app.post("/ratelimit/check-all", all).await.expect(200).json();
    assert_eq!((&second["allowed"], &second["results"][1]["remaining"]), (&json!(false), &json!(3)), "{second}");
    app.proxy().heal();
    eventually("limits are counted in Redis again", async || check(&app, "open", "k").await["degraded"] == false).await;
}

#[tokio::test]
async fn open_limiters_do_not_wait_for_a_stopped_redis() {
    let config = format!("ratelimit.open_timeout = \"5ms\"\n{}", both());
    let app = TestApp::builder().config(&config).system_clock().spawn().await;
    eventually("limits are counted in Redis", async || check(&app, "open", "k").await["degraded"] == false).await;
    app.redis().stall();
    let mut waits: Vec<Duration> = Vec::new();
    for nth in 0..300 {
        let started = Instant::now();
        let answer = check(&app, "open", &format!("key-{nth}")).await;
        assert_eq!((&answer["degraded"], &answer["allowed"]), (&json!(true), &json!(true)));
        waits.push(started.elapsed());
    }
    let (before_detection, after_detection) = waits.split_at_mut(50);
    for waits in [before_detection, after_detection] {
        waits.sort();
        // A busy machine may delay some of the calls.
        assert!(waits[waits.len() / 4] < Duration::from_millis(10), "{waits:?}");
    }
    assert_closed(&request_check(&app, "closed", "k").await);
    app.redis().resume();
    eventually("limits are counted in Redis again", async || check(&app, "open", "k").await["degraded"] == false).await;
}

#[tokio::test]
async fn at_most_twice_the_limit_is_admitted_around_an_outage() {
    let app = TestApp::builder().config(&both()).behind_proxy().spawn().await;
    let beside = TestApp::builder().config(&both()).behind_proxy().beside(&app).spawn().await;
    let replicas = [&app, &beside];
    let admitted = async |calls: usize| {
        let mut admitted = 0;
        for nth in 0..calls {
            admitted += u64::from(check(replicas[nth % 2], "open", "k").await["allowed"] == true);
        }
        admitted
    };
    assert_eq!(admitted(8).await, 8);
    for replica in replicas {
        replica.proxy().cut();
        eventually("the breaker is open", async || replica.get("/health/ready").await.is(503)).await;
    }
    assert_eq!(admitted(80).await, 8);
}

#[tokio::test]
async fn checks_continue_after_script_flush_and_flushall() {
    let app = TestApp::builder().config(&both()).spawn().await;
    assert_eq!(check(&app, "closed", "k").await["remaining"], 7);
    let _: String = app.redis().command(&["SCRIPT", "FLUSH"]);
    assert_eq!(check(&app, "closed", "k").await["remaining"], 6);
    let _: String = app.redis().command(&["FLUSHALL"]);
    assert_eq!(check(&app, "closed", "k").await["remaining"], 7);
}

#[tokio::test]
async fn checks_continue_after_a_restart_of_redis() {
    let app = TestApp::builder().config(&both()).spawn().await;
    check(&app, "closed", "k").await;
    app.redis().kill();
    eventually("the loss is noticed", async || app.get("/health/ready").await.is(503)).await;
    assert_closed(&request_check(&app, "closed", "k").await);
    assert_eq!(check(&app, "open", "k").await["degraded"], true);
    app.redis().boot();
    eventually("checks succeed again", async || request_check(&app, "closed", "k").await.is(200)).await;
    eventually("open limits are counted in Redis again", async || check(&app, "open", "k").await["degraded"] == false)
        .await;
}

#[tokio::test]
async fn a_full_redis_fails_closed_limits_and_degrades_open_limits() {
    let app = TestApp::builder().config(&both()).spawn().await;
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    request_check(&app, "closed", "k").await.expect_problem(507, "redis-out-of-memory");
    assert_eq!(check(&app, "open", "k").await["degraded"], true);
    // A peek writes nothing.
    app.get("/ratelimit/closed/k").await.expect(200);
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(check(&app, "open", "k").await["degraded"], false);
}

#[tokio::test]
async fn a_value_of_another_type_under_the_key_is_reported() {
    let app = TestApp::builder().config(&both()).spawn().await;
    let _: i64 = app.redis().command(&["LPUSH", "rate_limit:open:k", "x"]);
    let _: i64 = app.redis().command(&["LPUSH", "rate_limit:closed:k", "x"]);
    assert_eq!(check(&app, "open", "k").await["degraded"], true);
    request_check(&app, "closed", "k").await.expect_problem(409, "wrong-type");
}

#[tokio::test]
async fn an_open_limiter_is_decided_without_redis_whatever_redis_says() {
    let settings = "strategy = { kind = \"fixed_window\", limit = 8, window = \"1m\" }\nreservations = \"30s\"";
    let reserving = limiter("reserving", &format!("{settings}\nwithout_redis = \"open\""));
    // The test changes the permissions of the default user.
    let app = TestApp::builder().redis_options(&["--save", ""]).config(&format!("{}{reserving}", both())).spawn().await;
    let all = json!({ "checks": [{ "limiter": "open", "key": "a" }, { "limiter": "open", "key": "b" }] });
    // Refused as a whole, and in the middle of a script.
    for denied in [["-evalsha", "+evalsha"], ["-get", "+get"], ["-set", "+set"]] {
        let _: String = app.redis().command(&["ACL", "SETUSER", "default", denied[0]]);
        assert_eq!(check(&app, "open", "k").await["degraded"], true, "{denied:?}");
        app.post("/ratelimit/enforce", json!({ "limiter": "open", "key": "e" })).await.expect(204);
        let several = app.post("/ratelimit/check-all", all.clone()).await.expect(200).json();
        assert_eq!(several["results"][1]["degraded"], true, "{denied:?}: {several}");
        request_check(&app, "closed", "k").await.expect_problem(503, "redis-denied");
        let _: String = app.redis().command(&["ACL", "SETUSER", "default", denied[1]]);
        assert_eq!(check(&app, "open", "k").await["degraded"], false, "{denied:?}");
    }
    // The script fails.
    let _: i64 = app.redis().command(&["HSET", "rate_limit:reserved:{rate_limit:reserving:k}", "first", "x"]);
    assert_eq!(check(&app, "reserving", "k").await["degraded"], true);
}

/// Asks an open limiter on each route, without and with an `Idempotency-Key`, and a closed one with a key.
async fn assert_open(app: &TestApp, fault: &str) {
    let check = json!({ "limiter": "open", "key": "k" });
    let descriptor = json!({ "domain": "d", "descriptors": [{ "entries": [{ "key": "user", "value": "u" }] }] });
    for (path, body, status) in [
        ("/ratelimit/check", check.clone(), 200),
        ("/ratelimit/check-all", json!({ "checks": [check.clone()] }), 200),
        ("/ratelimit/enforce", check, 204),
        ("/json", descriptor, 200),
    ] {
        for key in [None, Some(format!("{fault}{path}"))] {
            let key = key.as_deref().map(|key| ("idempotency-key", key));
            let headers: Vec<(&str, &str)> = key.into_iter().chain([("content-type", "application/json")]).collect();
            let reply = app.send(Method::POST, path, &headers, Body::from(body.to_string())).await;
            assert!(reply.is(status), "{fault} {path} {key:?}: {}", reply.text());
            let is_degraded = path != "/ratelimit/check" || reply.json()["degraded"] == true;
            assert!(is_degraded, "{fault} {key:?}: {}", reply.text());
        }
    }
    let closed = json!({ "limiter": "closed", "key": "k" }).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", fault)];
    let reply = app.send(Method::POST, "/ratelimit/check", &headers, Body::from(closed)).await;
    assert!([503, 504, 507].contains(&reply.status.as_u16()), "{fault}: {}", reply.text());
}

#[tokio::test]
async fn an_open_limiter_is_decided_without_redis_also_with_an_idempotency_key() {
    let envoy = "ratelimit.envoy = [{ domain = \"d\", entries = [{ key = \"user\" }], limiter = \"open\" }]\n";
    let large = both().replacen("limit = 8", "limit = 800", 1);
    // The test changes the permissions of the default user.
    let app = TestApp::builder().redis_options(&["--save", ""]).config(&format!("{envoy}{large}")).spawn().await;
    for (begin, end) in [
        (["CONFIG", "SET", "maxmemory", "1"].as_slice(), ["CONFIG", "SET", "maxmemory", "0"].as_slice()),
        (&["CONFIG", "SET", "min-replicas-to-write", "1"], &["CONFIG", "SET", "min-replicas-to-write", "0"]),
        (&["ACL", "SETUSER", "default", "-evalsha"], &["ACL", "SETUSER", "default", "+evalsha"]),
        (&["CLIENT", "PAUSE", "60000", "WRITE"], &["CLIENT", "UNPAUSE"]),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
    ] {
        let _: String = app.redis().command(begin);
        assert_open(&app, begin[1]).await;
        let _: String = app.redis().command(end);
        eventually("limits are counted in Redis again", async || check(&app, "open", "k").await["degraded"] == false)
            .await;
    }
}

#[tokio::test]
async fn open_limiters_are_decided_after_the_password_changed() {
    let app = TestApp::builder().redis_options(&["--save", ""]).config(&both()).spawn().await;
    let mut own = app.redis().connect().expect("a connection");
    let mut run = |parts: &[&str]| redis::cmd(parts[0]).arg(&parts[1..]).exec(&mut own).expect("done");
    run(&["ACL", "SETUSER", "default", "resetpass", ">changed"]);
    run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    eventually("Redis denies access", async || app.get("/health/ready").await.is(503)).await;
    for _ in 0..3 {
        assert_eq!(check(&app, "open", "k").await["degraded"], true);
    }
    let headers = [("content-type", "application/json"), ("idempotency-key", "one")];
    let body = json!({ "limiter": "open", "key": "k" }).to_string();
    app.send(Method::POST, "/ratelimit/check", &headers, Body::from(body)).await.expect(200);
    assert!(request_check(&app, "closed", "k").await.is(503));
    run(&["ACL", "SETUSER", "default", "nopass"]);
    eventually("limits are counted in Redis again", async || check(&app, "open", "k").await["degraded"] == false).await;
}

#[tokio::test]
async fn two_replicas_share_each_limit() {
    let strategy = "strategy = { kind = \"fixed_window\", limit = 50, calendar = \"day\", zone = \"Asia/Bangkok\" }";
    let config = format!("{}{}", both(), limiter("day", &format!("{strategy}\nwithout_redis = \"closed\"")));
    let one = TestApp::builder().config(&config).system_clock().spawn().await;
    let two = TestApp::builder().config(&config).system_clock().beside(&one).spawn().await;
    for limiter in ["closed", "day"] {
        let limit = check(&one, limiter, "seen").await["limit"].as_u64().expect("a number");
        let calls = (0..2 * limit).map(|nth| {
            let app = if nth % 2 == 0 { &one } else { &two };
            async move { check(app, limiter, "k").await["allowed"] == true }
        });
        let admitted = join_all(calls).await.into_iter().filter(|allowed| *allowed).count();
        assert_eq!(admitted as u64, limit, "{limiter}");
    }
}

#[tokio::test]
async fn a_repeated_call_with_an_idempotency_key_takes_once() {
    let app = TestApp::spawn().await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "one")];
    let body = json!({ "limiter": "orders", "key": "k", "cost": 3 }).to_string();
    let mut answers: [Value; 2] = [
        app.send(Method::POST, "/ratelimit/check", &headers, Body::from(body.clone())).await.expect(200).json(),
        app.send(Method::POST, "/ratelimit/check", &headers, Body::from(body)).await.expect(200).json(),
    ];
    // The time until the reset counts down.
    let resets = answers.each_mut().map(|answer| answer["reset_ms"].take().as_u64());
    assert!(resets[0] == Some(60_000) && resets[1] <= resets[0], "{resets:?}");
    assert_eq!(answers[0], answers[1]);
    assert_eq!(app.get("/ratelimit/orders/k").await.json()["remaining"], 7);
}

#[tokio::test]
async fn memory_is_bounded_while_redis_is_unavailable() {
    let config = format!("ratelimit.local_keys = 1000\n{}", both());
    let app = TestApp::builder().config(&config).behind_proxy().spawn().await;
    app.proxy().cut();
    eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
    let check_keys = async |calls: std::ops::Range<u32>| {
        for call in calls {
            let checks: Vec<Value> =
                (0..100).map(|nth| json!({ "limiter": "open", "key": format!("client-{call}-{nth}") })).collect();
            let answer = app.post("/ratelimit/check-all", json!({ "checks": checks })).await.expect(200).json();
            assert_eq!((&answer["allowed"], &answer["results"][99]["degraded"]), (&json!(true), &json!(true)));
        }
    };
    let resident = async || {
        let metrics = Exposition::parse(&app.get("/metrics").await.expect(200).text());
        metrics.value("process_resident_memory_bytes", &[])
    };
    check_keys(0..200).await;
    let before = resident().await;
    // A table of 200,000 more keys would need at least 10 MB.
    check_keys(200..2_200).await;
    let grown = resident().await - before;
    assert!(grown < 5e6, "{grown} bytes more for 200,000 keys");
}
