//! Sentinels fail, move, or stop while a former master comes back.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use axum::http::Method;

use crate::support::{RedisServer, SentinelTrio, ServiceProcess, TestApp, UsedMaster, eventually, replication_has};

const JSON: (&str, &str) = ("content-type", "application/json");
const ONE: (&str, &str) = ("durability", "replicated=1");
const NAMES: [&str; 3] = ["sentinel-1", "sentinel-2", "sentinel-3"];

async fn on(trio: &SentinelTrio) -> TestApp {
    TestApp::builder().config(&trio.config()).system_clock().spawn().await
}

async fn is_written(app: &TestApp, key: &str, headers: &[(&str, &str)]) -> bool {
    app.send(Method::PUT, &format!("/cache/{key}"), &[&[JSON], headers].concat(), "1").await.status.is_success()
}

fn has_key(server: &RedisServer, key: &str) -> bool {
    server.command(&["EXISTS", &format!("cache:{key}")])
}

/// A field of `INFO replication`.
fn offset(server: &RedisServer, field: &str) -> u64 {
    let info: String = server.command(&["INFO", "replication"]);
    let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.expect("the field").trim().parse().expect("a number")
}

#[tokio::test]
async fn a_majority_of_the_sentinels_replaces_the_master_and_a_minority_does_not() {
    let mut trio = SentinelTrio::start().await;
    let app = on(&trio).await;
    trio.sentinels[0].kill();
    assert!(is_written(&app, "one-down", &[ONE]).await);
    trio.kill_master();
    trio.failed_over().await;
    eventually("the service has found the new master", async || is_written(&app, "replaced", &[]).await).await;
    assert!(has_key(trio.master(), "one-down") && has_key(trio.master(), "replaced"));
    trio.boot_replica();
    trio.in_sync().await;

    trio.sentinels[1].kill();
    eventually("a replica has the writes", async || is_written(&app, "two-down", &[ONE]).await).await;
    // A service that starts now finds the master through the last Sentinel.
    let late = on(&trio).await;
    assert!(is_written(&late, "late", &[]).await);
    trio.master().stall();
    eventually("the last Sentinel misses the master", async || {
        let fields: Vec<String> = trio.sentinels[2].command(&["SENTINEL", "MASTER", "gridtokenx"]);
        fields.iter().any(|field| field.contains("s_down"))
    })
    .await;
    eventually("writes are refused at once", async || {
        let reply = app.send(Method::PUT, "/cache/refused", &[JSON], "1").await;
        reply.is(503) && reply.json()["outcome"] == "not_applied"
    })
    .await;
    assert!(replication_has(trio.replica(), "role:slave"), "one Sentinel of three replaced the master");
    trio.master().resume();
    eventually("the master serves again", async || is_written(&app, "resumed", &[ONE]).await).await;
    assert!(replication_has(trio.replica(), "role:slave"));

    // With a second Sentinel there is a majority again.
    trio.boot_sentinel(1);
    trio.kill_master();
    trio.failed_over().await;
    eventually("the service has found the new master", async || is_written(&app, "again", &[]).await).await;
    assert!(has_key(trio.master(), "resumed") && has_key(trio.master(), "again"));
}

#[tokio::test]
async fn sentinels_that_return_with_other_addresses_are_found_by_name() {
    let mut trio = SentinelTrio::start().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (hosts, config) = (directory.path().join("hosts"), directory.path().join("service.toml"));
    std::fs::write(&config, trio.config_with(NAMES)).expect("a file");
    name_sentinels(&hosts, &trio);
    let mut service = ServiceProcess::start_by(with_hosts(&hosts, &config), &[]);
    service.ready();
    trio.move_sentinels().await;
    name_sentinels(&hosts, &trio);
    trio.kill_master();
    trio.failed_over().await;
    service.ready();
    // Only a master knows that there is no value.
    let (status, body) = service.get("/cache/missing");
    assert_eq!(status, 404, "{body}");
}

#[tokio::test]
async fn a_sentinel_that_learns_late_of_a_failover_interrupts_nothing() {
    let mut trio = SentinelTrio::start().await;
    let app = on(&trio).await;
    // The service hears it, and it goes on as if no time had passed.
    trio.sentinels[0].stall();
    trio.kill_master();
    trio.failed_over().await;
    eventually("the service has found the new master", async || is_written(&app, "after", &[]).await).await;
    let connections = connections_of_lanes(trio.master());
    trio.sentinels[0].resume();
    let used = || UsedMaster::of(&trio.sentinels[0]).map(|used| used.port);
    let new = UsedMaster::of(&trio.sentinels[1]).map(|used| used.port);
    eventually("the last Sentinel uses the new master", async || used() == new).await;
    for number in 0..100 {
        assert!(is_written(&app, &format!("late-{number}"), &[]).await);
    }
    assert_eq!(connections_of_lanes(trio.master()), connections);
}

/// The ids of the connections that send scripts and writes of the cache.
fn connections_of_lanes(server: &RedisServer) -> Vec<String> {
    let clients: String = server.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
    let lanes = clients.lines().filter(|client| client.contains("resp=3"));
    lanes.filter_map(|client| Some(client.split(' ').next()?.to_owned())).collect()
}

/// Writes the addresses of the Sentinels where the service looks names up.
fn name_sentinels(hosts: &Path, trio: &SentinelTrio) {
    let mut text = String::new();
    for (name, address) in NAMES.iter().zip(trio.sentinel_addresses()) {
        let _ = writeln!(text, "{address} {name}");
    }
    // In place: the service sees this file, not its path.
    std::fs::write(hosts, text).expect("a file");
}

/// Runs the service in a namespace in which `hosts` is `/etc/hosts`.
fn with_hosts(hosts: &Path, config: &Path) -> Command {
    let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(hosts).arg(env!("CARGO_BIN_EXE_gridtokenx-redis")).arg("--config").arg(config);
    command
}

#[tokio::test]
async fn nobody_writes_to_a_former_master_that_returns_while_the_sentinels_are_stopped() {
    let mut trio = SentinelTrio::start().await;
    let app = on(&trio).await;
    assert!(is_written(&app, "before", &[ONE]).await);
    trio.master().stall();
    trio.failed_over().await;
    eventually("the service has found the new master", async || is_written(&app, "after", &[]).await).await;
    trio.sentinels.iter().for_each(RedisServer::stall);
    let former = trio.replica();
    former.resume();
    // It does not know its successor. What another client writes there is lost.
    let _: String = former.command(&["SET", "divergent", "1"]);
    assert!(replication_has(former, "role:master"));
    for number in 0..100 {
        let key = format!("split-{number}");
        assert!(is_written(&app, &key, &[]).await);
        assert!(has_key(trio.master(), &key) && !has_key(former, &key), "{key}");
    }
    // A service that starts now cannot know which of the two is the master.
    let late = TestApp::builder().config(&trio.config()).system_clock().unready().spawn().await;
    eventually("a service without Sentinels refuses writes", async || {
        let reply = late.send(Method::PUT, "/cache/late", &[JSON], "1").await;
        reply.is(503) && reply.json()["outcome"] == "not_applied"
    })
    .await;
    let (written, shared) = (offset(former, "master_repl_offset"), offset(trio.master(), "second_repl_offset") - 1);
    println!("the former master has {} bytes of writes that its successor does not have", written - shared);
    assert!(written > shared, "{written} {shared}");
    trio.sentinels.iter().for_each(RedisServer::resume);
    trio.in_sync().await;
    eventually("both services write to the new master", async || {
        is_written(&app, "healed", &[ONE]).await && is_written(&late, "late", &[ONE]).await
    })
    .await;
    assert!(!trio.replica().command::<bool>(&["EXISTS", "divergent"]), "the successor's data replaces its own");
    assert!(has_key(trio.replica(), "split-0"));
}
