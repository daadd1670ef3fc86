//! Locks on a majority of independent masters.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{RedisServer, TestApp, eventually};

/// The longest lease. A new or emptied node does not vote for this long.
const TTL: u64 = 1_000;

fn nodes(count: usize) -> Vec<RedisServer> {
    (0..count).map(|_| RedisServer::start()).collect()
}

fn config(nodes: &[RedisServer]) -> String {
    let urls: Vec<String> = nodes.iter().map(RedisServer::url).collect();
    format!("[locks]\nmax_ttl = \"1s\"\nnamed = []\nnodes = {urls:?}")
}

/// A service whose nodes have all ended their quarantine.
async fn app_on(nodes: &[RedisServer]) -> TestApp {
    let app = TestApp::builder().system_clock().config(&config(nodes)).spawn().await;
    all_vote(&app, nodes.len()).await;
    app
}

async fn all_vote(app: &TestApp, count: usize) {
    eventually("every node votes", async || {
        let reply = app.post("/locks/probe", json!({ "ttl_ms": 100 })).await;
        reply.is(201) && reply.json()["nodes"]["granted"] == count
    })
    .await;
}

async fn acquire(app: &TestApp) -> Value {
    app.post("/locks/a", json!({ "ttl_ms": TTL })).await.expect(201).json()
}

async fn release(app: &TestApp, grant: &Value) {
    let token = grant["token"].as_str().expect("a token");
    app.send(Method::DELETE, "/locks/a", &[("lock-token", token)], Body::empty()).await.expect(204);
}

async fn extend(app: &TestApp, grant: &Value) -> crate::support::Reply {
    app.patch("/locks/a", json!({ "token": grant["token"], "ttl_ms": TTL })).await
}

fn exists(node: &RedisServer) -> bool {
    node.command::<u64>(&["EXISTS", "lock:a"]) == 1
}

#[tokio::test]
async fn every_node_keeps_the_lease_and_the_grant_counts_them() {
    let nodes = nodes(3);
    let app = app_on(&nodes).await;
    let grant = acquire(&app).await;
    assert_eq!(grant["guarantee"], "majority");
    assert_eq!(grant["nodes"], json!({ "granted": 3, "total": 3 }));
    for node in &nodes {
        assert_eq!(node.command::<String>(&["GET", "lock:a"]), grant["token"].as_str().expect("a token"));
        let fence: u64 = node.command(&["GET", "lock:fence:{lock:a}"]);
        assert_eq!(Some(fence), grant["fencing_token"].as_u64(), "every node has the highest token");
    }
    app.post("/locks/a", json!({ "ttl_ms": TTL })).await.expect_problem(409, "lock-held");
    let seen = app.get("/locks/a").await.json();
    assert_eq!((&seen["held"], &seen["fencing_token"]), (&json!(true), &grant["fencing_token"]), "{seen}");
    let listed = async || -> Value { app.get("/locks").await.json()["items"].clone() };
    eventually("it is listed", async || listed().await.to_string().contains("\"a\"")).await;
    assert!(!listed().await.to_string().contains("fencing_token"), "the state role does not know the fence");
    release(&app, &grant).await;
    assert!(nodes.iter().all(|node| !exists(node)));
}

#[tokio::test]
async fn a_grant_of_one_node_is_a_single_node_lease() {
    let nodes = nodes(1);
    let app = app_on(&nodes).await;
    let grant = acquire(&app).await;
    assert_eq!(grant["guarantee"], "single_node_lease");
    assert_eq!(grant["nodes"], json!({ "granted": 1, "total": 1 }));
}

#[tokio::test]
async fn a_minority_may_fail_and_a_majority_may_not() {
    let mut nodes = nodes(5);
    let app = app_on(&nodes).await;
    nodes[0].kill();
    nodes[1].stall();
    let grant = acquire(&app).await;
    assert_eq!(grant["nodes"], json!({ "granted": 3, "total": 5 }));
    assert_eq!(extend(&app, &grant).await.expect(200).json()["nodes"]["granted"], 3);
    release(&app, &grant).await;
    nodes[2].kill();
    let refused = app.post("/locks/a", json!({ "ttl_ms": TTL })).await;
    refused.expect_problem(503, "lock-unavailable");
    eventually("a refused attempt leaves nothing behind", async || !exists(&nodes[3]) && !exists(&nodes[4])).await;
    nodes[1].resume();
    eventually("a node that hung votes again", async || app.post("/locks/a", json!({ "ttl_ms": TTL })).await.is(201))
        .await;
}

#[tokio::test]
async fn an_extension_restores_the_lease_on_nodes_that_lost_it() {
    let nodes = nodes(3);
    let app = app_on(&nodes).await;
    let grant = acquire(&app).await;
    let _: u64 = nodes[0].command(&["DEL", "lock:a"]);
    let extended = extend(&app, &grant).await.expect(200).json();
    assert_eq!(extended["nodes"]["granted"], 3);
    assert_eq!(extended["fencing_token"], grant["fencing_token"]);
    assert!(exists(&nodes[0]));
}

#[tokio::test]
async fn a_lease_that_a_majority_lost_to_others_is_lost() {
    let nodes = nodes(3);
    let app = app_on(&nodes).await;
    let grant = acquire(&app).await;
    for node in &nodes[..2] {
        let _: String = node.command(&["SET", "lock:a", "foreign", "PX", "5000"]);
    }
    extend(&app, &grant).await.expect_problem(409, "lock-lost");
    assert!(!exists(&nodes[2]), "the leases of a minority do not block other clients");
    app.post("/locks/a", json!({ "ttl_ms": TTL })).await.expect_problem(409, "lock-held");
}

#[tokio::test]
async fn a_release_counts_when_no_majority_can_still_have_the_lease() {
    let mut nodes = nodes(5);
    let app = app_on(&nodes).await;
    let grant = acquire(&app).await;
    for node in &nodes[..2] {
        let _: String = node.command(&["SET", "lock:a", "foreign", "PX", "5000"]);
    }
    nodes[2].kill();
    release(&app, &grant).await;
    let grant = app.post("/locks/b", json!({ "ttl_ms": TTL })).await.expect(201).json();
    nodes[3].kill();
    nodes[4].kill();
    let token = [("lock-token", grant["token"].as_str().expect("a token"))];
    let unknown = app.send(Method::DELETE, "/locks/b", &token, Body::empty()).await;
    assert_eq!(unknown.expect_problem(503, "lock-unavailable")["outcome"], "unknown");
}

#[tokio::test]
async fn a_lease_is_not_restored_after_a_later_grant() {
    let nodes = nodes(3);
    let app = app_on(&nodes).await;
    let late = acquire(&app).await;
    // Two nodes forget the lease early, and another client acquires and releases the lock.
    for node in &nodes[..2] {
        let _: u64 = node.command(&["DEL", "lock:a"]);
    }
    let _: u64 = app.redis().command(&["DEL", "lock-turnstile:a"]);
    let between = acquire(&app).await;
    release(&app, &between).await;
    extend(&app, &late).await.expect_problem(409, "lock-lost");
}

#[tokio::test]
async fn a_node_that_restarted_empty_does_not_vote_for_the_longest_lease() {
    let mut nodes = nodes(3);
    let app = app_on(&nodes).await;
    nodes[0].kill();
    nodes[0].boot();
    eventually("the node is reached again", async || {
        let reply = app.post("/locks/probe", json!({ "ttl_ms": 100 })).await;
        reply.is(201) && nodes[0].command::<u64>(&["EXISTS", "locks:node"]) == 1
    })
    .await;
    let grant = acquire(&app).await;
    assert_eq!(grant["nodes"], json!({ "granted": 2, "total": 3 }), "the restarted node does not vote yet");
    all_vote(&app, 3).await;
    let _: String = nodes[1].command(&["FLUSHALL"]);
    eventually("the lease ended everywhere", async || {
        !nodes.iter().any(exists) && app.redis().command::<u64>(&["EXISTS", "lock-turnstile:a"]) == 0
    })
    .await;
    assert_eq!(acquire(&app).await["nodes"]["granted"], 2, "an emptied node does not vote either");
}

#[tokio::test]
async fn fencing_tokens_rise_whichever_majority_votes() {
    let mut nodes = nodes(3);
    let app = app_on(&nodes).await;
    // A node whose clock is an hour ahead hands out tokens that the others could not reach.
    let ahead = (app.clock().now() + 3_600_000) * 1_000;
    let _: String = nodes[0].command(&["SET", "lock:fence:{lock:a}", &ahead.to_string()]);
    let first = acquire(&app).await;
    assert_eq!(first["fencing_token"], ahead + 1);
    release(&app, &first).await;
    nodes[0].kill();
    let second = acquire(&app).await;
    assert!(second["fencing_token"].as_u64() > first["fencing_token"].as_u64(), "{second}");
    app.delete("/locks/a?force=true").await.expect(204);
    assert!(acquire(&app).await["fencing_token"].as_u64() > second["fencing_token"].as_u64());
}

#[tokio::test]
async fn a_majority_grants_valid_tokens_after_a_clock_was_set_back() {
    let nodes = nodes(3);
    let app = app_on(&nodes).await;
    let ahead = (app.clock().now() + 7_200_000) * 1_000;
    for node in &nodes {
        let _: String = node.command(&["SET", "lock:fence:{lock:a}", &ahead.to_string()]);
    }
    let first = acquire(&app).await;
    assert!(first["fencing_token"].as_i64() < Some(ahead - 3_600_000_000), "{first}");
    release(&app, &first).await;
    assert!(acquire(&app).await["fencing_token"].as_u64() > first["fencing_token"].as_u64());
}

#[tokio::test]
async fn a_waiter_at_another_replica_is_woken_when_a_majority_frees_the_lock() {
    let nodes = nodes(3);
    let one = app_on(&nodes).await;
    let other = TestApp::builder().system_clock().config(&config(&nodes)).beside(&one).spawn().await;
    let held = acquire(&one).await;
    let request = json!({ "ttl_ms": TTL, "wait_ms": 15_000 });
    let (waited, ()) = tokio::join!(other.post("/locks/a", request), async {
        eventually("it waits in the queue", async || one.get("/locks/a").await.json()["waiters"] == 1).await;
        release(&one, &held).await;
    });
    assert!(waited.expect(201).json()["fencing_token"].as_u64() > held["fencing_token"].as_u64());
}

#[tokio::test]
async fn locks_work_while_the_queue_is_unavailable() {
    let nodes = nodes(3);
    let app = app_on(&nodes).await;
    app.redis().kill();
    let grant = acquire(&app).await;
    app.post("/locks/a", json!({ "ttl_ms": TTL })).await.expect_problem(409, "lock-held");
    release(&app, &grant).await;
}
