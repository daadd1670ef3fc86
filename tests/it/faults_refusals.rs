//! Redis is there and says no: each reason is told apart, nothing is done, and it passes by itself.

use std::time::{Duration, Instant};

use gridtokenx_redis::redis::{Effect, FaultKind, Outcome, Redis, RedisFault};

use crate::support::facade::{Stamp, get, increment, set};
use crate::support::{RedisServer, TestApp, eventually};

#[track_caller]
fn expect_fault<T: std::fmt::Debug>(answer: Result<T, RedisFault>, kind: FaultKind, outcome: Outcome) {
    let fault = answer.expect_err("a fault");
    assert_eq!((fault.kind, fault.outcome), (kind, outcome), "{}", fault.with_causes());
}

/// Writes are refused in every form, and reads go on.
async fn expect_writes_refused(redis: &Redis, kind: FaultKind) {
    expect_fault(set(redis, "a", "b").await, kind, Outcome::NotApplied);
    expect_fault(redis.call(Stamp::new(redis, "a").call()).await, kind, Outcome::NotApplied);
    let commands = [redis::cmd("GET").arg("a").clone(), redis::cmd("SET").arg("a").arg("b").clone()];
    let mut answers = redis.query_all(&commands, Effect::Write).await.expect("an exchange").into_iter();
    assert!(answers.next().expect("an answer").is_ok());
    expect_fault(answers.next().expect("an answer"), kind, Outcome::NotApplied);
    let calls = [Stamp::new(redis, "a"), Stamp::new(redis, "b")];
    for answer in redis.call_all(calls.iter().map(Stamp::call)).await.expect("an exchange") {
        expect_fault(answer, kind, Outcome::NotApplied);
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
async fn a_loading_redis_is_not_ready_and_then_has_its_data() {
    // Every key takes 100 us to load, and Redis answers between each thousand of them: 24,000 take some 3 s.
    let options = ["--appendonly", "yes", "--save", "", "--key-load-delay", "100"];
    let app = TestApp::builder().redis_options(&options).spawn().await;
    let redis = app.state();
    for block in 0..24 {
        let commands: Vec<_> =
            (0..1_000).map(|nth| redis::cmd("SET").arg(format!("key-{block}-{nth}")).arg(nth).clone()).collect();
        for answer in redis.query_all(&commands, Effect::Write).await.expect("written") {
            answer.expect("written");
        }
    }
    app.redis().kill();
    app.redis().boot();
    expect_reason(&app, 503, "not ready to serve").await;
    let started = Instant::now();
    expect_fault(get(redis, "key-0-1").await, FaultKind::NotReady, Outcome::NotApplied);
    expect_fault(increment(redis, "n").await, FaultKind::NotReady, Outcome::NotApplied);
    assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
    eventually("readiness comes", async || app.get("/health/ready").await.is(200)).await;
    assert_eq!(get(redis, "key-0-1").await.expect("a read").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_script_that_hogs_redis_makes_it_busy_and_nothing_worse() {
    let options = ["--save", "", "--busy-reply-threshold", "1"];
    let app = TestApp::builder().redis_options(&options).spawn().await;
    let redis = app.state();
    let url = app.redis().url();
    let hog = std::thread::spawn(move || {
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
    hog.join().expect("the thread ends").expect_err("the script was killed");
    eventually("calls work again", async || increment(redis, "n").await.is_ok()).await;
    assert_eq!(get(redis, "n").await.expect("a read").as_deref(), Some("1"), "a refused write was applied");
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_stops_writes_and_not_reads() {
    let disk = tempfile::tempdir().expect("a directory");
    let data = disk.path().join("data");
    std::fs::create_dir(&data).expect("a directory");
    let options = ["--dir", data.to_str().expect("text"), "--save", "3600 1"];
    let often = "[redis]\ncheck_interval = \"100ms\"";
    let app = TestApp::builder().redis_options(&options).config(often).spawn().await;
    let redis = app.state();
    std::fs::remove_dir(&data).expect("the directory goes");
    let _: String = app.redis().command(&["BGSAVE"]);
    eventually("writes are refused", async || set(redis, "probe", "x").await.is_err()).await;
    expect_writes_refused(redis, FaultKind::WritesRefused).await;
    expect_reason(&app, 200, "failed its last background save").await;
    // A connection made in this state is as good as any: PING, which Redis now refuses, asks nobody.
    let _: i64 = app.redis().command(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("reads go on", async || get(redis, "a").await.is_ok()).await;
    expect_writes_refused(redis, FaultKind::WritesRefused).await;
    let _: String = app.redis().command(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    set(redis, "a", "b").await.expect("a write");
}

#[tokio::test]
async fn a_full_memory_refuses_writes_and_not_reads() {
    let options = ["--save", "", "--maxmemory", "100kb", "--maxmemory-policy", "noeviction"];
    let app = TestApp::builder().redis_options(&options).spawn().await;
    expect_writes_refused(app.state(), FaultKind::OutOfMemory).await;
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
    set(app.state(), "a", "b").await.expect("a write");
}

#[tokio::test]
async fn missing_replicas_refuse_writes_and_not_reads() {
    let app = TestApp::builder().redis_options(&["--save", "", "--min-replicas-to-write", "1"]).spawn().await;
    expect_writes_refused(app.state(), FaultKind::WritesRefused).await;
}

#[tokio::test]
async fn a_replica_serves_reads_refuses_writes_and_is_named() {
    // Its master is nowhere, which a replica bears.
    let app = TestApp::builder().redis_options(&["--save", "", "--replicaof", "127.0.0.1 1"]).spawn().await;
    expect_reason(&app, 200, "is a read-only replica").await;
    expect_writes_refused(app.state(), FaultKind::ReadOnly).await;
    for _ in 0..200 {
        get(app.state(), "a").await.expect("reads are not disturbed");
        set(app.state(), "a", "b").await.expect_err("read-only");
    }
    let _: String = app.redis().command(&["REPLICAOF", "NO", "ONE"]);
    set(app.state(), "a", "b").await.expect("a write");
}

#[tokio::test]
async fn a_wrong_type_is_the_callers_affair_and_costs_nobody_the_connection() {
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
async fn refused_credentials_are_denied_and_never_shown() {
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
async fn what_the_acl_forbids_is_denied_by_itself_and_inside_a_script() {
    let app = TestApp::spawn().await;
    let redis = app.state();
    let rights = ["ACL", "SETUSER", "narrow", "on", "nopass", "~mine*", "~gtx*", "+@all", "-incr"];
    let _: String = app.redis().command(&rights);
    let url = format!("[redis]\nurl = \"unix://{}?user=narrow&pass=x\"", app.redis().socket().display());
    let narrow = TestApp::builder().config(&url).spawn().await;
    set(narrow.state(), "mine", "1").await.expect("allowed");
    expect_fault(get(narrow.state(), "theirs").await, FaultKind::Denied, Outcome::NotApplied);
    expect_fault(increment(narrow.state(), "mine").await, FaultKind::Denied, Outcome::NotApplied);
    for script in ["return redis.call('GET', 'theirs')", "redis.call('SET', KEYS[1], 2) redis.call('INCR', KEYS[1])"] {
        let mut call = redis::cmd("EVAL");
        call.arg(script).arg(1).arg("mine");
        let answer = narrow.state().query::<String>(&call, Effect::Write).await;
        // The second script has written before it was stopped.
        expect_fault(answer, FaultKind::Denied, Outcome::Unknown);
    }
    assert_eq!(get(redis, "mine").await.expect("a read").as_deref(), Some("2"));
}

#[tokio::test]
async fn an_exhausted_pool_is_said_in_time_and_leaves_ordinary_calls_alone() {
    let app = TestApp::builder().config("[redis]\npool_size = 2").spawn().await;
    let redis = app.state();
    let held = [redis.dedicated().await.expect("one"), redis.dedicated().await.expect("two")];
    let started = Instant::now();
    expect_fault(redis.dedicated().await, FaultKind::PoolExhausted, Outcome::NotApplied);
    assert!(started.elapsed() < Duration::from_millis(50 + 50), "{:?}", started.elapsed());
    set(redis, "a", "b").await.expect("ordinary calls have a place of their own");
    // Nor can blocking calls keep the lane from getting a connection back.
    let id: i64 = redis.query(redis::cmd("CLIENT").arg("ID"), Effect::Read).await.expect("an id");
    let _: i64 = app.redis().command(&["CLIENT", "KILL", "ID", &id.to_string()]);
    assert_eq!(get(redis, "a").await.expect("a read").as_deref(), Some("b"));
    drop(held);
    redis.dedicated().await.expect("a place is free");
}

#[tokio::test]
async fn a_cancelled_blocking_call_takes_its_connection_with_it() {
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
        let mut own = redis.dedicated().await.expect("a connection");
        own.query::<Vec<String>>(&pop, Effect::Write, limit).await
    };
    tokio::select! {
        _ = cancelled => panic!("nothing was pushed"),
        () = eventually("the call blocks", async || blocked().await == 1) => {}
    }
    eventually("redis has seen it go", async || blocked().await == 0).await;
    let mut own = redis.dedicated().await.expect("a connection");
    let pong: String =
        own.query(&redis::cmd("PING"), Effect::Read, Duration::from_millis(100)).await.expect("an answer");
    assert_eq!(pong, "PONG");
    // Nobody was left behind to take what is pushed now.
    let _: i64 = app.redis().command(&["RPUSH", "queue", "x"]);
    let popped: Vec<String> = own.query(&pop, Effect::Write, limit).await.expect("an item");
    assert_eq!(popped, ["queue", "x"]);
}

#[tokio::test]
async fn a_pooled_connection_that_redis_closed_is_not_given_out() {
    let app = TestApp::builder().config("[redis]\npool_size = 1").spawn().await;
    let redis = app.state();
    let id = async || -> i64 {
        let mut own = redis.dedicated().await.expect("a connection");
        own.query(redis::cmd("CLIENT").arg("ID"), Effect::Read, Duration::from_secs(1)).await.expect("an id")
    };
    let first = id().await;
    assert_eq!(id().await, first, "connections are used again");
    let _: i64 = app.redis().command(&["CLIENT", "KILL", "ID", &first.to_string()]);
    // The news of the closing is under way; what counts is that it is believed.
    tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.expect_err("time passes");
    assert_ne!(id().await, first);
}
