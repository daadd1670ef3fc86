//! `/metrics` and `/metrics/redis`: their names, their number of samples, and scrapes while Redis does not answer.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::Method;
use gridtokenx_redis::app::access_table;
use serde_json::json;

use crate::pubsub::socket::{Socket, price};
use crate::support::{Exposition, RedisServer, START, SentinelGroup, ServiceProcess, TestApp, eventually};

async fn scrape(app: &TestApp, path: &str) -> Exposition {
    Exposition::parse(&app.get(path).await.expect(200).text())
}

/// Calls every operation twice, with parameters that may not exist: each route then has its metrics, with several statuses.
async fn call_everything(app: &TestApp) {
    for row in access_table() {
        // A stream does not end.
        if row.path.ends_with("/sse") || row.path.ends_with("/events") {
            continue;
        }
        let path: String = row
            .path
            .split('/')
            .map(|part| if part.starts_with('{') { "a" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let method = Method::from_bytes(row.method.as_bytes()).expect("a method");
        app.send(method.clone(), &path, &[("content-type", "application/json")], "{}").await;
        app.send(method, &format!("{path}?no_such_parameter=1"), &[("content-type", "application/json")], "{}").await;
    }
}

#[tokio::test]
async fn a_replica_at_rest_has_few_samples_and_a_busy_one_a_bounded_number() {
    let app = TestApp::spawn().await;
    let at_rest = scrape(&app, "/metrics").await.len();
    assert!(at_rest < 1_000, "{at_rest} samples at rest");
    call_everything(&app).await;
    let mut known = 0;
    for at in 0..10_000 {
        app.get(&format!("/no-such-room-{at}/x")).await.expect(404);
        if at % 10 == 0 {
            app.send(Method::PUT, &format!("/cache/key-{at}"), &[], "x").await;
        }
        if at == 100 {
            known = scrape(&app, "/metrics").await.len();
        }
    }
    let after = scrape(&app, "/metrics").await.len();
    // Tasks in the background may have run for the first time meanwhile.
    assert!(after <= known + 20, "paths and keys are labels: {known} samples became {after}");
    let busy = scrape(&app, "/metrics").await.len() + scrape(&app, "/metrics/redis").await.len();
    assert!(busy <= 4_000, "{busy} samples with every operation used");
    let started = Instant::now();
    app.get("/metrics").await.expect(200);
    app.get("/metrics/redis").await.expect(200);
    // Builds for tests are not optimised; an optimised one takes a tenth.
    assert!(started.elapsed() < Duration::from_millis(400), "a scrape took {:?}", started.elapsed());
}

#[tokio::test]
async fn redis_is_described_with_the_names_of_redis_exporter() {
    let app = TestApp::builder().config("redis.check_interval = \"50ms\"").spawn().await;
    app.send(Method::PUT, "/cache/a", &[], "x").await.expect(201);
    let of = [("store", "cache,state"), ("node", "")];
    eventually("the server is described", async || scrape(&app, "/metrics/redis").await.count("redis_up", &of) == 1)
        .await;
    let database = [of[0], of[1], ("db", "db0")];
    eventually("the key is counted", async || {
        scrape(&app, "/metrics/redis").await.value("redis_db_keys", &database) > 0.0
    })
    .await;
    let all = scrape(&app, "/metrics/redis").await;
    for (name, kind) in [
        ("redis_memory_used_bytes", "gauge"),
        ("redis_memory_max_bytes", "gauge"),
        ("redis_commands_processed_total", "counter"),
        ("redis_cpu_sys_seconds_total", "counter"),
        ("redis_rdb_last_bgsave_status", "gauge"),
        ("redis_aof_last_write_status", "gauge"),
        ("redis_evicted_keys_total", "counter"),
        ("redis_keyspace_hits_total", "counter"),
        ("redis_connected_slaves", "gauge"),
    ] {
        assert_eq!(all.kind(name), Some(kind), "{name}");
    }
    assert!(all.value("redis_memory_used_bytes", &of) > 500_000.0);
    assert_eq!(all.count("redis_rdb_last_bgsave_status", &of), 1);
    assert!(all.value("redis_clock_offset_seconds", &of).abs() < 1.0, "one machine has one clock");
    assert!(all.value("redis_commands_total", &[of[0], of[1], ("cmd", "info")]) > 0.0);
    let calls = scrape(&app, "/metrics").await;
    assert!(calls.value("redis_commands_total", &[("role", "cache,state"), ("outcome", "ok")]) > 0.0);
}

#[tokio::test]
async fn a_stuck_redis_neither_hangs_a_scrape_nor_looks_well() {
    let app = TestApp::builder().config("redis.check_interval = \"50ms\"").spawn().await;
    let of = [("store", "cache,state"), ("node", "")];
    eventually("the server is described", async || scrape(&app, "/metrics/redis").await.count("redis_up", &of) == 1)
        .await;
    app.redis().stall();
    eventually("the server is down", async || scrape(&app, "/metrics/redis").await.count("redis_up", &of) == 0).await;
    let started = Instant::now();
    let stuck = scrape(&app, "/metrics/redis").await;
    assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
    assert!(stuck.value("redis_last_look_timestamp_seconds", &of) > 1e9);
    assert_eq!(stuck.kind("redis_memory_used_bytes"), None, "old values would look like present ones");
    app.redis().resume();
    eventually("the server is up again", async || scrape(&app, "/metrics/redis").await.count("redis_up", &of) == 1)
        .await;
}

#[tokio::test]
async fn scrapes_send_nothing_to_redis() {
    let app = TestApp::builder().config("redis.check_interval = \"1h\"").spawn().await;
    let processed = || -> u64 {
        let info: String = app.redis().command(&["INFO", "commandstats"]);
        let calls = info.lines().filter(|line| line.starts_with("cmdstat_info:"));
        calls.filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok()).sum()
    };
    let before = processed();
    for _ in 0..20 {
        app.get("/metrics/redis").await.expect(200);
    }
    assert_eq!(processed(), before + 1, "only the test's own INFO");
}

#[tokio::test]
async fn parts_and_tasks_are_shown_by_their_condition() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    let part = [("part", "redis cache,state")];
    assert_eq!(scrape(&app, "/metrics").await.count("health_condition", &part), 0);
    app.app().deps.tasks.report("probe", Err("it failed".to_owned()));
    app.app().deps.tasks.report("probe", Ok(()));
    let metrics = scrape(&app, "/metrics").await;
    assert_eq!(metrics.count("task_failures_total", &[("task", "probe")]), 1);
    assert_eq!(metrics.count("task_failing", &[("task", "probe")]), 0);
    assert!(metrics.value("task_last_run_timestamp_seconds", &[("task", "probe")]) > 1e9);
    app.app().deps.tasks.report("probe", Err("it failed".to_owned()));
    assert_eq!(scrape(&app, "/metrics").await.count("health_condition", &[("part", "tasks")]), 1);
    app.proxy().cut();
    eventually("the part is down", async || scrape(&app, "/metrics").await.count("health_condition", &part) == 2).await;
}

#[tokio::test]
async fn waits_for_dedicated_connections_and_exceptions_are_counted() {
    let app = TestApp::spawn().await;
    app.state().dedicated().await.expect("a connection");
    let path = "/ratelimit/limiters/api/exceptions/user-1";
    app.put(path, json!({ "action": "deny", "ttl_ms": 60_000 })).await.expect(200);
    eventually("the exception is counted", async || {
        scrape(&app, "/metrics").await.count("ratelimit_exceptions", &[]) == 1
    })
    .await;
    let metrics = scrape(&app, "/metrics").await;
    assert!(metrics.count("redis_pool_wait_seconds_count", &[("role", "cache,state")]) >= 1);
}

#[tokio::test]
async fn what_is_held_and_how_long_things_take_is_measured() {
    let mut app = TestApp::builder().config("[orderbook]\nrequire_fence = false").spawn().await;
    let mut socket = Socket::open(&mut app).await;
    socket.subscribe("market:events").await;
    for at in 1..=3 {
        app.post("/pubsub/market:events", price(at)).await.expect(201);
        socket.event().await;
    }
    // A client that resumes receives old messages, which say nothing about the delivery.
    let mut late = Socket::open(&mut app).await;
    let history = app.get("/pubsub/market:events/history").await.json();
    let since = json!({ "epoch": history["epoch"], "offset": 0 });
    let command = json!({ "id": 1, "cmd": "subscribe", "channel": "market:events", "since": since });
    let resumed = late.command(command).await;
    assert_eq!(resumed["ok"]["messages"].as_array().map(Vec::len), Some(3), "{resumed}");
    for name in ["a", "b"] {
        app.post(&format!("/locks/{name}"), json!({ "ttl_ms": 60_000 })).await.expect(201);
    }
    let sample = json!({ "samples": [{ "timestamp": START - 90_000, "value": 1 }, { "timestamp": START - 30_000, "value": 1 }] });
    app.post("/timeseries/energy:generation:m-1/samples", sample).await.expect(200);
    let settings = json!({ "mode": "store", "kind": "orders", "price_decimals": 2, "quantity_decimals": 3 });
    app.put("/orderbooks/GRID/settings", settings).await.expect(201);
    for (id, side, price) in [("1", "buy", "4.30"), ("2", "buy", "4.31"), ("3", "sell", "4.40"), ("4", "sell", "4.40")]
    {
        let order = json!({ "order_id": id, "owner": "user-7", "side": side, "price": price, "quantity": "1.000" });
        app.post("/orderbooks/GRID/orders", order).await.expect(201);
    }
    let measured = scrape(&app, "/metrics").await;
    assert_eq!(measured.count("pubsub_delivery_seconds_count", &[]), 3);
    assert_eq!(measured.count("pubsub_backlog_bytes", &[]), 0, "the clients have read everything");
    assert_eq!(measured.count("timeseries_lag_seconds_count", &[]), 1, "one for each batch");
    assert_eq!(measured.count("timeseries_lag_seconds_sum", &[]), 30);
    assert_eq!(measured.count("orderbook_seconds_count", &[("operation", "place")]), 4);
    eventually("the locks are counted", async || scrape(&app, "/metrics").await.count("lock_held", &[]) == 2).await;
    eventually("the levels are counted", async || {
        let found = scrape(&app, "/metrics").await;
        let depth = |side| found.count("orderbook_depth", &[("side", side)]);
        (depth("bid"), depth("ask")) == (2, 1)
    })
    .await;
    app.clock().advance(Duration::from_secs(61));
    eventually("the leases have ended", async || scrape(&app, "/metrics").await.count("lock_held", &[]) == 0).await;
}

/// A check of the server and a round of alerts, which follow each other every 5 s by default.
#[tokio::test]
async fn watching_redis_takes_at_most_three_commands_a_second() {
    let config = "[redis]\ncheck_interval = \"50ms\"\n[alerts]\ninterval = \"50ms\"\n";
    let app = TestApp::builder().config(config).spawn().await;
    let calls = |commands: &[&str]| -> u64 {
        let all = calls_by_command(&app);
        commands.iter().filter_map(|command| all.get(*command)).sum()
    };
    // Besides one INFO for each check. The test itself sends INFO as well.
    let watching = ["config|get", "slowlog|len", "command|info", "hgetall", "time"];
    let (checks, before) = (calls(&["slowlog|len"]), calls(&watching));
    eventually("forty checks", async || calls(&["slowlog|len"]) >= checks + 40).await;
    let (checks, sent) = (calls(&["slowlog|len"]) - checks, calls(&watching) - before);
    assert!(sent + checks <= checks * 15, "{sent} commands in {checks} checks");
}

/// The calls of each command that Redis has counted, those of scripts included.
fn calls_by_command(app: &TestApp) -> BTreeMap<String, u64> {
    let info: String = app.redis().command(&["INFO", "commandstats"]);
    let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    lines.filter_map(|(name, rest)| Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))).collect()
}

/// With the default intervals, of which few are longer than 10 s: what is counted is between checks of the server.
#[tokio::test]
async fn an_idle_replica_sends_few_commands() {
    let app = TestApp::spawn().await;
    let checks = |calls: &BTreeMap<String, u64>| calls.get("slowlog|len").copied().unwrap_or_default();
    // The first one comes with the start, when much else is sent.
    eventually("the second check", async || checks(&calls_by_command(&app)) >= 2).await;
    let (before, started) = (calls_by_command(&app), Instant::now());
    for further in 1..=3 {
        eventually("the next check", async || checks(&calls_by_command(&app)) >= checks(&before) + further).await;
    }
    let (mut sent, elapsed) = (calls_by_command(&app), started.elapsed());
    for (name, calls) in &mut sent {
        *calls -= before.get(name).copied().unwrap_or_default();
    }
    // The test sends INFO as well, and logs in for each one if the server has users.
    sent.insert("info".to_owned(), 3);
    sent.remove("auth");
    sent.retain(|_, calls| *calls > 0);
    let total: u64 = sent.values().sum();
    // 2.9 a second, of which 1.1 are polls of limiters, which apply changes of administrators within a second. Work that is
    // due every ten or fifteen seconds may fall into the time once more.
    let expected = elapsed.as_secs_f64() * 3.0 + 8.0;
    assert!(f64::from(u32::try_from(total).expect("few")) <= expected, "{total} commands in {elapsed:?}: {sent:#?}");
}

#[test]
fn a_spool_and_its_disk_are_measured() {
    let redis = RedisServer::start();
    let spool = redis.directory().join("spool");
    std::fs::create_dir(&spool).expect("a directory");
    let spool = spool.to_str().expect("a path");
    let mut service = ServiceProcess::start_on(&redis, &[("GTX__HOSTS__SPOOL_DIR", spool)]);
    let metrics = Exposition::parse(&service.get("/metrics").1);
    let dir = [("dir", "hosts.spool")];
    assert!(metrics.value("disk_free_bytes", &dir) > 0.0);
    assert!(metrics.value("disk_size_bytes", &dir) >= metrics.value("disk_free_bytes", &dir));
    assert!(metrics.value("host_spool_limit_bytes", &[]) > 0.0);
    assert_eq!(metrics.count("config_reloads_total", &[("result", "applied")]), 0);
}

#[tokio::test]
async fn a_failover_is_counted_and_a_restart_is_not() {
    let group = SentinelGroup::start().await;
    let config = format!("{}check_interval = \"50ms\"\n", group.config());
    let app = TestApp::builder().config(&config).spawn().await;
    let failovers = async || scrape(&app, "/metrics").await.count("redis_failovers_total", &[("role", "cache,state")]);
    eventually("the replica is known", async || {
        scrape(&app, "/metrics/redis").await.value("redis_connected_slaves", &[("store", "cache,state"), ("node", "")])
            >= 1.0
    })
    .await;
    assert_eq!(failovers().await, 0);
    eventually("the Sentinel starts a failover", async || {
        group.sentinel.try_command::<String>(&["SENTINEL", "FAILOVER", "gridtokenx"]).is_ok()
    })
    .await;
    eventually("the failover is counted", async || failovers().await == 1).await;
}

/// Complaints about names that are those of `redis_exporter`, or that dashboards of the platform use.
const NAMES_OF_OTHERS: &[&str] =
    &["redis_instantaneous_ops_per_sec", "redis_latest_fork_usec", "redis_uptime_in_seconds"];

#[tokio::test]
async fn promtool_accepts_both_scrapes() {
    let app = TestApp::spawn().await;
    call_everything(&app).await;
    app.get("/no-such-room").await.expect(404);
    for path in ["/metrics", "/metrics/redis"] {
        let text = app.get(path).await.expect(200).text();
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool, which scripts/setup_tests.sh installs");
        promtool.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
        let output = promtool.wait_with_output().expect("promtool ends");
        let complaints =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let own = complaints.lines().filter(|line| !NAMES_OF_OTHERS.iter().any(|name| line.starts_with(name)));
        assert_eq!(own.collect::<Vec<_>>(), Vec::<&str>::new(), "{path}");
    }
}
