//! Conditions that real faults cause: each is reported within 30 s, and once for each episode.
//!
//! The clock of the service stands still until a test advances it, so that the time to the report is that of the service and
//! not of the machine.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::pubsub::socket::{Socket, price};
use crate::support::{Exposition, RedisServer, ServiceProcess, TestApp, TestAppBuilder, eventually, free_port};

/// Rounds follow each other quickly; how long conditions last is the default, on a clock that tests advance.
const ROUNDS: &str = "[alerts]\ninterval = \"20ms\"\n[redis]\ncheck_interval = \"50ms\"\n";
/// Within this time, seconds, a condition is reported once a check has seen it. The checks and the rounds of the default
/// configuration add 5 s each to it.
const REPORTED_WITHIN: u32 = 20;

fn builder() -> TestAppBuilder {
    TestApp::builder().config(ROUNDS)
}

async fn entries(app: &TestApp, path: &str, condition: &str) -> Vec<Value> {
    let reply = app.get(path).await.json();
    let entries = reply["items"].as_array().cloned().unwrap_or_default();
    entries.into_iter().filter(|entry| entry["condition"] == condition).collect()
}

/// Advances the clock by a second and waits for a round that sees it.
async fn pass_second(app: &TestApp) {
    app.clock().advance(Duration::from_secs(1));
    let now = app.clock().now();
    eventually("a round", async || {
        app.app().deps.tasks.states().get("alerts").is_some_and(|state| state.last_run >= Some(now))
    })
    .await;
}

/// Waits, on the service's clock, until an alert fires.
async fn reported(app: &TestApp, condition: &str) {
    for _ in 0..=REPORTED_WITHIN {
        if !entries(app, "/alerts", condition).await.is_empty() {
            return;
        }
        pass_second(app).await;
    }
    panic!("{condition} is not reported within {REPORTED_WITHIN} s: {}", app.get("/alerts").await.text());
}

/// Lets two minutes pass in which the condition lasts, ends it with `repair`, and checks that it was one episode.
async fn one_episode(app: &TestApp, condition: &str, repair: impl AsyncFnOnce()) {
    for _ in 0..120 {
        pass_second(app).await;
    }
    repair().await;
    eventually(&format!("the end of {condition}"), async || {
        pass_second(app).await;
        entries(app, "/alerts", condition).await.is_empty()
    })
    .await;
    let history = entries(app, "/alerts/history?limit=1000", condition).await;
    let count = |status: &str| history.iter().filter(|entry| entry["status"] == status).count();
    assert_eq!((count("firing"), count("resolved")), (1, 1), "{condition}: {history:?}");
}

async fn metric(app: &TestApp, path: &str, name: &str) -> Option<f64> {
    let text = app.get(path).await.text();
    let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Lets a process write no file beyond `size`, as if its disk were full.
fn limit_files(process: i32, size: &str) {
    let status =
        Command::new("prlimit").args(["--pid", &process.to_string(), &format!("--fsize={size}:unlimited")]).status();
    assert!(status.expect("prlimit of util-linux").success());
}

#[tokio::test]
async fn an_append_only_file_that_cannot_be_written_or_rewritten_is_reported() {
    let app = builder().redis_options(&["--save", "", "--appendonly", "yes"]).spawn().await;
    let server = app.redis().pid();
    limit_files(server, "1");
    let _ = app.redis().try_command::<String>(&["SET", "a", "b"]);
    let _ = app.redis().try_command::<String>(&["BGREWRITEAOF"]);
    for (name, condition) in
        [("redis_aof_last_write_status", "PersistenceFailed"), ("redis_aof_last_bgrewrite_status", "RewriteFailed")]
    {
        eventually(name, async || metric(&app, "/metrics/redis", name).await == Some(0.0)).await;
        reported(&app, condition).await;
    }
    one_episode(&app, "PersistenceFailed", async || {
        limit_files(server, "unlimited");
        eventually("the file is rewritten", async || {
            let _ = app.redis().try_command::<String>(&["BGREWRITEAOF"]);
            metric(&app, "/metrics/redis", "redis_aof_last_bgrewrite_status").await == Some(1.0)
                && metric(&app, "/metrics/redis", "redis_aof_last_write_status").await == Some(1.0)
        })
        .await;
    })
    .await;
    one_episode(&app, "RewriteFailed", async || {}).await;
}

#[tokio::test]
async fn a_replica_that_does_not_answer_is_reported() {
    let port = free_port().to_string();
    let app = builder().redis_options(&["--save", "", "--appendonly", "no", "--port", &port]).spawn().await;
    let replica = RedisServer::with_options(&["--replicaof", &format!("127.0.0.1 {port}")]);
    let lag = async || metric(&app, "/metrics/redis", "redis_connected_slave_lag_seconds").await;
    eventually("the replica is in sync", async || lag().await.is_some_and(|lag| lag < 2.0)).await;
    replica.stall();
    // Redis counts the seconds since the last answer.
    eventually("the replica lags", async || lag().await.is_some_and(|lag| lag > 10.0)).await;
    reported(&app, "ReplicaLags").await;
    one_episode(&app, "ReplicaLags", async || {
        replica.resume();
        eventually("the replica answers", async || lag().await.is_some_and(|lag| lag < 5.0)).await;
    })
    .await;
}

#[tokio::test]
async fn changes_of_books_that_cannot_be_published_are_reported() {
    let app = builder().spawn().await;
    let settings = json!({ "mode": "store", "kind": "orders", "price_decimals": 2, "quantity_decimals": 3 });
    app.put("/orderbooks/GRID/settings", settings).await.expect(201);
    // Another program has taken the key of the book's metadata, which are written before the changes are published.
    let _: String = app.redis().command(&["SET", "orderbook:{GRID}:metadata", "x"]);
    let order = json!({ "order_id": "o-1", "owner": "user-7", "side": "buy", "price": "4.35", "quantity": "1.000" });
    app.post("/orderbooks/GRID/orders", order).await.expect(201);
    app.clock().advance(Duration::from_secs(6));
    let lag = async || metric(&app, "/metrics", "orderbook_follower_lag_seconds").await;
    eventually("the change is late", async || lag().await.is_some_and(|lag| lag > 5.0)).await;
    reported(&app, "MarketDataDelay").await;
    one_episode(&app, "MarketDataDelay", async || {
        let _: u64 = app.redis().command(&["DEL", "orderbook:{GRID}:metadata"]);
        eventually("the changes are published", async || lag().await == Some(0.0)).await;
    })
    .await;
}

#[tokio::test]
async fn messages_that_clients_may_have_missed_are_reported() {
    let mut app = builder().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    socket.subscribe("market:events").await;
    app.post("/pubsub/market:events", price(1)).await.expect(201);
    assert_eq!(socket.event().await["event"], "message");
    pass_second(&app).await;
    let _: String = app.redis().command(&["FLUSHALL"]);
    app.post("/pubsub/market:events", price(2)).await.expect(201);
    assert_eq!(socket.event().await["event"], "gap");
    reported(&app, "MessagesLost").await;
    // Within a minute, growth of the counter is one condition.
    one_episode(&app, "MessagesLost", async || {}).await;
}

/// Rounds and times that suit a process, whose clock is that of the machine.
const FAST: [(&str, &str); 3] =
    [("GTX__ALERTS__INTERVAL", "50ms"), ("GTX__ALERTS__HOLD", "100ms"), ("GTX__ALERTS__CLEAR", "300ms")];

/// Waits until an alert of the process fires.
fn fires(service: &mut ServiceProcess, condition: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_named = |service: &mut ServiceProcess| {
        let alerts: Value = serde_json::from_str(&service.get("/alerts").1).expect("JSON");
        alerts["items"].as_array().expect("a list").iter().any(|alert| alert["condition"] == condition)
    };
    while !is_named(service) {
        assert!(Instant::now() < deadline, "{condition} is not reported: {}", service.get("/alerts").1);
    }
}

fn beginnings(service: &mut ServiceProcess, condition: &str) -> usize {
    let history: Value = serde_json::from_str(&service.get("/alerts/history?limit=1000").1).expect("JSON");
    let begun = |entry: &&Value| entry["condition"] == condition && entry["status"] == "firing";
    history["items"].as_array().expect("a list").iter().filter(begun).count()
}

#[test]
fn what_a_process_runs_out_of_is_reported() {
    let redis = RedisServer::start();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("service.toml");
    std::fs::write(&file, "").expect("a file");
    let url = redis.url();
    let mut service = ServiceProcess::start_with(
        &file,
        &[&[("REDIS_URL", url.as_str()), ("LOG_LEVEL", "debug")], FAST.as_slice()].concat(),
    );
    service.ready();
    // The counters are known, so that their growth is seen.
    let has_looked = |service: &mut ServiceProcess| {
        let health: Value = serde_json::from_str(&service.get("/health/ready").1).expect("JSON");
        health["tasks"]["alerts"]["last_run"].is_i64()
    };
    while !has_looked(&mut service) {}
    std::fs::write(&file, "[cache]\nno_such_setting = 1\n").expect("written");
    service.signal("HUP");
    fires(&mut service, "ReloadRefused");

    let open = Exposition::parse(&service.get("/metrics").1).count("process_open_fds", &[]);
    service.limit_files(open + open / 5);
    fires(&mut service, "FilesHigh");
    service.limit_files(1_024);

    service.stall_output();
    let deadline = Instant::now() + Duration::from_secs(60);
    while Exposition::parse(&service.get("/metrics").1).count("log_lines_dropped_total", &[]) == 0 {
        assert!(Instant::now() < deadline, "no line is dropped");
        service.repeat("GET /nowhere HTTP/1.1\r\nhost: test\r\n\r\n", 2_000);
    }
    fires(&mut service, "LogLinesLost");
    for condition in ["ReloadRefused", "FilesHigh", "LogLinesLost"] {
        assert_eq!(beginnings(&mut service, condition), 1, "{condition}");
    }
}

#[test]
fn a_disk_that_is_nearly_full_is_reported() {
    let redis = RedisServer::start();
    let spool = redis.directory().join("spool");
    std::fs::create_dir(&spool).expect("a directory");
    let url = redis.url();
    let spool_dir = spool.display().to_string();
    let variables =
        [&[("REDIS_URL", url.as_str()), ("GTX__HOSTS__SPOOL_DIR", spool_dir.as_str())], FAST.as_slice()].concat();
    let mut service = ServiceProcess::start_by(on_full_disk(&spool), &variables);
    fires(&mut service, "DiskLow");
    assert_eq!(beginnings(&mut service, "DiskLow"), 1);
}

/// Runs the service in a namespace in which `directory` is a disk of its own, 95 of whose 100 blocks are in use.
fn on_full_disk(directory: &Path) -> Command {
    let script =
        "mount -t tmpfs -o size=400k tmpfs \"$1\" && head -c 380k /dev/zero > \"$1/other\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(directory).arg(env!("CARGO_BIN_EXE_gridtokenx-redis"));
    command
}
