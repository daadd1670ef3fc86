//! The network separates a master and its clients from its replica and those who replace it.

use super::{config, in_sync, is_long, open_book, round};
use crate::support::{Cluster, SentinelTrio, TestApp, eventually, replication_has};

/// The partitions of the long form.
const MANY: usize = 15;

#[tokio::test]
async fn no_write_that_a_replica_had_is_lost_when_the_network_separates_the_master_with_its_clients() {
    let mut trio = SentinelTrio::with_links().await;
    let app = TestApp::builder().system_clock().config(&config(&trio.config())).spawn().await;
    open_book(&app).await;
    let mut first = 0;
    for _ in 0..if is_long() { MANY } else { 1 } {
        first = round(&app, "the master is separated", first, async || {
            trio.separate();
            trio.failed_over().await;
            trio.heal();
            trio.in_sync().await;
        })
        .await;
    }
}

#[tokio::test]
async fn no_write_that_a_replica_had_is_lost_when_a_master_of_a_cluster_is_separated_with_its_clients() {
    let mut cluster = Cluster::with_links().await;
    let app = TestApp::builder().system_clock().config(&config(&cluster.config())).spawn().await;
    open_book(&app).await;
    let mut first = 0;
    for nth in 0..if is_long() { MANY } else { 1 } {
        let shard = nth % 3;
        first = round(&app, &format!("master {shard} of a cluster is separated"), first, async || {
            cluster.separate(shard);
            let (master, replica) = (&cluster.nodes[shard], &cluster.replicas[shard]);
            eventually("the replica is the master", async || replication_has(replica, "role:master")).await;
            cluster.heal();
            in_sync(replica, master).await;
        })
        .await;
        cluster.swap_roles(shard);
    }
}
