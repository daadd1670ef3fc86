//! Redis becomes unavailable and recovers: which errors callers get, how soon, and that the service recovers by itself.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gridtokenx_redis::redis::{Effect, FaultKind, Outcome, Redis, RedisFault};
use serde_json::json;

use crate::faults_keyspace::digest;
use crate::support::facade::{Stamp, get, increment, set};
use crate::support::{RedisServer, TestApp, eventually};

const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_millis(100);
/// The limit for an immediate result, with slack for a busy machine.
const IMMEDIATE: Duration = Duration::from_millis(40);

async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let output = call.await;
    (output, started.elapsed())
}

#[track_caller]
fn expect_fault<T: std::fmt::Debug>(result: Result<T, RedisFault>, kind: FaultKind, outcome: Outcome) -> RedisFault {
    let fault = result.expect_err("a fault");
    assert_eq!((fault.kind, fault.outcome), (kind, outcome), "{}", fault.with_causes());
    fault
}

/// Every kind of call fails immediately and has no effect.
async fn expect_unavailable(redis: &Redis) {
    for _ in 0..20 {
        let (read, read_took) = timed(get(redis, "a")).await;
        let (written, write_took) = timed(set(redis, "a", "b")).await;
        let (script, script_took) = timed(redis.call(Stamp::new(redis, "a").call())).await;
        let (connection, connection_took) = timed(redis.dedicated()).await;
        expect_fault(read, FaultKind::Unavailable, Outcome::NotApplied);
        expect_fault(written, FaultKind::Unavailable, Outcome::NotApplied);
        expect_fault(script, FaultKind::Unavailable, Outcome::NotApplied);
        expect_fault(connection, FaultKind::Unavailable, Outcome::NotApplied);
        for took in [read_took, write_took, script_took, connection_took] {
            assert!(took < IMMEDIATE, "the error took {took:?}");
        }
    }
}

/// Every kind of call works.
async fn expect_available(redis: &Redis) {
    set(redis, "a", "b").await.expect("a write");
    assert_eq!(get(redis, "a").await.expect("a read").as_deref(), Some("b"));
    let stamp = Stamp::new(redis, "stamped");
    assert!(stamp.owns(&redis.call(stamp.call()).await.expect("a script")));
    let mut connection = redis.dedicated().await.expect("a connection");
    let reply: String = connection.query(&redis::cmd("PING"), Effect::Read, SLACK).await.expect("a reply");
    assert_eq!(reply, "PONG");
}

#[tokio::test]
async fn scripts_are_loaded_again_after_redis_restarts_empty() {
    let app = TestApp::spawn().await;
    expect_available(app.state()).await;
    app.redis().kill();
    eventually("readiness turns 503", async || app.get("/health/ready").await.is(503)).await;
    expect_unavailable(app.state()).await;
    app.redis().boot();
    eventually("the service is ready again", async || app.get("/health/ready").await.is(200)).await;
    for _ in 0..50 {
        expect_available(app.state()).await;
    }
    let scripts = gridtokenx_redis::app::scripts();
    for script in scripts {
        let known: Vec<bool> = app.redis().command(&["SCRIPT", "EXISTS", script.sha()]);
        assert_eq!(known, [true], "{}", script.name);
    }
}

#[tokio::test]
async fn calls_to_a_frozen_redis_time_out_and_later_calls_fail_immediately() {
    let app = TestApp::spawn().await;
    let redis = app.state();
    app.redis().stall();
    let reads = (0..20).map(|_| timed(get(redis, "a")));
    let writes = (0..20).map(|_| timed(increment(redis, "n")));
    let (reads, writes) = tokio::join!(join_all(reads), join_all(writes));
    for (result, took) in reads {
        expect_fault(result, FaultKind::Timeout, Outcome::NotApplied);
        assert!(took < COMMAND_TIMEOUT + SLACK, "{took:?}");
    }
    for (result, took) in writes {
        expect_fault(result, FaultKind::Timeout, Outcome::Unknown);
        assert!(took < COMMAND_TIMEOUT + SLACK, "{took:?}");
    }
    eventually("the circuit breaker opens", async || app.get("/health/ready").await.is(503)).await;
    // Right after the loss, a call still waits for the first attempt to reconnect.
    let (_, took) = timed(get(redis, "a")).await;
    assert!(took < Duration::from_millis(50) + IMMEDIATE, "{took:?}");
    eventually("calls fail immediately", async || timed(get(redis, "a")).await.1 < Duration::from_millis(5)).await;
    expect_unavailable(redis).await;
    eventually("readiness states the reason", async || {
        let health = app.get("/health/ready").await;
        health.is(503) && health.text().contains("Redis cannot be reached")
    })
    .await;

    app.redis().resume();
    let resumed = Instant::now();
    eventually("calls succeed", async || get(redis, "a").await.is_ok()).await;
    assert!(resumed.elapsed() < Duration::from_secs(2), "{:?}", resumed.elapsed());
    eventually("the service is ready again", async || app.get("/health/ready").await.is(200)).await;
    expect_available(redis).await;
}

#[tokio::test]
async fn closed_and_stalled_connections_give_different_errors_and_both_recover() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    let redis = app.state();
    for _ in 0..3 {
        app.proxy().cut();
        eventually("the closed connection is noticed", async || get(redis, "a").await.is_err()).await;
        eventually("the circuit breaker opens", async || app.get("/health/ready").await.is(503)).await;
        expect_unavailable(redis).await;
        app.proxy().heal();
        eventually("the service is ready again", async || app.get("/health/ready").await.is(200)).await;
        expect_available(redis).await;

        app.proxy().stall();
        let (result, took) = timed(increment(redis, "n")).await;
        expect_fault(result, FaultKind::Timeout, Outcome::Unknown);
        assert!(took < COMMAND_TIMEOUT + SLACK, "{took:?}");
        app.proxy().heal();
        let healed = Instant::now();
        eventually("calls succeed", async || get(redis, "a").await.is_ok()).await;
        assert!(healed.elapsed() < Duration::from_secs(2), "{:?}", healed.elapsed());
        eventually("the service is ready again", async || app.get("/health/ready").await.is(200)).await;
        expect_available(redis).await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_within_a_reply_is_unavailable_and_not_an_internal_error() {
    // Health checks are off: the reply that is cut is the call's.
    let app = TestApp::builder().behind_proxy().config("redis.check_interval = \"1h\"").spawn().await;
    app.put("/json/a", json!({ "n": 1 })).await.expect(201);
    app.put("/cache/a", json!(1)).await.expect(201);
    app.put("/timeseries/a", json!({})).await.expect(201);
    let mut cut = 0;
    for (method, path, body) in [
        ("GET", "/cache/a", ""),
        ("GET", "/cache", ""),
        ("POST", "/cache/n/increment", "{}"),
        ("GET", "/json/a", ""),
        ("POST", "/json/a/number/increment", r#"{"path":"$.n","by":1}"#),
        ("GET", "/timeseries/a", ""),
        ("POST", "/timeseries/a/samples", r#"{"samples":[{"value":1}]}"#),
        ("POST", "/locks/a", r#"{"ttl_ms":60000}"#),
        ("GET", "/locks", ""),
        ("POST", "/ratelimit/reserve", r#"{"limiter":"authentication","key":"a"}"#),
    ] {
        // A read may be repeated, and the cut may meet a reply of a background task instead.
        for _ in 0..3 {
            eventually("Redis is available", async || app.get("/cache/a").await.is(200)).await;
            let before = digest(&app);
            app.proxy().cut_next_reply();
            let headers = [("content-type", "application/json")];
            let reply = app.send(method.parse().expect("a method"), path, &headers, body).await;
            if reply.is(503) {
                let outcome = reply.expect_problem(503, "redis-unavailable")["outcome"].clone();
                if outcome == "not_applied" {
                    // A read, or the reply to a background task was cut and the call found no connection.
                    assert_eq!(digest(&app), before, "{method} {path}");
                } else {
                    assert_eq!(outcome, "unknown", "{method} {path}");
                    cut += 1;
                }
            }
            assert!(!reply.is(500), "{method} {path}: {}", reply.text());
        }
    }
    assert!(cut > 5, "only {cut} replies were cut");
}

#[tokio::test]
async fn calls_wait_for_a_busy_redis_and_give_up_on_a_silent_one() {
    // Longer than any pause of a busy machine.
    const SILENCE_LIMIT: Duration = Duration::from_secs(1);
    // Health checks are off: the slow proxy would delay all other replies behind the long INFO reply.
    let config = "redis.command_timeout = \"20s\"\nhttp.request_deadline = \"20s\"\nredis.check_interval = \"1h\"";
    let app = TestApp::builder().behind_proxy().config(config).spawn().await;
    let redis = app.state();
    app.proxy().trickle();
    let call = async |nth: usize| {
        let stamp = Stamp::new(redis, &format!("stamp-{nth}"));
        stamp.owns(&redis.call_if_responsive(SILENCE_LIMIT, stamp.call()).await.expect("a reply in order"))
    };
    let (matched, took) = timed(join_all((0..200).map(call))).await;
    assert!(matched.into_iter().all(|matched| matched));
    assert!(took > SILENCE_LIMIT, "the last calls wait longer than the limit for a silent server: {took:?}");
    app.proxy().stall();
    let (result, took) = timed(redis.call_if_responsive(SILENCE_LIMIT, Stamp::new(redis, "a").call())).await;
    expect_fault(result, FaultKind::Timeout, Outcome::Unknown);
    assert!((SILENCE_LIMIT..Duration::from_secs(10)).contains(&took), "{took:?}");
    app.proxy().heal();
    // A call that gives up does not close the shared connection.
    let stamp = Stamp::new(redis, "b");
    assert!(stamp.owns(&redis.call(stamp.call()).await.expect("the same connection")));
}

#[tokio::test]
async fn late_timeouts_do_not_close_the_new_connection() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    let redis = app.state();
    app.proxy().strand();
    // The calls time out one after the other; only the first timeout may replace the connection.
    let late = join_all((0..10).map(|nth| async move {
        // The requests must arrive one after the other while the server is stalled.
        tokio::time::sleep(Duration::from_millis(nth * 20)).await;
        get(redis, "a").await.expect_err("a timeout")
    }));
    let id = async || redis.query::<i64>(redis::cmd("CLIENT").arg("ID"), Effect::Read).await;
    let first = async {
        // The test is about a command that has just missed its timeout.
        tokio::time::sleep(COMMAND_TIMEOUT + Duration::from_millis(10)).await;
        eventually("calls succeed", async || id().await.is_ok()).await;
        id().await.expect("an id")
    };
    let (_, id_then) = tokio::join!(late, first);
    let id_now = id().await.expect("an id");
    assert_eq!(id_then, id_now, "a call on the old connection closed the new one");
}

#[tokio::test]
async fn a_long_pipeline_lets_other_commands_run_in_between_and_ends_with_the_part_that_fails() {
    let app = TestApp::spawn().await;
    let redis = app.state();
    let keys: Vec<String> = (0..1_000).map(|n| format!("key-{n}")).collect();
    let write = |key: &String| redis::cmd("SET").arg(redis.keys().key(key)).arg("long").to_owned();
    let mut commands: Vec<redis::Cmd> = keys.iter().map(write).collect();
    let (results, other) = tokio::join!(redis.query_all(&commands, Effect::Write), set(redis, "key-999", "other"));
    assert!(results.expect("replies").into_iter().all(|result| result.is_ok()));
    other.expect("a write");
    let last = get(redis, "key-999").await.expect("a read");
    assert_eq!(last.as_deref(), Some("long"), "the other command ran before the last of the pipeline");

    let _: () = app.redis().command(&["FLUSHALL"]);
    // Redis closes the connection.
    commands[500] = redis::cmd("QUIT");
    let results = redis.query_all(&commands, Effect::Write).await.expect("replies to the first part");
    assert_eq!(results.len(), commands.len());
    eventually("the connection is made again", async || get(redis, "key-0").await.is_ok()).await;
    let mut outcomes = Vec::new();
    for (key, result) in keys.iter().zip(results) {
        let outcome = result.map(|_| ()).map_err(|fault| fault.outcome);
        let is_stored = get(redis, key).await.expect("a read").is_some();
        match outcome {
            Ok(()) => assert!(is_stored, "{key}"),
            Err(Outcome::NotApplied) => assert!(!is_stored, "{key}"),
            Err(outcome) => assert_eq!(outcome, Outcome::Unknown, "{key}"),
        }
        outcomes.push(outcome);
    }
    outcomes.dedup();
    assert_eq!(outcomes, [Ok(()), Err(Outcome::Unknown), Err(Outcome::NotApplied)]);
}

#[tokio::test]
async fn a_redis_that_starts_after_the_service_is_used() {
    let mut server = RedisServer::start();
    server.kill();
    let app = TestApp::builder().on(server).unready().spawn().await;
    app.get("/health/live").await.expect(200);
    let ready = app.get("/health/ready").await.expect(503).json();
    assert_eq!(ready["status"], "unavailable", "{ready}");
    assert_eq!(ready["redis"][0]["scripts"], "unknown", "{ready}");
    eventually("the circuit breaker opens", async || timed(get(app.state(), "a")).await.1 < Duration::from_millis(5))
        .await;
    expect_unavailable(app.state()).await;
    app.redis().boot();
    eventually("the service becomes ready", async || app.get("/health/ready").await.is(200)).await;
    expect_available(app.state()).await;
}

#[tokio::test]
async fn each_lane_has_its_own_connection_and_reconnects_independently() {
    let app = TestApp::builder().lanes(3).spawn().await;
    let redis = app.state();
    let id = async |lane: usize| -> i64 {
        gridtokenx_redis::redis::enter_lane(lane);
        redis.query(redis::cmd("CLIENT").arg("ID"), Effect::Read).await.expect("an id")
    };
    let first = [id(0).await, id(1).await, id(2).await];
    assert_eq!(first, [id(0).await, id(1).await, id(2).await]);
    assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2], "{first:?}");
    let killed: i64 = app.redis().command(&["CLIENT", "KILL", "ID", &first[1].to_string()]);
    assert_eq!(killed, 1);
    // No read fails on any lane.
    assert_ne!(id(1).await, first[1]);
    assert_eq!([id(0).await, id(2).await], [first[0], first[2]]);
}
