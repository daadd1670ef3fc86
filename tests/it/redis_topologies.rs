//! More than one server: a master behind Sentinel, and a cluster.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use gridtokenx_redis::redis::{Effect, FaultKind, Outcome};

use crate::support::facade::{Ledger, Stamp, get, increment, set};
use crate::support::{Cluster, SentinelGroup, TestApp, eventually};

async fn on_group(group: &SentinelGroup) -> TestApp {
    TestApp::builder().config(&group.config()).spawn().await
}

#[tokio::test]
async fn the_service_writes_again_after_a_sentinel_failover() {
    let mut group = SentinelGroup::start().await;
    let app = on_group(&group).await;
    let redis = app.state();
    for nth in 0..20 {
        set(redis, &format!("before-{nth}"), "kept").await.expect("a write");
    }
    let kept: i64 = redis.query(redis::cmd("WAIT").arg(1).arg(1_000), Effect::Read).await.expect("replicated");
    assert_eq!(kept, 1);
    group.master.kill();
    eventually("readiness turns 503", async || app.get("/health/ready").await.is(503)).await;
    eventually("the service writes again", async || set(redis, "after", "written").await.is_ok()).await;
    assert_eq!(get(redis, "before-19").await.expect("a read").as_deref(), Some("kept"));
    let stamp = Stamp::new(redis, "stamped");
    assert!(stamp.owns(&redis.call(stamp.call()).await.expect("a script")));
    assert_eq!(group.replica.command::<String>(&["GET", "after"]), "written");
    eventually("the service is ready again", async || app.get("/health/ready").await.is(200)).await;
}

#[tokio::test]
async fn the_service_leaves_a_demoted_master_for_the_new_one() {
    let group = SentinelGroup::start().await;
    let app = on_group(&group).await;
    let redis = app.state();
    set(redis, "before", "written").await.expect("a write");
    eventually("the Sentinel starts a failover", async || {
        group.sentinel.try_command::<String>(&["SENTINEL", "FAILOVER", "gridtokenx"]).is_ok()
    })
    .await;
    eventually("the roles are swapped", async || {
        // The Sentinel closes all connections of the old master, including that of the test.
        let info = group.master.try_command::<String>(&["INFO", "replication"]);
        info.is_ok_and(|text| text.contains("role:slave"))
    })
    .await;
    eventually("the service writes to the new master", async || {
        set(redis, "after", "written").await.is_ok()
            && group.replica.try_command::<String>(&["GET", "after"]).is_ok_and(|value| value == "written")
    })
    .await;
}

async fn on_cluster(cluster: &Cluster) -> TestApp {
    TestApp::builder().config(&cluster.config()).spawn().await
}

/// Names whose keys are on all three nodes.
fn names() -> Vec<String> {
    (0..60).map(|nth| format!("key-{nth}")).collect()
}

#[tokio::test]
async fn commands_and_scripts_work_on_all_nodes_of_a_cluster() {
    let cluster = Cluster::start().await;
    let app = on_cluster(&cluster).await;
    let redis = app.state();
    for name in names() {
        set(redis, &name, &name).await.expect("a write");
        assert_eq!(get(redis, &name).await.expect("a read"), Some(name));
    }
    for node in &cluster.nodes {
        assert!(node.command::<i64>(&["DBSIZE"]) > 5, "a node got no keys");
    }
    let stamps: Vec<Stamp> = names().iter().map(|name| Stamp::new(redis, name)).collect();
    for (stamp, answer) in stamps.iter().zip(redis.call_all(stamps.iter().map(Stamp::call)).await.expect("a pipeline"))
    {
        assert!(stamp.owns(&answer.expect("a call")));
    }
    // One node loses its scripts.
    let _: String = cluster.nodes[1].command(&["SCRIPT", "FLUSH"]);
    for stamp in &stamps {
        assert!(stamp.owns(&redis.call(stamp.call()).await.expect("a call")));
    }
    for node in &cluster.nodes {
        let _: String = node.command(&["SCRIPT", "FLUSH"]);
    }
    for (stamp, answer) in stamps.iter().zip(redis.call_all(stamps.iter().map(Stamp::call)).await.expect("a pipeline"))
    {
        assert!(stamp.owns(&answer.expect("a call")));
    }
    let reads: Vec<_> = names().iter().map(|name| redis::cmd("GET").arg(name).clone()).collect();
    let answers = redis.query_all(&reads, Effect::Read).await.expect("a pipeline");
    for (name, answer) in names().iter().zip(answers) {
        let value: String = redis::from_redis_value(answer.expect("a read")).expect("text");
        assert_eq!(value, format!("value of {name}"));
    }
}

#[tokio::test]
async fn health_covers_all_nodes_of_a_cluster_and_scripts_are_loaded_on_each() {
    let cluster = Cluster::start().await;
    let _: String = cluster.nodes[2].command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let app = on_cluster(&cluster).await;
    eventually("the nodes were checked", async || app.get("/health/ready").await.text().contains("7.0.15")).await;
    let ready = app.get("/health/ready").await.expect(200).json();
    assert_eq!(ready["status"], "degraded", "{ready}");
    let report = &ready["redis"][0];
    assert_eq!(report["topology"], "cluster", "{ready}");
    assert_eq!(report["eviction_policy"], "allkeys-lru", "the worst node decides: {ready}");
    let findings = report["findings"].as_array().expect("findings");
    let reasons: Vec<&str> = findings.iter().filter_map(|finding| finding["reason"].as_str()).collect();
    let about: Vec<&&str> = reasons.iter().filter(|reason| reason.contains("maxmemory-policy")).collect();
    let [named] = about.as_slice() else { panic!("{ready}") };
    assert!(named.contains(&format!("node 127.0.0.1:{}", cluster.ports[2])), "{named}");
    for node in &cluster.nodes {
        for script in gridtokenx_redis::app::scripts() {
            let known: Vec<bool> = node.command(&["SCRIPT", "EXISTS", script.sha()]);
            assert_eq!(known, [true], "{}", script.name);
        }
    }
}

#[tokio::test]
async fn a_node_of_a_cluster_that_keeps_nothing_is_found() {
    let cluster = Cluster::start().await;
    for (nth, node) in cluster.nodes.iter().enumerate() {
        let points = if nth == 1 { "" } else { "900 1" };
        let _: String = node.command(&["CONFIG", "SET", "appendonly", "no"]);
        let _: String = node.command(&["CONFIG", "SET", "save", points]);
    }
    let app = on_cluster(&cluster).await;
    let named = format!("node 127.0.0.1:{}: a restart", cluster.ports[1]);
    eventually("the node is found", async || {
        let findings = app.get("/health/ready").await.json()["redis"][0]["findings"].to_string();
        findings.contains("nothing persists") && findings.contains(&named)
    })
    .await;
    let report = app.get("/health/ready").await.json()["redis"][0].clone();
    assert_eq!(
        (&report["persistence"], report["findings"].as_array().map(Vec::len)),
        (&"none".into(), Some(1)),
        "{report}"
    );
}

#[tokio::test]
async fn no_write_is_applied_twice_after_a_node_connection_is_killed() {
    let cluster = Arc::new(Cluster::start().await);
    let app = on_cluster(&cluster).await;
    let redis = app.state();
    let over = Arc::new(AtomicBool::new(false));
    // In a separate thread, so that replies are lost in transit and not between calls.
    let killer = {
        let (cluster, over) = (Arc::clone(&cluster), Arc::clone(&over));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for node in &cluster.nodes {
                    let _ = node.try_command::<i64>(&["CLIENT", "KILL", "TYPE", "normal"]);
                }
                // Polls a blocking connection; `eventually` needs a runtime.
                std::thread::sleep(Duration::from_millis(2));
            }
        })
    };
    let ledger = Ledger::default();
    // Enough calls for some replies to be lost in transit, whatever the scheduling of the killer thread.
    let (calls, lost) = (Cell::new(0), Cell::new(0));
    join_all((0..24).map(async |_| {
        while calls.get() < 6_000 || (lost.get() == 0 && calls.get() < 200_000) {
            calls.set(calls.get() + 1);
            let answer = ledger.write(redis).await;
            lost.set(lost.get() + i32::from(answer.is_err_and(|fault| fault.outcome == Outcome::Unknown)));
        }
    }))
    .await;
    over.store(true, Ordering::Relaxed);
    killer.join().expect("the killer thread ends");
    eventually("every node is reachable again", async || {
        join_all(names().iter().map(async |name| get(redis, name).await)).await.iter().all(Result::is_ok)
    })
    .await;
    let (acknowledged, unknown) = ledger.verify(redis).await;
    assert!(acknowledged > 100 && unknown > 0, "no reply was lost: {acknowledged} + {unknown}");
}

#[tokio::test]
async fn keys_are_found_during_and_after_a_slot_migration() {
    let cluster = Cluster::start().await;
    let app = on_cluster(&cluster).await;
    let redis = app.state();
    set(redis, "moving", "before").await.expect("a write");
    let slot = cluster.begin_to_move("moving");
    slot.move_key("moving");
    assert_eq!(get(redis, "moving").await.expect("a read").as_deref(), Some("before"), "ASK is followed");
    set(redis, "moving", "between").await.expect("ASK is followed");
    slot.finish();
    assert_eq!(get(redis, "moving").await.expect("a read").as_deref(), Some("between"), "MOVED is followed");
    set(redis, "moving", "after").await.expect("MOVED is followed");
    assert_eq!(increment(redis, "moving").await.expect_err("text").kind, FaultKind::Internal);
}

#[tokio::test]
async fn a_lost_cluster_node_fails_its_calls_in_time_and_recovers() {
    let cluster = Cluster::start().await;
    let app = on_cluster(&cluster).await;
    let redis = app.state();
    cluster.nodes[0].stall();
    let started = std::time::Instant::now();
    let answers = join_all(names().iter().map(async |name| set(redis, name, "x").await)).await;
    assert!(started.elapsed() < Duration::from_millis(600), "{:?}", started.elapsed());
    assert!(answers.iter().any(Result::is_ok), "the other nodes still work");
    assert!(answers.iter().any(Result::is_err), "the frozen node cannot have replied");
    cluster.nodes[0].resume();
    eventually("every key can be written", async || {
        for name in names() {
            if set(redis, &name, "y").await.is_err() {
                return false;
            }
        }
        true
    })
    .await;
    let values: BTreeSet<Option<String>> =
        join_all(names().iter().map(async |name| get(redis, name).await.expect("a read"))).await.into_iter().collect();
    assert_eq!(values, BTreeSet::from([Some("y".to_owned())]));
}
