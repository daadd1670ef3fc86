//! Redis is reachable but returns errors: each cause has its own error, and the service recovers by itself.

use std::time::{Duration, Instant};

use gridtokenx_redis::redis::{Effect, FaultKind, Outcome, Redis, RedisFault};

use crate::support::facade::{Stamp, get, increment, set};
use crate::support::{RedisServer, TestApp, eventually};

#[track_caller]
fn expect_fault<T: std::fmt::Debug>(result: Result<T, RedisFault>, kind: FaultKind, outcome: Outcome) {
    let fault = result.expect_err("a fault");
    assert_eq!((fault.kind, fault.outcome), (kind, outcome), "{}", fault.with_causes());
}

/// Every kind of write is rejected, and reads still work.
async fn expect_writes_rejected(redis: &Redis, kind: FaultKind) {
    expect_fault(set(redis, "a", "b").await, kind, Outcome::NotApplied);
    expect_fault(redis.call(Stamp::new(redis, "a").call()).await, kind, Outcome::NotApplied);
    let commands = [redis::cmd("GET").arg("a").clone(), redis::cmd("SET").arg("a").arg("b").clone()];
    let mut replies = redis.query_all(&commands, Effect::Write).await.expect("a pipeline").into_iter();
    assert!(replies.next().expect("a reply").is_ok());
    expect_fault(replies.next().expect("a reply"), kind, Outcome::NotApplied);
    let calls = [Stamp::new(redis, "a"), Stamp::new(redis, "b")];
    for reply in redis.call_all(calls.iter().map(Stamp::call)).await.expect("a pipeline") {
        expect_fault(reply, kind, Outcome::NotApplied);
    }
    assert_eq!(get(redis, "a").await.expect("a read"), None);
}

async fn expect_reason(app: &TestApp, status: u16, part: &str) {
    eventually(part, async || {
        let ready = app.get("/health/ready").await;
        ready.is(status) && ready.text().contains(part)
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_not_ready() {
    // Loading takes at least 100 us per key, more than 3 s for 24,000 keys, and Redis answers after every 1,024 bytes:
    // however slow the machine is, a connection is made and refused while Redis loads.
    let options = ["--save", "", "--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024"];
    let app = TestApp::builder().redis_options(&options).spawn().await;
    let redis = app.state();
    for block in 0..24 {
        let commands: Vec<_> =
            (0..1_000).map(|nth| redis::cmd("SET").arg(format!("key-{block}-{nth}")).arg(nth).clone()).collect();
        for reply in redis.query_all(&commands, Effect::Write).await.expect("written") {
            reply.expect("written");
        }
    }
    let _: String = app.redis().command(&["SAVE"]);
    app.redis().kill();
    app.redis().boot();
    expect_reason(&app, 503, "not ready to serve").await;
    let started = Instant::now();
    expect_fault(get(redis, "key-0-1").await, FaultKind::NotReady, Outcome::NotApplied);
    expect_fault(increment(redis, "n").await, FaultKind::NotReady, Outcome::NotApplied);
    assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
    eventually("the service becomes ready", async || app.get("/health/ready").await.is(200)).await;
    assert_eq!(get(redis, "key-0-1").await.expect("a read").as_deref(), Some("1"));
}

#[tokio::test]
async fn calls_fail_as_busy_while_a_script_blocks_redis() {
    let options = ["--save", "", "--busy-reply-threshold", "1"];
    let app = TestApp::builder().redis_options(&options).spawn().await;
    let redis = app.state();
    let url = app.redis().url();
    let blocking_script = std::thread::spawn(move || {
        #[expect(clippy::disallowed_methods, reason = "the test's own connection")]
        let mut connection = redis::Client::open(url).expect("a client").get_connection().expect("a connection");
        redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut connection)
    });
    eventually("redis is busy", async || get(redis, "a").await.is_err_and(|fault| fault.kind == FaultKind::Busy)).await;
    let started = Instant::now();
    expect_fault(increment(redis, "n").await, FaultKind::Busy, Outcome::NotApplied);
    expect_fault(redis.call(Stamp::new(redis, "a").call()).await, FaultKind::Busy, Outcome::NotApplied);
    assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
    let _: () = app.redis().command(&["SCRIPT", "KILL"]);
    blocking_script.join().expect("the thread ends").expect_err("the script was killed");
    eventually("calls work again", async || increment(redis, "n").await.is_ok()).await;
    assert_eq!(get(redis, "n").await.expect("a read").as_deref(), Some("1"), "a rejected write was applied");
}

#[tokio::test]
async fn a_failed_background_save_rejects_writes_and_allows_reads() {
    let disk = tempfile::tempdir().expect("a directory");
    let data = disk.path().join("data");
    std::fs::create_dir(&data).expect("a directory");
    let options = ["--dir", data.to_str().expect("text"), "--save", "3600 1"];
    let frequent_checks = "[redis]\ncheck_interval = \"100ms\"";
    let app = TestApp::builder().redis_options(&options).config(frequent_checks).spawn().await;
    let redis = app.state();
    std::fs::remove_dir(&data).expect("the directory is removed");
    let _: String = app.redis().command(&["BGSAVE"]);
    eventually("writes are rejected", async || set(redis, "probe", "x").await.is_err()).await;
    expect_writes_rejected(redis, FaultKind::WritesRefused).await;
    expect_reason(&app, 200, "failed its last background save").await;
    // New connections work in this state: connecting does not send PING, which Redis now rejects.
    let _: i64 = app.redis().command(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("reads still work", async || get(redis, "a").await.is_ok()).await;
    expect_writes_rejected(redis, FaultKind::WritesRefused).await;
    let _: String = app.redis().command(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    set(redis, "a", "b").await.expect("a write");
}

#[tokio::test]
async fn a_full_memory_rejects_writes_and_allows_reads() {
    let options = ["--save", "", "--maxmemory", "100kb", "--maxmemory-policy", "noeviction"];
    let app = TestApp::builder().redis_options(&options).spawn().await;
    expect_writes_rejected(app.state(), FaultKind::OutOfMemory).await;
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
    set(app.state(), "a", "b").await.expect("a write");
}

#[tokio::test]
async fn missing_replicas_reject_writes_and_allow_reads() {
    let app = TestApp::builder().redis_options(&["--save", "", "--min-replicas-to-write", "1"]).spawn().await;
    expect_writes_rejected(app.state(), FaultKind::WritesRefused).await;
}

#[tokio::test]
async fn a_replica_serves_reads_and_rejects_writes() {
    // A replica also serves reads without its master.
    let app = TestApp::builder().redis_options(&["--save", "", "--replicaof", "127.0.0.1 1"]).spawn().await;
    expect_reason(&app, 200, "is a read-only replica").await;
    expect_writes_rejected(app.state(), FaultKind::ReadOnly).await;
    for _ in 0..200 {
        get(app.state(), "a").await.expect("reads still work");
        set(app.state(), "a", "b").await.expect_err("read-only");
    }
    let _: String = app.redis().command(&["REPLICAOF", "NO", "ONE"]);
    set(app.state(), "a", "b").await.expect("a write");
}

#[tokio::test]
async fn a_wrong_type_is_an_error_of_the_caller_and_keeps_the_connection_open() {
    let app = TestApp::spawn().await;
    let redis = app.state();
    let id = async || -> i64 { redis.query(redis::cmd("CLIENT").arg("ID"), Effect::Read).await.expect("an id") };
    let before = id().await;
    let _: i64 = redis.query(redis::cmd("LPUSH").arg("list").arg(1), Effect::Write).await.expect("a list");
    expect_fault(increment(redis, "list").await, FaultKind::WrongType, Outcome::NotApplied);
    expect_fault(get(redis, "list").await, FaultKind::WrongType, Outcome::NotApplied);
    assert_eq!(id().await, before);
}

#[tokio::test]
async fn rejected_credentials_are_reported_and_never_shown() {
    let server = RedisServer::with_options(&["--save", "", "--requirepass", "correct-horse"]);
    for (login, kind) in [("", FaultKind::Denied), ("?pass=battery-staple", FaultKind::Denied)] {
        let url = format!("[redis]\nurl = \"unix://{}{login}\"", server.socket().display());
        let app = TestApp::builder().config(&url).unready().spawn().await;
        expect_reason(&app, 503, "denied the service access").await;
        expect_fault(get(app.state(), "a").await, kind, Outcome::NotApplied);
        expect_fault(set(app.state(), "a", "b").await, kind, Outcome::NotApplied);
        let shown = format!("{:?}{}", app.app(), app.get("/health/ready").await.text());
        assert!(!shown.contains("battery-staple"), "{shown}");
    }
}

#[tokio::test]
async fn commands_that_the_acl_forbids_are_denied_directly_and_in_scripts() {
    let app = TestApp::spawn().await;
    let redis = app.state();
    let acl = ["ACL", "SETUSER", "narrow", "on", "nopass", "~mine*", "~gtx*", "+@all", "-incr"];
    let _: String = app.redis().command(&acl);
    let url = format!("[redis]\nurl = \"unix://{}?user=narrow&pass=x\"", app.redis().socket().display());
    let narrow = TestApp::builder().config(&url).spawn().await;
    set(narrow.state(), "mine", "1").await.expect("allowed");
    expect_fault(get(narrow.state(), "other").await, FaultKind::Denied, Outcome::NotApplied);
    expect_fault(increment(narrow.state(), "mine").await, FaultKind::Denied, Outcome::NotApplied);
    for script in ["return redis.call('GET', 'other')", "redis.call('SET', KEYS[1], 2) redis.call('INCR', KEYS[1])"] {
        let mut call = redis::cmd("EVAL");
        call.arg(script).arg(1).arg("mine");
        let reply = narrow.state().query::<String>(&call, Effect::Write).await;
        // The second script writes before it fails.
        expect_fault(reply, FaultKind::Denied, Outcome::Unknown);
    }
    assert_eq!(get(redis, "mine").await.expect("a read").as_deref(), Some("2"));
}

#[tokio::test]
async fn an_exhausted_pool_fails_in_time_and_does_not_affect_ordinary_calls() {
    let app = TestApp::builder().config("[redis]\npool_size = 2").spawn().await;
    let redis = app.state();
    let held = [redis.dedicated().await.expect("one"), redis.dedicated().await.expect("two")];
    let started = Instant::now();
    expect_fault(redis.dedicated().await, FaultKind::PoolExhausted, Outcome::NotApplied);
    assert!(started.elapsed() < Duration::from_millis(50 + 50), "{:?}", started.elapsed());
    set(redis, "a", "b").await.expect("ordinary calls do not use the pool");
    // Blocking calls do not prevent the lane from reconnecting either.
    let id: i64 = redis.query(redis::cmd("CLIENT").arg("ID"), Effect::Read).await.expect("an id");
    let _: i64 = app.redis().command(&["CLIENT", "KILL", "ID", &id.to_string()]);
    assert_eq!(get(redis, "a").await.expect("a read").as_deref(), Some("b"));
    drop(held);
    redis.dedicated().await.expect("a free connection");
}

#[tokio::test]
async fn a_cancelled_blocking_call_closes_its_connection() {
    let app = TestApp::builder().config("[redis]\npool_size = 1").spawn().await;
    let redis = app.state();
    let blocked = async || -> usize {
        let clients: String = app.redis().command(&["CLIENT", "LIST"]);
        clients.lines().filter(|line| line.contains("cmd=blpop")).count()
    };
    let mut pop = redis::cmd("BLPOP");
    pop.arg("queue").arg(0);
    let limit = Duration::from_secs(60);
    let cancelled = async {
        let mut connection = redis.dedicated().await.expect("a connection");
        connection.query::<Vec<String>>(&pop, Effect::Write, limit).await
    };
    tokio::select! {
        _ = cancelled => panic!("nothing was pushed"),
        () = eventually("the call blocks", async || blocked().await == 1) => {}
    }
    eventually("Redis has noticed the disconnect", async || blocked().await == 0).await;
    let mut connection = redis.dedicated().await.expect("a connection");
    let pong: String =
        connection.query(&redis::cmd("PING"), Effect::Read, Duration::from_millis(100)).await.expect("a reply");
    assert_eq!(pong, "PONG");
    // No abandoned client remains that could pop this item.
    let _: i64 = app.redis().command(&["RPUSH", "queue", "x"]);
    let popped: Vec<String> = connection.query(&pop, Effect::Write, limit).await.expect("an item");
    assert_eq!(popped, ["queue", "x"]);
}

#[tokio::test]
async fn a_pooled_connection_that_redis_closed_is_not_reused() {
    let app = TestApp::builder().config("[redis]\npool_size = 1").spawn().await;
    let redis = app.state();
    let id = async || -> i64 {
        let mut connection = redis.dedicated().await.expect("a connection");
        connection.query(redis::cmd("CLIENT").arg("ID"), Effect::Read, Duration::from_secs(1)).await.expect("an id")
    };
    let first = id().await;
    assert_eq!(id().await, first, "connections are reused");
    let _: i64 = app.redis().command(&["CLIENT", "KILL", "ID", &first.to_string()]);
    // Gives the close of the connection time to arrive.
    tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.expect_err("time passes");
    assert_ne!(id().await, first);
}
