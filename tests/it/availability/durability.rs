//! Writes that wait for replicas: header `Durability`, and `[redis.min_replicas]`.

use axum::http::Method;
use serde_json::{Value, json};

use crate::pubsub::socket::price;
use crate::support::{Cluster, RedisServer, Reply, TestApp, eventually, free_port, replicated};

const JSON: (&str, &str) = ("content-type", "application/json");
const ONE: (&str, &str) = ("durability", "replicated=1");

/// The service, its Redis, and a replica.
struct Scene {
    app: TestApp,
    replica: RedisServer,
}

impl Scene {
    async fn with(config: &str) -> Self {
        let (master, replica) = replicated(free_port()).await;
        // A slow machine must not look like a replica that lags.
        let config = format!("redis.command_timeout = \"4s\"\nhttp.request_deadline = \"20s\"\n{config}");
        Self { app: TestApp::builder().config(&config).on(master).spawn().await, replica }
    }

    /// Writes until the replica follows in time.
    async fn follow(&self) {
        eventually("the replica follows", async || self.put("before", &[ONE]).await.status.is_success()).await;
    }

    async fn put(&self, key: &str, headers: &[(&str, &str)]) -> Reply {
        put(&self.app, key, headers).await
    }
}

async fn put(app: &TestApp, key: &str, headers: &[(&str, &str)]) -> Reply {
    app.send(Method::PUT, &format!("/cache/{key}"), &[&[JSON], headers].concat(), "1").await
}

/// The write was made, but its response does not say that replicas have it.
fn expect_unmet(reply: &Reply, detail: &str) {
    let problem = reply.expect_problem(503, "replication-unmet");
    assert_eq!(problem["outcome"], "applied", "{problem}");
    assert_eq!(problem["detail"], detail, "{problem}");
    assert_eq!(reply.header("durability"), None);
}

#[tokio::test]
async fn a_success_says_how_many_replicas_have_the_write() {
    let scene = Scene::with("").await;
    let reply = scene.put("a", &[ONE]).await.expect(201);
    assert_eq!(reply.header("durability"), Some("replicated=1"));
    let keys: Vec<String> = scene.replica.command(&["KEYS", "*"]);
    assert!(keys.iter().any(|key| key == "cache:a"), "{keys:?}");
    assert_eq!(scene.put("b", &[]).await.expect(201).header("durability"), None);
    expect_unmet(
        &scene.put("c", &[("durability", "replicated=2")]).await,
        "1 of 2 replicas confirmed in time what the request wrote",
    );
    scene.app.get("/cache/c").await.expect(200);
}

#[tokio::test]
async fn a_write_that_no_replica_has_is_not_reported_as_a_success() {
    let scene = Scene::with("").await;
    scene.follow().await;
    scene.replica.stall();
    let none = "0 of 1 replicas confirmed in time what the request wrote";
    expect_unmet(&scene.put("a", &[ONE]).await, none);
    scene.app.get("/cache/a").await.expect(200);
    // A write that changes nothing is no confirmation: the replica may not have what it found.
    expect_unmet(&scene.app.send(Method::DELETE, "/cache/unknown", &[ONE], "").await, none);
    scene.put("b", &[]).await.expect(201);
    let error = scene.app.send(Method::PUT, "/cache/a", &[JSON, ONE, ("if-match", "\"other\"")], "2").await;
    error.expect_problem(412, "precondition-failed");
    scene.replica.resume();
    scene.follow().await;
}

#[tokio::test]
async fn without_redis_further_writes_are_rejected_without_a_connection() {
    let app = TestApp::spawn().await;
    app.redis().stall();
    // The first one may find that no connection can be made, or that a connection is silent.
    assert!([503, 504].contains(&put(&app, "a", &[ONE]).await.status.as_u16()));
    eventually("the lane has no connection", async || app.state().report().refusal.is_some()).await;
    let before = metric(&app, "redis_pool_wait_seconds_count").await;
    let problem = put(&app, "a", &[ONE]).await.expect_problem(503, "redis-unavailable");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    assert_eq!(metric(&app, "redis_pool_wait_seconds_count").await, before);
    app.redis().resume();
    eventually("Redis is back", async || put(&app, "a", &[]).await.status.is_success()).await;
}

/// The sum of a metric over its labels.
pub(super) async fn metric(app: &TestApp, name: &str) -> u64 {
    let text = app.get("/metrics").await.expect(200).text();
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
    values.map(|(_, value)| value.parse::<u64>().expect("a whole number")).sum()
}

#[tokio::test]
async fn a_lock_that_no_replica_has_is_released() {
    let scene = Scene::with("").await;
    let acquire = async |name: &str| {
        let body = json!({ "ttl_ms": 30_000 }).to_string();
        scene.app.send(Method::POST, &format!("/locks/{name}"), &[JSON, ONE], body).await
    };
    assert_eq!(acquire("a").await.expect(201).header("durability"), Some("replicated=1"));
    scene.replica.stall();
    let problem = acquire("b").await.expect_problem(503, "replication-unmet");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    assert_eq!(scene.app.get("/locks/b").await.expect(200).json()["held"], false);
}

#[tokio::test]
async fn a_repetition_waits_again() {
    let scene = Scene::with("").await;
    let append = async || {
        let headers = [JSON, ONE, ("idempotency-key", "first")];
        scene.app.send(Method::POST, "/cache/n/increment", &headers, "{}").await
    };
    scene.replica.stall();
    let none = "0 of 1 replicas confirmed in time what the request wrote";
    expect_unmet(&append().await, none);
    expect_unmet(&append().await, none);
    scene.replica.resume();
    let reply = append().await.expect(200);
    assert_eq!(reply.header("durability"), Some("replicated=1"));
    assert_eq!(reply.json()["value"], 1, "the increment was made once");
}

#[tokio::test]
async fn a_bad_demand_is_rejected_by_name_and_nothing_is_stored() {
    let app = TestApp::spawn().await;
    let rule = "must be `replicated=<n>` with a number of replicas from 1 to 9";
    for bad in ["", "1", "replicated=0", "replicated=10", "replicated=-1", "quorum", "replicated=1, replicated=2"] {
        let reply = put(&app, "a", &[("durability", bad)]).await;
        let problem = reply.expect_problem(422, "invalid-header");
        assert_eq!(problem["errors"][0]["pointer"], "/Durability", "{problem}");
        assert_eq!(problem["errors"][0]["detail"], rule, "{problem}");
    }
    let twice = put(&app, "a", &[ONE, ONE]).await.expect_problem(422, "invalid-header");
    assert_eq!(twice["errors"][0]["detail"], "must be given once", "{twice}");
    for path in ["/cache/a", "/health/ready", "/locks/stats"] {
        let reply = app.send(Method::GET, path, &[ONE], "").await;
        reply.expect_problem(422, "invalid-header");
    }
    app.get("/cache/a").await.expect(404);
}

#[tokio::test]
async fn the_configuration_demands_replicas_for_all_writes_of_a_capability() {
    let scene = Scene::with("[redis.min_replicas]\ncache = 1\n").await;
    assert_eq!(scene.put("a", &[]).await.expect(201).header("durability"), Some("replicated=1"));
    let lock = scene.app.post("/locks/a", json!({ "ttl_ms": 1_000 })).await.expect(201);
    assert_eq!(lock.header("durability"), None, "locks have no demand");
    scene.replica.stall();
    expect_unmet(&scene.put("b", &[]).await, "0 of 1 replicas confirmed in time what the request wrote");
    scene.app.post("/locks/b", json!({ "ttl_ms": 1_000 })).await.expect(201);
    scene.app.get("/cache/b").await.expect(200);
}

/// One write of each capability, and what a success returns.
fn writes() -> Vec<(Method, &'static str, Value, u16)> {
    let order = json!({ "order_id": "a", "owner": "u1", "side": "buy", "price": "4", "quantity": "1" });
    vec![
        (Method::PUT, "/cache/a", json!(1), 201),
        (Method::POST, "/cache/batch", json!({ "set": [{ "key": "b", "value": 1 }, { "key": "c", "value": 1 }] }), 200),
        (Method::POST, "/locks/a", json!({ "ttl_ms": 30_000 }), 201),
        (Method::PUT, "/json/a", json!({ "a": 1 }), 201),
        (
            Method::POST,
            "/timeseries/energy:generation:m1/samples",
            json!({ "samples": [{ "timestamp": 1, "value": 1 }] }),
            200,
        ),
        (Method::POST, "/ratelimit/check", json!({ "limiter": "api", "key": "a" }), 200),
        (Method::POST, "/pubsub/market:events", price(1), 201),
        (Method::POST, "/streams/s/events", json!({ "events": [{ "type": "a", "data": 1 }] }), 201),
        (Method::PUT, "/orderbooks/GRID/settings", json!({ "mode": "store", "kind": "orders" }), 201),
        (Method::POST, "/orderbooks/GRID/orders", order, 201),
    ]
}

#[tokio::test]
async fn every_capability_can_wait_for_replicas_on_a_cluster() {
    let cluster = Cluster::with_replicas().await;
    let config = format!("http.request_deadline = \"20s\"\n{}command_timeout = \"4s\"\n", cluster.config());
    let app = TestApp::builder().config(&config).spawn().await;
    for (method, path, body, status) in writes() {
        let reply = app.send(method.clone(), path, &[JSON, ONE], body.to_string()).await;
        assert!(reply.is(status), "{method} {path}: {}", reply.text());
        assert_eq!(reply.header("durability"), Some("replicated=1"), "{method} {path}");
    }
    cluster.replicas.iter().for_each(RedisServer::stall);
    let reply = put(&app, "other", &[ONE]).await;
    expect_unmet(&reply, "0 of 1 replicas confirmed in time what the request wrote");
    cluster.replicas.iter().for_each(RedisServer::resume);
    eventually("the replicas follow again", async || put(&app, "other", &[ONE]).await.is(204)).await;
}

#[tokio::test]
async fn writes_that_redis_refused_are_not_reported_as_applied() {
    let open = "[[ratelimit.limiters]]\nname = \"open\"\nkey = \"rate_limit:open:{key}\"\nwithout_redis = \"open\"\n\
                strategy = { kind = \"gcra\", limit = 8, period = \"1m\" }\n";
    // The test changes the permissions of the default user.
    let app = TestApp::builder().redis_options(&["--save", ""]).config(open).spawn().await;
    put(&app, "a", &[]).await.expect(201);
    let send = async |path: &str, body: Value| app.send(Method::POST, path, &[JSON, ONE], body.to_string()).await;
    let batch = || json!({ "set": [{ "key": "b", "value": 1 }], "delete": ["a"] });
    for (begin, end) in [
        (
            ["CONFIG", "SET", "min-replicas-to-write", "1"].as_slice(),
            ["CONFIG", "SET", "min-replicas-to-write", "0"].as_slice(),
        ),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
    ] {
        let _: String = app.redis().command(begin);
        let refused = send("/cache/batch", batch()).await;
        assert!(refused.is(503), "{begin:?}: {} {}", refused.status, refused.text());
        let checked = send("/ratelimit/check", json!({ "limiter": "open", "key": "k" })).await.expect(200).json();
        assert_eq!(checked["degraded"], true, "{begin:?}: {checked}");
        let _: String = app.redis().command(end);
        eventually("Redis accepts writes", async || put(&app, "a", &[]).await.status.is_success()).await;
    }
    // One item is deleted, and another one refused.
    let _: String = app.redis().command(&["ACL", "SETUSER", "default", "-set"]);
    let problem = send("/cache/batch", batch()).await.expect_problem(503, "replication-unmet");
    assert_eq!(problem["outcome"], "unknown", "{problem}");
    app.get("/cache/a").await.expect(404);
    app.get("/cache/b").await.expect(404);
}
