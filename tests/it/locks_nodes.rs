//! Lock nodes in the readiness report: which nodes vote, which are quarantined, and when too few vote.

use serde_json::{Value, json};

use crate::support::{RedisServer, Reply, TestApp, eventually};

/// How long a new or emptied node does not vote: the longest lease, and 1 % + 2 ms.
const QUARANTINE: i64 = 1_012;

fn three() -> Vec<RedisServer> {
    (0..3).map(|_| RedisServer::start()).collect()
}

async fn spawn(nodes: &[RedisServer]) -> TestApp {
    let urls: Vec<String> = nodes.iter().map(RedisServer::url).collect();
    let config = format!("[locks]\nmax_ttl = \"1s\"\nnamed = []\nnodes = {urls:?}");
    TestApp::builder().system_clock().config(&config).unready().spawn().await
}

async fn ready(app: &TestApp) -> Reply {
    app.get("/health/ready").await
}

fn states(ready: &Value) -> Vec<&str> {
    let members = ready["parts"]["locks.nodes"].as_array().expect("the nodes");
    members.iter().map(|member| member["state"].as_str().expect("a state")).collect()
}

fn reasons(ready: &Value) -> String {
    ready["reasons"].to_string()
}

async fn all_vote(app: &TestApp) {
    eventually("every node votes", async || states(&ready(app).await.json()) == ["voting"; 3]).await;
}

#[tokio::test]
async fn new_nodes_end_their_quarantine_before_the_service_is_ready() {
    let nodes = three();
    let app = spawn(&nodes).await;
    eventually("the nodes are reported", async || states(&ready(&app).await.json()) == ["quarantined"; 3]).await;
    let waiting = ready(&app).await.expect(503).json();
    assert_eq!(waiting["status"], "unavailable", "{waiting}");
    assert!(reasons(&waiting).contains("0 of 3 lock nodes vote"), "{waiting}");
    for (member, node) in waiting["parts"]["locks.nodes"].as_array().expect("the nodes").iter().zip(&nodes) {
        assert_eq!(member["name"], format!("unix://{}", node.socket().display()), "{member}");
        let rest = member["until"].as_i64().expect("a time") - app.clock().now();
        assert!((1..=QUARANTINE).contains(&rest), "{rest}: {member}");
    }
    all_vote(&app).await;
    let voting = ready(&app).await.expect(200).json();
    assert_eq!((&voting["status"], &voting["reasons"]), (&json!("ok"), &json!([])), "{voting}");
    assert_eq!(voting["parts"]["locks.nodes"][0].get("until"), None, "{voting}");
    // No request for a lock was needed.
    let grant = app.post("/locks/a", json!({ "ttl_ms": 1_000 })).await.expect(201).json();
    assert_eq!(grant["nodes"], json!({ "granted": 3, "total": 3 }));
}

#[tokio::test]
async fn a_stopped_minority_degrades_and_a_stopped_majority_ends_readiness() {
    let mut nodes = three();
    let app = spawn(&nodes).await;
    all_vote(&app).await;
    nodes[0].stall();
    eventually("the stopped node is reported", async || states(&ready(&app).await.json())[0] == "unreachable").await;
    let degraded = ready(&app).await.expect(200).json();
    assert_eq!(degraded["status"], "degraded", "{degraded}");
    assert!(reasons(&degraded).contains(&format!("lock node unix://{}", nodes[0].socket().display())), "{degraded}");
    nodes[1].kill();
    eventually("the service is not ready", async || ready(&app).await.is(503)).await;
    let down = ready(&app).await.json();
    assert_eq!(states(&down), ["unreachable", "unreachable", "voting"]);
    assert!(reasons(&down).contains("1 of 3 lock nodes vote"), "{down}");
    app.post("/locks/a", json!({ "ttl_ms": 1_000 })).await.expect_problem(503, "lock-unavailable");
    nodes[0].resume();
    eventually("the service is ready again", async || ready(&app).await.is(200)).await;
    app.post("/locks/a", json!({ "ttl_ms": 1_000 })).await.expect(201);
}

#[tokio::test]
async fn nodes_that_lost_their_data_do_not_vote_until_their_last_leases_have_ended() {
    let mut nodes = three();
    let app = spawn(&nodes).await;
    all_vote(&app).await;
    let _: String = nodes[0].command(&["FLUSHALL"]);
    eventually("the emptied node is quarantined", async || states(&ready(&app).await.json())[0] == "quarantined").await;
    assert_eq!(ready(&app).await.expect(200).json()["status"], "degraded");
    nodes[1].kill();
    nodes[1].boot();
    eventually("the restarted node is quarantined", async || states(&ready(&app).await.json())[1] == "quarantined")
        .await;
    all_vote(&app).await;
    ready(&app).await.expect(200);
}

#[tokio::test]
async fn a_node_that_may_evict_its_leases_is_reported() {
    let nodes = three();
    let _: String = nodes[2].command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let app = spawn(&nodes).await;
    eventually("the eviction policy is reported", async || reasons(&ready(&app).await.json()).contains("allkeys-lru"))
        .await;
    let found = ready(&app).await.json();
    assert!(reasons(&found).contains(&format!("lock node unix://{}: ", nodes[2].socket().display())), "{found}");
}

#[tokio::test]
async fn a_service_without_lock_nodes_reports_none() {
    let app = TestApp::spawn().await;
    let parts = ready(&app).await.expect(200).json()["parts"].clone();
    assert_eq!((parts.is_object(), parts.get("locks.nodes")), (true, None), "{parts}");
}
