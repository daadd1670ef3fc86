//! Redis goes away and comes back: what callers of the facade are told, how soon, and that it mends itself.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gridtokenx_redis::redis::{Effect, FaultKind, Outcome, Redis, RedisFault};

use crate::support::facade::{Stamp, get, increment, set};
use crate::support::{RedisServer, TestApp, eventually};

const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_millis(100);
/// What "at once" means on a machine with other work to do.
const AT_ONCE: Duration = Duration::from_millis(40);

async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let answer = call.await;
    (answer, started.elapsed())
}

#[track_caller]
fn expect_fault<T: std::fmt::Debug>(answer: Result<T, RedisFault>, kind: FaultKind, outcome: Outcome) -> RedisFault {
    let fault = answer.expect_err("a fault");
    assert_eq!((fault.kind, fault.outcome), (kind, outcome), "{}", fault.with_causes());
    fault
}

/// Every way of asking is refused, at once, and nothing was done.
async fn expect_refusals(redis: &Redis) {
    for _ in 0..20 {
        let (read, read_took) = timed(get(redis, "a")).await;
        let (written, write_took) = timed(set(redis, "a", "b")).await;
        let (called, call_took) = timed(redis.call(Stamp::new(redis, "a").call())).await;
        let (own, own_took) = timed(redis.dedicated()).await;
        expect_fault(read, FaultKind::Unavailable, Outcome::NotApplied);
        expect_fault(written, FaultKind::Unavailable, Outcome::NotApplied);
        expect_fault(called, FaultKind::Unavailable, Outcome::NotApplied);
        expect_fault(own, FaultKind::Unavailable, Outcome::NotApplied);
        for took in [read_took, write_took, call_took, own_took] {
            assert!(took < AT_ONCE, "a refusal took {took:?}");
        }
    }
}

/// Every way of asking works.
async fn expect_service(redis: &Redis) {
    set(redis, "a", "b").await.expect("a write");
    assert_eq!(get(redis, "a").await.expect("a read").as_deref(), Some("b"));
    let stamp = Stamp::new(redis, "stamped");
    assert!(stamp.owns(&redis.call(stamp.call()).await.expect("a script")));
    let mut own = redis.dedicated().await.expect("a connection");
    let answer: String = own.query(&redis::cmd("PING"), Effect::Read, SLACK).await.expect("an answer");
    assert_eq!(answer, "PONG");
}

#[tokio::test]
async fn a_redis_killed_and_restarted_empty_serves_again_with_its_scripts() {
    let app = TestApp::spawn().await;
    expect_service(app.state()).await;
    app.redis().kill();
    eventually("readiness turns 503", async || app.get("/health/ready").await.is(503)).await;
    expect_refusals(app.state()).await;
    app.redis().boot();
    eventually("readiness comes back", async || app.get("/health/ready").await.is(200)).await;
    for _ in 0..50 {
        expect_service(app.state()).await;
    }
    let scripts = gridtokenx_redis::app::scripts();
    for script in scripts {
        let known: Vec<bool> = app.redis().command(&["SCRIPT", "EXISTS", script.sha()]);
        assert_eq!(known, [true], "{}", script.name);
    }
}

#[tokio::test]
async fn a_frozen_redis_costs_each_call_its_limit_and_the_next_ones_nothing() {
    let app = TestApp::spawn().await;
    let redis = app.state();
    app.redis().stall();
    let reads = (0..20).map(|_| timed(get(redis, "a")));
    let writes = (0..20).map(|_| timed(increment(redis, "n")));
    let (reads, writes) = tokio::join!(join_all(reads), join_all(writes));
    for (answer, took) in reads {
        expect_fault(answer, FaultKind::Timeout, Outcome::NotApplied);
        assert!(took < COMMAND_TIMEOUT + SLACK, "{took:?}");
    }
    for (answer, took) in writes {
        expect_fault(answer, FaultKind::Timeout, Outcome::Unknown);
        assert!(took < COMMAND_TIMEOUT + SLACK, "{took:?}");
    }
    eventually("the breaker knows", async || app.get("/health/ready").await.is(503)).await;
    // Longest after the loss is the pause in which a fresh attempt to connect might still succeed.
    let (_, took) = timed(get(redis, "a")).await;
    assert!(took < Duration::from_millis(50) + AT_ONCE, "{took:?}");
    eventually("nobody waits", async || timed(get(redis, "a")).await.1 < Duration::from_millis(5)).await;
    expect_refusals(redis).await;
    eventually("readiness says why", async || {
        let health = app.get("/health/ready").await;
        health.is(503) && health.text().contains("Redis cannot be reached")
    })
    .await;

    app.redis().resume();
    let resumed = Instant::now();
    eventually("calls are answered", async || get(redis, "a").await.is_ok()).await;
    assert!(resumed.elapsed() < Duration::from_secs(2), "{:?}", resumed.elapsed());
    eventually("readiness comes back", async || app.get("/health/ready").await.is(200)).await;
    expect_service(redis).await;
}

#[tokio::test]
async fn a_cut_and_a_stalled_road_are_told_apart_and_both_heal() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    let redis = app.state();
    for _ in 0..3 {
        app.proxy().cut();
        eventually("the cut is noticed", async || get(redis, "a").await.is_err()).await;
        eventually("the breaker knows", async || app.get("/health/ready").await.is(503)).await;
        expect_refusals(redis).await;
        app.proxy().heal();
        eventually("the service is back", async || app.get("/health/ready").await.is(200)).await;
        expect_service(redis).await;

        app.proxy().stall();
        let (answer, took) = timed(increment(redis, "n")).await;
        expect_fault(answer, FaultKind::Timeout, Outcome::Unknown);
        assert!(took < COMMAND_TIMEOUT + SLACK, "{took:?}");
        app.proxy().heal();
        let healed = Instant::now();
        eventually("calls are answered", async || get(redis, "a").await.is_ok()).await;
        assert!(healed.elapsed() < Duration::from_secs(2), "{:?}", healed.elapsed());
        eventually("the service is back", async || app.get("/health/ready").await.is(200)).await;
        expect_service(redis).await;
    }
}

#[tokio::test]
async fn a_busy_redis_is_waited_for_and_a_silent_one_given_up() {
    const PATIENCE: Duration = Duration::from_millis(150);
    // The check's answer is long: passed on in pieces it would be a silence.
    let config = "redis.command_timeout = \"20s\"\nredis.check_interval = \"1h\"";
    let app = TestApp::builder().behind_proxy().config(config).spawn().await;
    let redis = app.state();
    app.proxy().trickle();
    let ask = async |nth: usize| {
        let stamp = Stamp::new(redis, &format!("stamp-{nth}"));
        stamp.owns(&redis.call_if_responsive(PATIENCE, stamp.call()).await.expect("an answer in its turn"))
    };
    let (own, took) = timed(join_all((0..200).map(ask))).await;
    assert!(own.into_iter().all(|own| own));
    assert!(took > 2 * PATIENCE, "the last ones waited for longer than they would for a silent server: {took:?}");
    app.proxy().stall();
    let (answer, took) = timed(redis.call_if_responsive(PATIENCE, Stamp::new(redis, "a").call())).await;
    expect_fault(answer, FaultKind::Timeout, Outcome::Unknown);
    assert!((PATIENCE..Duration::from_secs(10)).contains(&took), "{took:?}");
    app.proxy().heal();
    // Who gave up has not condemned the connection for everybody else.
    let stamp = Stamp::new(redis, "b");
    assert!(stamp.owns(&redis.call(stamp.call()).await.expect("the same connection")));
}

#[tokio::test]
async fn calls_that_time_out_late_do_not_cost_the_next_connection() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    let redis = app.state();
    app.proxy().strand();
    // Their time runs out one after the other; only the first may have the connection made anew.
    let late = join_all((0..10).map(|nth| async move {
        // The requests must arrive one after the other while the server is stalled.
        tokio::time::sleep(Duration::from_millis(nth * 20)).await;
        get(redis, "a").await.expect_err("stranded")
    }));
    let id = async || redis.query::<i64>(redis::cmd("CLIENT").arg("ID"), Effect::Read).await;
    let first = async {
        // The test is about a command that has just missed its timeout.
        tokio::time::sleep(COMMAND_TIMEOUT + Duration::from_millis(10)).await;
        eventually("calls are answered", async || id().await.is_ok()).await;
        id().await.expect("an id")
    };
    let (_, id_then) = tokio::join!(late, first);
    let id_now = id().await.expect("an id");
    assert_eq!(id_then, id_now, "a call of the earlier connection has ended the later one");
}

#[tokio::test]
async fn a_redis_that_arrives_after_the_start_is_found() {
    let mut server = RedisServer::start();
    server.kill();
    let app = TestApp::builder().on(server).unready().spawn().await;
    app.get("/health/live").await.expect(200);
    let ready = app.get("/health/ready").await.expect(503).json();
    assert_eq!(ready["status"], "unavailable", "{ready}");
    assert_eq!(ready["redis"][0]["scripts"], "unknown", "{ready}");
    eventually("the breaker knows", async || timed(get(app.state(), "a")).await.1 < Duration::from_millis(5)).await;
    expect_refusals(app.state()).await;
    app.redis().boot();
    eventually("readiness comes", async || app.get("/health/ready").await.is(200)).await;
    expect_service(app.state()).await;
}

#[tokio::test]
async fn each_lane_has_a_connection_of_its_own_and_mends_it_alone() {
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
    // Not one read fails on any lane.
    assert_ne!(id(1).await, first[1]);
    assert_eq!([id(0).await, id(2).await], [first[0], first[2]]);
}
