//! A cluster that redirects clients to a node that is away.

use axum::http::Method;
use futures_util::future::join_all;

use super::retries::Retries;
use crate::support::{Cluster, RedisServer, Reply, TestApp, eventually};

const REQUESTS: u64 = 10;
/// One increment, with a name of its own.
async fn increment(app: &TestApp, number: u64) -> Reply {
    let key = format!("increment-{number}");
    let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
    app.send(Method::POST, "/cache/moving/increment", &headers, "{}").await
}

#[tokio::test]
async fn a_slot_that_moved_to_a_node_that_is_away_fails_alone_and_no_increment_is_doubled() {
    let mut cluster = Cluster::start().await;
    for node in &cluster.nodes {
        // The others do not notice that the node is away: clients are sent there all the time.
        let _: String = node.command(&["CONFIG", "SET", "cluster-node-timeout", "600000"]);
    }
    let config = format!("{}command_timeout = \"250ms\"\n", cluster.config());
    let app = TestApp::builder().system_clock().config(&config).spawn().await;
    increment(&app, 0).await.expect(200);
    let slot = cluster.begin_to_move("cache:moving");
    let target = slot.target().pid();
    slot.finish_with(RedisServer::stall);
    let away = cluster.nodes.iter().position(|node| node.pid() == target).expect("the node");
    fails_alone(&app, &cluster, away, 1).await;
    cluster.nodes[away].resume();
    for number in 0..=REQUESTS {
        eventually("the increment is made", async || increment(&app, number).await.is(200)).await;
    }
    let counted = app.get("/cache/moving").await.expect(200).json();
    assert_eq!(counted, REQUESTS + 1, "each increment was made once");

    cluster.nodes[away].kill();
    fails_alone(&app, &cluster, away, REQUESTS + 1).await;
    let problem = increment(&app, 0).await.expect_problem(503, "redis-unavailable");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
}

/// Increments of the moved counter fail, with few retries, and reads of the slots of other nodes do not.
async fn fails_alone(app: &TestApp, cluster: &Cluster, away: usize, first: u64) {
    for reply in join_all((first..first + REQUESTS).map(|number| increment(app, number))).await {
        assert!([503, 504].contains(&reply.status.as_u16()), "{}", reply.text());
    }
    let near = &cluster.nodes[(away + 1) % 3];
    let is_elsewhere = |name: &String| {
        let slot: usize = near.command(&["CLUSTER", "KEYSLOT", &format!("cache:{name}")]);
        (slot / 5_461).min(2) != away
    };
    let names: Vec<String> = (0..30).map(|number| format!("other-{number}")).filter(is_elsewhere).collect();
    assert!(names.len() >= 10, "{names:?}");
    // While the client learns who owns the slots, it sends nothing.
    eventually("reads of other slots have answers", async || {
        let replies = join_all(names.iter().map(async |name| app.get(&format!("/cache/{name}")).await.is(404))).await;
        replies.iter().all(|&is_answered| is_answered)
    })
    .await;
    Retries::of(app).await.assert_few();
}
