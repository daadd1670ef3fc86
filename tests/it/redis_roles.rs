//! Cache and state on separate servers.

use crate::support::facade::set;
use crate::support::{RedisServer, TestApp, eventually};

fn apart(cache: &RedisServer, state: &RedisServer) -> String {
    format!("[redis.cache]\nurl = \"{}\"\n[redis.state]\nurl = \"{}\"\n", cache.url(), state.url())
}

#[tokio::test]
async fn each_role_stores_its_keys_on_its_own_server() {
    let (cache, state) = (RedisServer::start(), RedisServer::start());
    let app = TestApp::builder().config(&apart(&cache, &state)).spawn().await;
    let roles = &app.app().deps.redis;
    set(&roles.cache, "metrics:cached", "x").await.expect("a write");
    set(&roles.state, "metrics:kept", "x").await.expect("a write");
    let exists = |server: &RedisServer, key: &str| server.command::<bool>(&["EXISTS", key]);
    assert!(exists(&cache, "metrics:cached") && !exists(&state, "metrics:cached"));
    assert!(exists(&state, "metrics:kept") && !exists(&cache, "metrics:kept"));

    let ready = app.get("/health/ready").await.expect(200).json();
    let servers: Vec<_> = ready["redis"].as_array().expect("servers").iter().map(|server| &server["roles"]).collect();
    assert_eq!(servers, [&serde_json::json!(["state"]), &serde_json::json!(["cache"])], "{ready}");
}

#[tokio::test]
async fn a_server_with_both_roles_is_listed_once() {
    let app = TestApp::spawn().await;
    let ready = app.get("/health/ready").await.expect(200).json();
    assert_eq!(ready["redis"].as_array().map(Vec::len), Some(1), "{ready}");
    assert_eq!(ready["redis"][0]["roles"], serde_json::json!(["cache", "state"]), "{ready}");
}

#[tokio::test]
async fn eviction_is_allowed_on_the_cache_and_reported_on_the_state_role() {
    let evicting = || RedisServer::with_options(&["--save", "900 1", "--maxmemory-policy", "allkeys-lru"]);
    let keeping = || RedisServer::with_options(&["--save", "900 1"]);
    for (cache, state, status) in [(evicting(), keeping(), "ok"), (keeping(), evicting(), "degraded")] {
        let app = TestApp::builder().config(&apart(&cache, &state)).spawn().await;
        eventually("both servers were checked", async || {
            let ready = app.get("/health/ready").await.json();
            ready["redis"].as_array().is_some_and(|all| all.iter().all(|one| one["version"].is_string()))
        })
        .await;
        let ready = app.get("/health/ready").await.expect(200).json();
        assert_eq!(ready["status"], status, "{ready}");
        for reason in ready["reasons"].as_array().expect("reasons") {
            let text = reason["reason"].as_str().expect("text");
            assert!(text.contains("role `state` has maxmemory-policy `allkeys-lru`"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_lost_cache_is_reported_and_does_not_affect_the_state_role() {
    let (mut cache, state) = (RedisServer::start(), RedisServer::start());
    let app = TestApp::builder().config(&apart(&cache, &state)).spawn().await;
    cache.kill();
    eventually("readiness reports the cache", async || {
        let ready = app.get("/health/ready").await;
        ready.is(503) && ready.text().contains("redis role `cache`: not connected") && !ready.text().contains("`state`")
    })
    .await;
    set(app.state(), "metrics:kept", "x").await.expect("a write");
}
