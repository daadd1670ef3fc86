//! The shipped `config/redis/redis.conf` and `users.acl` on a real server.

use gridtokenx_redis::redis::{Effect, FaultKind};

use crate::support::facade::{Stamp, get, set};
use crate::support::{RedisServer, TestApp, eventually};

#[tokio::test]
async fn the_service_works_as_its_production_user_and_reports_the_server_as_healthy() {
    let app = TestApp::spawn().await;
    let redis = app.state();
    set(redis, "a", "b").await.expect("a write");
    assert_eq!(get(redis, "a").await.expect("a read").as_deref(), Some("b"));
    let stamp = Stamp::new(redis, "stamped");
    assert!(stamp.owns(&redis.call(stamp.call()).await.expect("a script")));
    let _: String = app.redis().command(&["SCRIPT", "FLUSH"]);
    assert!(stamp.owns(&redis.call(stamp.call()).await.expect("a flushed script")));
    eventually("the server was checked", async || app.get("/health/ready").await.text().contains("7.0.15")).await;
    let ready = app.get("/health/ready").await.expect(200).json();
    assert_eq!(ready["status"], "ok", "{ready}");
    assert_eq!(ready["redis"][0]["persistence"], "aof", "{ready}");
    assert_eq!(ready["redis"][0]["eviction_policy"], "noeviction", "{ready}");
}

#[tokio::test]
async fn the_production_user_may_not_list_keys_flush_configure_or_stop_the_server() {
    let app = TestApp::spawn().await;
    for command in [
        "KEYS *",
        "RANDOMKEY",
        "DBSIZE",
        "FLUSHALL",
        "FLUSHDB",
        "SWAPDB 0 1",
        "CONFIG GET *",
        "CONFIG SET save x",
        "SHUTDOWN",
        "SAVE",
        "BGSAVE",
        "BGREWRITEAOF",
        "MONITOR",
        "REPLICAOF NO ONE",
        "SCRIPT FLUSH",
        "SCRIPT KILL",
        "CLIENT KILL TYPE normal",
        "CLIENT PAUSE 1",
        "ACL LIST",
        "ACL WHOAMI",
        "MODULE LIST",
        "FUNCTION LIST",
        "MIGRATE h 1 k 0 1",
        "SORT a",
        "SUBSCRIBE c",
        "PUBLISH c m",
        "SLOWLOG RESET",
        "LATENCY RESET",
        "MEMORY PURGE",
        "COMMAND",
    ] {
        let mut parts = command.split(' ');
        let mut call = redis::cmd(parts.next().expect("a name"));
        for part in parts {
            call.arg(part);
        }
        let answer = app.state().query::<redis::Value>(&call, Effect::Write).await;
        let fault = answer.expect_err(command);
        assert_eq!(fault.kind, FaultKind::Denied, "{command}: {}", fault.with_causes());
    }
}

#[tokio::test]
async fn a_connection_without_a_user_is_denied() {
    let server = RedisServer::start();
    let url = format!("[redis]\nurl = \"unix://{}\"", server.socket().display());
    let app = TestApp::builder().config(&url).unready().spawn().await;
    eventually("the service is denied", async || app.get("/health/ready").await.text().contains("denied")).await;
    assert_eq!(get(app.state(), "a").await.expect_err("denied").kind, FaultKind::Denied);
}

#[tokio::test]
async fn a_killed_production_server_recovers_its_data() {
    let app = TestApp::spawn().await;
    for nth in 0..100 {
        set(app.state(), &format!("key-{nth}"), "kept").await.expect("a write");
    }
    app.redis().kill();
    eventually("readiness turns 503", async || app.get("/health/ready").await.is(503)).await;
    app.redis().boot();
    eventually("the service is ready again", async || app.get("/health/ready").await.is(200)).await;
    for nth in 0..100 {
        assert_eq!(get(app.state(), &format!("key-{nth}")).await.expect("a read").as_deref(), Some("kept"));
    }
}
