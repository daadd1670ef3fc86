//! Alerts of the service itself: injected conditions, one report for each episode, and replicas.

use std::collections::BTreeSet;

use gridtokenx_redis::lifecycle::{Component, Finding};
use serde_json::{Value, json};

use crate::support::{RedisServer, SentinelGroup, ServiceProcess, TestApp, TestAppBuilder, eventually, shifted_clock};

/// Rounds and times that suit a test; the clock of the machine, since episodes last.
pub const FAST: &str = "[alerts]\ninterval = \"50ms\"\nhold = \"100ms\"\nclear = \"300ms\"\ninstance = \"one\"\n";

pub fn builder() -> TestAppBuilder {
    TestApp::builder().system_clock().config("redis.check_interval = \"50ms\"")
}

async fn firing(app: &TestApp) -> BTreeSet<String> {
    let alerts = app.get("/alerts").await.expect(200).json();
    alerts["items"].as_array().expect("a list").iter().map(|alert| text(&alert["condition"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

async fn fires(app: &TestApp, condition: &str) {
    eventually(condition, async || firing(app).await.contains(condition)).await;
}

async fn ends(app: &TestApp, condition: &str) {
    eventually(&format!("the end of {condition}"), async || !firing(app).await.contains(condition)).await;
}

/// How often the history has the beginning of a condition.
async fn beginnings(app: &TestApp, condition: &str) -> usize {
    let history = app.get("/alerts/history?limit=1000").await.expect(200).json();
    let begun = |entry: &&Value| entry["condition"] == condition && entry["status"] == "firing";
    history["items"].as_array().expect("a list").iter().filter(begun).count()
}

#[tokio::test]
async fn injected_conditions_of_redis_are_reported_once() {
    let options = ["--save", "900 1", "--appendonly", "no", "--enable-protected-configs", "yes"];
    let config = format!("{FAST}redis_replicas = 1\n");
    let app = builder().redis_options(&options).behind_proxy().config(&config).spawn().await;
    let set = |name: &str, value: &str| {
        let _: String = app.redis().command(&["CONFIG", "SET", name, value]);
    };
    fires(&app, "ReplicaLost").await;

    let used: String = app.redis().command(&["INFO", "memory"]);
    let used = used.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("a number").trim().to_owned();
    let limit = (used.parse::<f64>().expect("a number") * 1.1).round().to_string();
    set("maxmemory", &limit);
    fires(&app, "HighMemoryUsage").await;
    set("maxmemory", "0");
    ends(&app, "HighMemoryUsage").await;

    // A directory of the snapshot's name cannot be replaced.
    std::fs::create_dir(app.redis().directory().join("taken.rdb")).expect("a directory");
    std::fs::write(app.redis().directory().join("taken.rdb/x"), "").expect("a file");
    set("dbfilename", "taken.rdb");
    let _: String = app.redis().command(&["BGSAVE"]);
    set("stop-writes-on-bgsave-error", "no");
    fires(&app, "SnapshotFailed").await;

    set("maxclients", "10");
    let connector = app.redis().connector();
    let held: Vec<_> = (0..9).map_while(|_| connector().ok()).collect();
    assert!(connector().is_err(), "the limit is reached");
    fires(&app, "RedisRejectsConnections").await;
    fires(&app, "RedisClientsHigh").await;
    drop(held);
    set("maxclients", "1000");
    ends(&app, "RedisClientsHigh").await;

    app.proxy().cut();
    fires(&app, "RedisConnectionLost").await;
    app.get("/alerts/history").await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    ends(&app, "RedisConnectionLost").await;
    for condition in
        ["ReplicaLost", "HighMemoryUsage", "SnapshotFailed", "RedisRejectsConnections", "RedisConnectionLost"]
    {
        assert_eq!(beginnings(&app, condition).await, 1, "{condition}");
    }
}

#[tokio::test]
async fn evictions_of_state_are_reported() {
    let options = ["--save", "900 1", "--appendonly", "no", "--maxmemory-policy", "allkeys-random"];
    let app = builder().redis_options(&options).config(FAST).spawn().await;
    // The counter is known, so that its growth is seen.
    eventually("a round", async || app.get("/health/ready").await.json()["tasks"]["alerts"]["last_run"].is_i64()).await;
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "3mb"]);
    for nth in 0..3_000 {
        let _: String = app.redis().command(&["SET", &format!("fill-{nth}"), &"x".repeat(1_000)]);
    }
    fires(&app, "EvictionOfState").await;
}

#[tokio::test]
async fn injected_conditions_of_the_service_are_reported_once() {
    let spool = tempfile::tempdir().expect("a directory");
    let hosts =
        format!("[hosts]\nunstored_samples = 4\nspool_dir = \"{}\"\nspool_limit = \"2KiB\"\n", spool.path().display());
    let app = builder().behind_proxy().admin_key().config(FAST).config(&hosts).spawn().await;
    let app = Admin(app);
    // The counters are known, so that their growth is seen.
    eventually("a round", async || app.get("/health/ready").await["tasks"]["alerts"]["last_run"].is_i64()).await;
    app.tasks().report("probe", Err("it failed".to_owned()));
    app.0.app().deps.metrics.http.panics.inc();
    let findings = vec![Finding::down("a test".to_owned())];
    app.0.app().deps.component_health.report("probe", Component { findings, ..Component::default() });
    for condition in ["TaskFailing", "Panic", "PartDown"] {
        app.fires(condition).await;
    }
    let _: String = app.0.redis().command(&["SET", "lock:a", "a clock that jumped", "PX", "86400000"]);
    app.post("/locks/a", json!({ "ttl_ms": 1_000 })).await;
    for nth in 0..10 {
        let path = format!("/locks/lost-{nth}");
        let grant = app.post(&path, json!({ "ttl_ms": 60_000 })).await;
        let _: u64 = app.0.redis().command(&["DEL", &format!("lock:lost-{nth}")]);
        let headers =
            [("x-api-key", crate::support::ADMIN_KEY), ("lock-token", grant["token"].as_str().expect("a token"))];
        app.0.send(axum::http::Method::DELETE, &path, &headers, "").await.expect_problem(409, "lock-lost");
    }
    for _ in 0..100 {
        app.0.get("/cache/a").await.expect_problem(401, "unauthenticated");
    }
    for condition in ["LeaseOverlong", "LocksLost", "SecurityEvent"] {
        app.fires(condition).await;
    }
    app.0.proxy().cut();
    eventually("the service is not ready", async || app.0.get("/health/ready").await.is(503)).await;
    for _ in 0..100 {
        app.get("/cache/a").await;
    }
    app.post("/ratelimit/check", json!({ "limiter": "api", "key": "ip:/orders" })).await;
    let mut sample = crate::hosts::sample(0);
    sample.as_object_mut().expect("an object").remove("timestamp");
    for host in 0..30 {
        app.post(&format!("/hosts/h{host}/metrics"), sample.clone()).await;
    }
    for condition in ["RequestsFailing", "LimitsDegraded", "HostsWaiting", "HostSamplesLost", "SpoolFull"] {
        app.fires(condition).await;
    }
    app.0.proxy().heal();
    for condition in ["Panic", "PartDown", "SecurityEvent", "RequestsFailing", "HostSamplesLost"] {
        eventually(condition, async || app.beginnings(condition).await == 1).await;
    }
}

/// The service as an administrator calls it.
struct Admin(TestApp);

impl Admin {
    fn tasks(&self) -> &gridtokenx_redis::lifecycle::Tasks {
        &self.0.app().deps.tasks
    }

    async fn get(&self, path: &str) -> Value {
        let headers = [("x-api-key", crate::support::ADMIN_KEY)];
        self.0.send(axum::http::Method::GET, path, &headers, "").await.json()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let headers = [("x-api-key", crate::support::ADMIN_KEY), ("content-type", "application/json")];
        self.0.send(axum::http::Method::POST, path, &headers, body.to_string()).await.json()
    }

    async fn fires(&self, condition: &str) {
        eventually(condition, async || {
            self.get("/alerts").await["items"]
                .as_array()
                .expect("a list")
                .iter()
                .any(|alert| alert["condition"] == condition)
        })
        .await;
    }

    async fn beginnings(&self, condition: &str) -> usize {
        let history = self.get("/alerts/history?limit=1000").await;
        let begun = |entry: &&Value| entry["condition"] == condition && entry["status"] == "firing";
        history["items"].as_array().map_or(0, |items| items.iter().filter(begun).count())
    }
}

#[test]
fn a_clock_that_differs_is_reported() {
    let redis = RedisServer::start();
    let behind = shifted_clock("-10s");
    let own = [("GTX__ALERTS__INTERVAL", "50ms"), ("GTX__ALERTS__HOLD", "0s"), ("GTX__REDIS__CHECK_INTERVAL", "50ms")];
    let clock = behind.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut service = ServiceProcess::start_on(&redis, &clock.chain(own).collect::<Vec<_>>());
    service.line_with("\"condition\":\"ClockJump\"");
}

#[tokio::test]
async fn a_failover_is_reported() {
    let group = SentinelGroup::start().await;
    let config = format!("{}check_interval = \"50ms\"\n{FAST}", group.config());
    let app = TestApp::builder().system_clock().config(&config).spawn().await;
    eventually("the Sentinel starts a failover", async || {
        group.sentinel.try_command::<String>(&["SENTINEL", "FAILOVER", "gridtokenx"]).is_ok()
    })
    .await;
    fires(&app, "Failover").await;
}

/// The messages of the channel about a condition.
async fn messages(app: &TestApp, condition: &str) -> Vec<Value> {
    let history = app.get("/pubsub/system:alerts/history?limit=100").await.expect(200).json();
    let all = history["items"].as_array().expect("a list").iter();
    all.filter(|message| message["message_type"] == condition).cloned().collect()
}

#[tokio::test]
async fn an_alert_is_a_message_of_the_channel_and_can_be_acknowledged() {
    let app = builder().config(FAST).config("redis_replicas = 1").spawn().await;
    fires(&app, "ReplicaLost").await;
    let messages = messages(&app, "ReplicaLost").await;
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!((&message["message_type"], &message["data"]["status"]), (&json!("ReplicaLost"), &json!("firing")));
    assert_eq!(message["data"]["threshold"], "1");
    let alert = app.get("/alerts").await.json()["items"][0].clone();
    assert_eq!(message["data"]["alert_id"], alert["id"]);
    let path = format!("/alerts/{}/ack", text(&alert["id"]));
    app.post(&path, json!({ "until": 1 })).await.expect_problem(422, "invalid-body");
    app.post(&path, json!({ "until": "soon" })).await.expect_problem(422, "invalid-body");
    app.post("/alerts/none/ack", json!({ "until": "2100-01-01T00:00:00Z" }))
        .await
        .expect_problem(404, "alert-not-found");
    let acknowledged = app.post(&path, json!({ "until": "2100-01-01T00:00:00Z" })).await.expect(200).json();
    assert_eq!(acknowledged["acknowledged"]["until"], 4_102_444_800_000_i64);
    let other =
        builder().beside(&app).config(&FAST.replace("\"one\"", "\"two\"")).config("redis_replicas = 1").spawn().await;
    eventually("another replica knows", async || {
        other.get("/alerts").await.json()["items"][0]["acknowledged"]["until"] == 4_102_444_800_000_i64
    })
    .await;
    app.get("/alerts/history?limit=0").await.expect_problem(422, "invalid-query");
    app.get("/alerts?limit=1").await.expect_problem(422, "invalid-query");
}

#[tokio::test]
async fn two_replicas_and_a_restarted_one_report_an_episode_once() {
    let two = FAST.replace("\"one\"", "\"two\"");
    let with = |config: &str| format!("{config}redis_replicas = 1\n");
    let one = builder().config(&with(FAST)).spawn().await;
    let other = builder().beside(&one).config(&with(&two)).spawn().await;
    fires(&one, "ReplicaLost").await;
    fires(&other, "ReplicaLost").await;
    assert_eq!(one.get("/alerts").await.json()["items"][0]["id"], other.get("/alerts").await.json()["items"][0]["id"]);
    let restarted = builder().beside(&one).config(&with(&two)).spawn().await;
    drop(other);
    fires(&restarted, "ReplicaLost").await;
    let rounds = async || {
        let info: String = one.redis().command(&["INFO", "commandstats"]);
        let calls =
            info.lines().find(|line| line.starts_with("cmdstat_hgetall:")).and_then(|line| line.split_once("calls="));
        calls.and_then(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok()).expect("a count")
    };
    let before = rounds().await;
    eventually("twenty rounds pass", async || rounds().await > before + 40).await;
    assert_eq!(beginnings(&one, "ReplicaLost").await, 1);
    assert_eq!(messages(&one, "ReplicaLost").await.len(), 1);
}

#[tokio::test]
async fn replicas_without_redis_report_the_same_id_and_only_one_message_follows() {
    let one = builder().behind_proxy().config(FAST).spawn().await;
    let other = builder().beside(&one).behind_proxy().config(&FAST.replace("\"one\"", "\"two\"")).spawn().await;
    one.proxy().cut();
    other.proxy().cut();
    fires(&one, "RedisConnectionLost").await;
    fires(&other, "RedisConnectionLost").await;
    let id = async |app: &TestApp| {
        let alerts = app.get("/alerts").await.json();
        let lost = alerts["items"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|alert| alert["condition"] == "RedisConnectionLost");
        text(&lost.expect("the alert")["id"])
    };
    let (first, second) = (id(&one).await, id(&other).await);
    one.proxy().heal();
    other.proxy().heal();
    ends(&one, "RedisConnectionLost").await;
    ends(&other, "RedisConnectionLost").await;
    let lost = messages(&one, "RedisConnectionLost").await;
    let begun = lost.iter().filter(|message| message["data"]["status"] == "firing").count();
    // The outage may have begun around the end of a minute: then the replicas name two episodes.
    assert_eq!(begun, if first == second { 1 } else { begun.min(2) });
}

#[test]
fn alerts_are_logged_at_every_level_and_name_no_secret() {
    let redis = RedisServer::start();
    let variables = [
        ("LOG_LEVEL", "off"),
        ("GTX__ALERTS__INTERVAL", "50ms"),
        ("GTX__ALERTS__HOLD", "100ms"),
        ("GTX__ALERTS__REDIS_REPLICAS", "1"),
        ("GTX__REDIS__CHECK_INTERVAL", "50ms"),
    ];
    let mut service = ServiceProcess::start_on(&redis, &variables);
    let line: Value = serde_json::from_str(&service.line_with("\"target\":\"alert\"")).expect("JSON");
    assert_eq!(
        (&line["condition"], &line["status"], &line["severity"]),
        (&json!("ReplicaLost"), &json!("firing"), &json!("warning"))
    );
}

#[tokio::test]
async fn a_service_that_is_well_writes_nothing() {
    let app = builder().config(FAST).spawn().await;
    let rounds = || {
        let info: String = app.redis().command(&["INFO", "commandstats"]);
        let line = info.lines().find(|line| line.starts_with("cmdstat_hgetall:")).unwrap_or_default().to_owned();
        line.split_once("calls=").and_then(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    eventually("twenty rounds pass", async || rounds() > 40).await;
    assert_eq!(app.redis().keys(), Vec::<String>::new());
}

#[tokio::test]
async fn every_condition_is_a_message_of_the_channels_document() {
    let app = TestApp::spawn().await;
    let document = app.get("/asyncapi.json").await.expect(200).text();
    let source = include_str!("../../../src/features/alerts/conditions.rs");
    let names: BTreeSet<&str> = source
        .split('"')
        .filter(|part| part.starts_with(|first: char| first.is_ascii_uppercase()))
        .filter(|part| !part.contains(' '))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let unknown: Vec<&&str> = names.iter().filter(|name| !document.contains(&format!("\"{name}\""))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
