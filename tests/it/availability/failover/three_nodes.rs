//! The network separates one of three data nodes, the master, from a majority of the Sentinels. Its clients stay with it, and one
//! of its replicas may.
//!
//! `WAIT` counts any replica, and a majority of the Sentinels promotes one that it can reach. If the two are not the same, a
//! confirmed write is lost.

use axum::http::Method;

use super::load::JSON;
use super::{Observed, config, is_long, observe, open_book};
use crate::support::{SentinelTrio, TestApp, eventually};

/// The partitions of each kind in the long form.
const MANY: usize = 8;

async fn on(trio: &SentinelTrio) -> TestApp {
    let app = TestApp::builder().system_clock().config(&config(&trio.config())).spawn().await;
    open_book(&app).await;
    app
}

/// Separates the master with so many of its replicas until another one has replaced it, and `meanwhile` has happened.
async fn separated(
    app: &TestApp,
    trio: &mut SentinelTrio,
    kind: &str,
    first: u64,
    replicas: usize,
    meanwhile: impl AsyncFnOnce(),
) -> Observed {
    let observed = observe(app, kind, first, async || {
        trio.separate_with(replicas);
        trio.failed_over().await;
        meanwhile().await;
        trio.heal();
        trio.in_sync().await;
    })
    .await;
    println!("  {} confirmations were lost", observed.lost.len());
    assert!(observed.doubled.is_empty(), "{kind}: {:#?}", observed.doubled);
    observed
}

#[tokio::test]
async fn a_master_without_its_two_replicas_confirms_nothing_and_can_be_made_to_stop() {
    let mut trio = SentinelTrio::of_three_nodes().await;
    let app = on(&trio).await;
    let mut first = 0;
    for _ in 0..if is_long() { MANY } else { 1 } {
        let kind = "the master of three is separated";
        first = separated(&app, &mut trio, kind, first, 0, async || {}).await.next;
    }
    for node in trio.nodes() {
        // As in replica.conf, with less patience.
        for (name, value) in [("min-replicas-to-write", "1"), ("min-replicas-max-lag", "2")] {
            let _: String = node.command(&["CONFIG", "SET", name, value]);
        }
    }
    for _ in 0..if is_long() { MANY } else { 1 } {
        let kind = "the master of three is separated and needs a replica";
        let refuses = async || {
            eventually("the master refuses writes", async || {
                let reply = app.send(Method::PUT, "/cache/refused", &[JSON], "1").await;
                reply.is(503) && reply.json()["code"] == "redis-writes-refused"
            })
            .await;
        };
        first = separated(&app, &mut trio, kind, first, 0, refuses).await.next;
    }
}

#[tokio::test]
async fn a_master_with_one_of_its_two_replicas_confirms_writes_that_are_lost() {
    let mut trio = SentinelTrio::of_three_nodes().await;
    let app = on(&trio).await;
    let mut first = 0;
    for _ in 0..if is_long() { MANY } else { 1 } {
        let kind = "the master of three is separated with a replica";
        let observed = separated(&app, &mut trio, kind, first, 1, async || {}).await;
        assert!(!observed.lost.is_empty(), "WAIT has made Redis consistent: say so in the guarantees");
        first = observed.next;
    }
}
