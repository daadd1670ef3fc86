//! Locks on a cluster of three masters, and with a Sentinel that replaces the master.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Cluster, Reply, SentinelGroup, TestApp, eventually};

const LONG: u64 = 60_000;
/// Enough names for slots on all three nodes of a cluster.
const NAMES: usize = 24;

/// Waiters ask by themselves every 20 s here, so a hand-over that takes less than this is the effect of a wake-up.
const WOKEN: Duration = Duration::from_secs(10);

async fn replica(topology: &str) -> TestApp {
    TestApp::builder().system_clock().config("[locks]\nrecheck = \"20s\"").config(topology).spawn().await
}

fn path(nth: usize) -> String {
    format!("/locks/settlement:{nth}")
}

async fn acquire(app: &TestApp, path: &str, ttl_ms: u64, wait_ms: u64) -> Reply {
    app.post(path, json!({ "ttl_ms": ttl_ms, "wait_ms": wait_ms })).await
}

async fn release(app: &TestApp, path: &str, grant: &Value) -> Reply {
    let token = grant["token"].as_str().expect("a token");
    app.send(Method::DELETE, path, &[("lock-token", token)], Body::empty()).await
}

async fn waiters(app: &TestApp, path: &str, count: u64) {
    eventually("the clients wait in the queue", async || app.get(path).await.json()["waiters"] == count).await;
}

fn fence(grant: &Value) -> u64 {
    grant["fencing_token"].as_u64().expect("a fencing token")
}

#[tokio::test]
async fn a_cluster_keeps_locks_on_all_its_nodes() {
    let cluster = Cluster::start().await;
    let app = replica(&cluster.config()).await;
    let mut grants = Vec::new();
    for nth in 0..NAMES {
        grants.push(acquire(&app, &path(nth), LONG, 0).await.expect(201).json());
    }
    for node in &cluster.nodes {
        assert!(node.command::<i64>(&["DBSIZE"]) > 2, "a node has no locks");
        // The service loads the scripts again.
        let _: String = node.command(&["SCRIPT", "FLUSH"]);
    }
    for (nth, grant) in grants.iter().enumerate() {
        acquire(&app, &path(nth), LONG, 0).await.expect_problem(409, "lock-held");
        let extension = json!({ "token": grant["token"], "ttl_ms": LONG });
        assert_eq!(app.patch(&path(nth), extension).await.expect(200).json()["fencing_token"], grant["fencing_token"]);
    }
    eventually("all are listed", async || {
        app.get("/locks?limit=100").await.expect(200).json()["items"].as_array().map(Vec::len) == Some(NAMES)
    })
    .await;
    app.delete("/locks/settlement:0?force=true").await.expect(204);
    release(&app, &path(0), &grants[0]).await.expect_problem(409, "lock-lost");
    let next = acquire(&app, &path(0), LONG, 0).await.expect(201).json();
    assert!(fence(&next) > fence(&grants[0]));
    for (nth, grant) in grants.iter().enumerate().skip(1) {
        release(&app, &path(nth), grant).await.expect(204);
    }
}

#[tokio::test]
async fn several_locks_of_a_cluster_are_acquired_together_or_not_at_all() {
    let cluster = Cluster::start().await;
    let app = replica(&cluster.config()).await;
    let resources: Vec<String> = (0..16).map(|nth| format!("settlement:{nth}")).collect();
    let request = json!({ "resources": resources, "ttl_ms": LONG });
    let granted = app.post("/locks/acquire-all", request.clone()).await.expect(201).json();
    for lock in granted["locks"].as_array().expect("locks") {
        let path = format!("/locks/{}", lock["resource"].as_str().expect("a name"));
        release(&app, &path, lock).await.expect(204);
    }
    acquire(&app, &path(7), LONG, 0).await.expect(201);
    app.post("/locks/acquire-all", request).await.expect_problem(409, "lock-held");
    for nth in (0..16).filter(|nth| *nth != 7) {
        assert_eq!(app.get(&path(nth)).await.json()["held"], false, "{nth} was released");
    }
}

#[tokio::test]
async fn a_release_on_any_node_of_a_cluster_wakes_the_waiters_at_every_replica() {
    let cluster = Cluster::start().await;
    let (one, other) = (replica(&cluster.config()).await, replica(&cluster.config()).await);
    join_all((0..NAMES).map(async |nth| {
        let path = path(nth);
        let held = acquire(&one, &path, LONG, 0).await.expect(201).json();
        // One waiter at each replica, in this order.
        let pass_on = async |app: &TestApp, before: u64| {
            waiters(&one, &path, before).await;
            let grant = acquire(app, &path, LONG, 15_000).await.expect(201).json();
            let granted_at = Instant::now();
            release(app, &path, &grant).await.expect(204);
            (fence(&grant), granted_at)
        };
        let ((first, first_at), (second, _), released_at) = tokio::join!(pass_on(&other, 0), pass_on(&one, 1), async {
            waiters(&one, &path, 2).await;
            let now = Instant::now();
            release(&one, &path, &held).await.expect(204);
            now
        });
        assert!(first_at - released_at < WOKEN, "{path}: {:?}", first_at - released_at);
        assert!(fence(&held) < first && first < second, "in order of arrival");
    }))
    .await;
}

#[tokio::test]
async fn the_end_of_a_lease_on_a_cluster_hands_the_lock_over() {
    let cluster = Cluster::start().await;
    let app = replica(&cluster.config()).await;
    join_all((0..6).map(async |nth| {
        let held = acquire(&app, &path(nth), 300, 0).await.expect(201).json();
        let next = acquire(&app, &path(nth), LONG, 15_000).await.expect(201).json();
        assert!(fence(&next) > fence(&held));
    }))
    .await;
}

#[tokio::test]
async fn a_held_lock_moves_with_its_slot_and_its_waiter_is_served() {
    let cluster = Cluster::start().await;
    let app = replica(&cluster.config()).await;
    let held = acquire(&app, "/locks/moving", LONG, 0).await.expect(201).json();
    let extension = json!({ "token": held["token"], "ttl_ms": LONG });
    let (waited, ()) = tokio::join!(acquire(&app, "/locks/moving", LONG, 18_000), async {
        waiters(&app, "/locks/moving", 1).await;
        let slot = cluster.begin_to_move("lock:moving");
        slot.move_key("lock:moving");
        // A script whose keys are on two nodes cannot run; it fails quickly.
        let began = Instant::now();
        let refused = acquire(&app, "/locks/moving", LONG, 0).await.expect_problem(503, "redis-unavailable");
        assert_eq!(refused["outcome"], "not_applied", "{refused}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        slot.finish();
        acquire(&app, "/locks/moving", LONG, 0).await.expect_problem(409, "lock-held");
        app.patch("/locks/moving", extension).await.expect(200);
        assert_eq!(app.get("/locks/moving").await.json()["waiters"], 1, "its queue entry moved too");
        release(&app, "/locks/moving", &held).await.expect(204);
    });
    assert!(fence(&waited.expect(201).json()) > fence(&held));
}

async fn fail_over(app: &TestApp, group: &mut SentinelGroup) {
    group.master.kill();
    eventually("the replica is the master", async || {
        // A promotion closes the connections of clients.
        let info = group.replica.try_command::<String>(&["INFO", "replication"]);
        info.is_ok_and(|info| info.contains("role:master"))
    })
    .await;
    eventually("locks can be inspected again", async || app.get("/locks/a").await.is(200)).await;
}

#[tokio::test]
async fn a_replicated_lock_outlives_its_master() {
    let mut group = SentinelGroup::start().await;
    let app = replica(&group.config()).await;
    let held = acquire(&app, "/locks/a", LONG, 0).await.expect(201).json();
    eventually("the replica has the lock", async || group.replica.command::<u64>(&["EXISTS", "lock:a"]) == 1).await;
    fail_over(&app, &mut group).await;
    acquire(&app, "/locks/a", LONG, 0).await.expect_problem(409, "lock-held");
    let extension = json!({ "token": held["token"], "ttl_ms": LONG });
    let extended = app.patch("/locks/a", extension).await.expect(200).json();
    assert_eq!(extended["fencing_token"], held["fencing_token"]);
    // The wake-ups come from the new master.
    let wait = async {
        let grant = acquire(&app, "/locks/a", LONG, 18_000).await.expect(201).json();
        (grant, Instant::now())
    };
    let ((next, granted_at), released_at) = tokio::join!(wait, async {
        waiters(&app, "/locks/a", 1).await;
        let now = Instant::now();
        release(&app, "/locks/a", &held).await.expect(204);
        now
    });
    assert!(granted_at - released_at < WOKEN, "{:?}", granted_at - released_at);
    assert!(fence(&next) > fence(&held), "{next} after {held}");
}

#[tokio::test]
async fn waiters_fail_when_the_master_is_lost_and_leave_nothing_behind() {
    let mut group = SentinelGroup::start().await;
    let app = TestApp::builder().system_clock().config(&group.config()).spawn().await;
    let held = acquire(&app, "/locks/a", LONG, 0).await.expect(201).json();
    let wait = async || {
        let reply = acquire(&app, "/locks/a", LONG, 20_000).await;
        (reply, Instant::now())
    };
    let (answers, lost) = tokio::join!(join_all((0..3).map(|_| wait())), async {
        waiters(&app, "/locks/a", 3).await;
        eventually("the replica has the queue", async || {
            group.replica.command::<u64>(&["ZCARD", "lock:queue:{lock:a}"]) == 3
        })
        .await;
        let lost = Instant::now();
        fail_over(&app, &mut group).await;
        lost
    });
    for (answer, at) in answers {
        assert!(answer.is(503) || answer.is(504), "{}", answer.text());
        assert!(at - lost < Duration::from_secs(3), "failed after {:?}", at - lost);
    }
    release(&app, "/locks/a", &held).await.expect(204);
    let grant = acquire(&app, "/locks/a", LONG, 15_000).await.expect(201).json();
    assert!(fence(&grant) > fence(&held));
    eventually("their queue entries are gone", async || app.get("/locks/a").await.json()["waiters"] == 0).await;
}

#[tokio::test]
async fn a_replica_that_missed_the_grant_grants_again_with_a_higher_fence() {
    let mut group = SentinelGroup::start().await;
    let app = replica(&group.config()).await;
    // The replica cannot reconnect once its link is cut.
    let _: String = group.replica.command(&["CONFIG", "SET", "masteruser", "wrong", "masterauth", "wrong"]);
    let _: u64 = group.master.command(&["CLIENT", "KILL", "TYPE", "replica"]);
    eventually("the link is down", async || {
        group.replica.command::<String>(&["INFO", "replication"]).contains("master_link_status:down")
    })
    .await;
    let first = acquire(&app, "/locks/a", LONG, 0).await.expect(201).json();
    assert_eq!(first["guarantee"], "single_node_lease", "which does not promise to survive a failover");
    fail_over(&app, &mut group).await;
    let second = acquire(&app, "/locks/a", LONG, 0).await.expect(201).json();
    assert!(fence(&second) > fence(&first), "only the fence distinguishes the two holders");
    let extension = json!({ "token": first["token"], "ttl_ms": LONG });
    app.patch("/locks/a", extension).await.expect_problem(409, "lock-lost");
    release(&app, "/locks/a", &first).await.expect_problem(409, "lock-not-owned");
}
