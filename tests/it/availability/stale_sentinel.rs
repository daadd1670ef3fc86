//! A Sentinel that has missed a failover, beside a former master that believes that it is still the master.

use std::cell::Cell;

use axum::http::Method;

use crate::support::{RedisServer, SentinelTrio, TestApp, UsedMaster, eventually, replication_has};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn on(trio: &SentinelTrio) -> TestApp {
    TestApp::builder().config(&trio.config()).system_clock().spawn().await
}

async fn is_written(app: &TestApp, key: &str) -> bool {
    app.send(Method::PUT, &format!("/cache/{key}"), &[JSON], "1").await.status.is_success()
}

fn has_key(server: &RedisServer, key: &str) -> bool {
    server.command(&["EXISTS", &format!("cache:{key}")])
}

/// Waits until the service writes to this server.
async fn writes_to(app: &TestApp, server: &RedisServer, name: &str) {
    eventually("the service writes to the server", async || is_written(app, name).await && has_key(server, name)).await;
}

/// The former master and the first Sentinel are apart from the other servers, but not from the clients.
fn is_stale(trio: &SentinelTrio) -> bool {
    replication_has(trio.replica(), "role:master")
        && UsedMaster::of(&trio.sentinels[0]).is_some_and(|used| used.port == trio.port_of_replica())
}

#[tokio::test]
async fn a_sentinel_that_has_missed_a_failover_is_not_believed() {
    let mut trio = SentinelTrio::with_links().await;
    let app = on(&trio).await;
    assert!(is_written(&app, "before").await);
    let far = trio.separate_servers(0);
    trio.failed_over().await;
    writes_to(&app, trio.master(), "after").await;
    // It is the first one that the configuration names.
    assert!(is_stale(&trio));
    let late = on(&trio).await;
    for number in 0..50 {
        let key = format!("split-{number}");
        assert!(is_written(if number % 2 == 0 { &app } else { &late }, &key).await);
        assert!(has_key(trio.master(), &key) && !has_key(trio.replica(), &key), "{key}");
    }

    trio.separate_from_clients(&far);
    for (app, name) in [(&app, "app"), (&late, "late")] {
        eventually("writes are refused at once", async || {
            let reply = app.send(Method::PUT, &format!("/cache/refused-{name}"), &[JSON], "1").await;
            assert!(!reply.status.is_success(), "the former master has taken a write");
            reply.is(503) && reply.json()["outcome"] == "not_applied"
        })
        .await;
    }
    // Each look takes a connection of its own.
    let looks = Cell::new(0);
    let connections = || {
        looks.set(looks.get() + 1);
        let info: String = trio.sentinels[0].command(&["INFO", "stats"]);
        let count = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.expect("the field").parse::<u64>().expect("a number") - looks.get()
    };
    let before = connections();
    eventually("both services have asked the first Sentinel several times", async || connections() >= before + 6).await;
    assert!(is_stale(&trio) && trio.replica().command::<Vec<String>>(&["KEYS", "cache:refused-*"]).is_empty());
    trio.heal();
    trio.in_sync().await;
    writes_to(&app, trio.master(), "healed").await;
    writes_to(&late, trio.master(), "late").await;
}

#[tokio::test]
async fn a_service_leaves_a_former_master_when_a_sentinel_comes_back_that_knows_its_successor() {
    let mut trio = SentinelTrio::with_links().await;
    trio.separate();
    trio.failed_over().await;
    // It has seen no other configuration than that of the only Sentinel it reaches.
    let app = on(&trio).await;
    writes_to(&app, trio.replica(), "split").await;
    trio.heal_clients();
    writes_to(&app, trio.master(), "healed").await;
    assert!(is_stale(&trio), "the former master still accepts writes");
}
