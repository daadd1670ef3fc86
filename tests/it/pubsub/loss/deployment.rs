//! The Redis of the test, and its faults.

use std::time::Duration;

use super::unchecked::PubSubLink;
use crate::support::{Cluster, RedisServer, SentinelGroup};

/// Longer than every limit of a command.
const STALL: Duration = Duration::from_secs(1);

pub enum Deployment {
    Single(RedisServer),
    Sentinel(Box<SentinelGroup>),
    Cluster(Cluster),
    /// Its subscribers are cut all the time.
    Restless(RedisServer),
}

impl Deployment {
    pub fn single() -> Self {
        Self::Single(RedisServer::with_options(&["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]))
    }

    pub async fn sentinel() -> Self {
        Self::Sentinel(Box::new(SentinelGroup::start().await))
    }

    pub async fn cluster() -> Self {
        Self::Cluster(Cluster::start().await)
    }

    pub fn restless() -> Self {
        Self::Restless(RedisServer::start())
    }

    /// The configuration of a service.
    pub fn config(&self) -> String {
        match self {
            Self::Single(server) | Self::Restless(server) => format!("[redis]\nurl = \"{}\"\n", server.url()),
            Self::Sentinel(group) => group.config(),
            Self::Cluster(cluster) => cluster.config(),
        }
    }

    /// Connects to a server that receives all messages.
    pub fn pubsub_link(&self) -> PubSubLink {
        Box::new(self.servers()[0].connector())
    }

    fn servers(&self) -> Vec<&RedisServer> {
        match self {
            Self::Single(server) | Self::Restless(server) => vec![server],
            Self::Sentinel(group) => vec![&group.master, &group.replica],
            Self::Cluster(cluster) => cluster.nodes.iter().collect(),
        }
    }

    /// Does what happens after this share of the messages, in percent.
    pub async fn disturb(&mut self, percent: u64) {
        match (percent, self) {
            (50, Self::Single(server)) => stall(server).await,
            (50, Self::Sentinel(group)) => stall(&group.master).await,
            (50, Self::Cluster(cluster)) => stall(&cluster.nodes[1]).await,
            (60, Self::Single(server)) => restart(server),
            (60, Self::Sentinel(group)) => group.master.kill(),
            (60, Self::Cluster(cluster)) => cluster.nodes.iter_mut().for_each(restart),
            (75, Self::Single(server)) => server.command(&["FLUSHALL"]),
            (75, Self::Sentinel(group)) => group.replica.command(&["FLUSHALL"]),
            (75, Self::Cluster(cluster)) => cluster.nodes.iter().for_each(|node| node.command(&["FLUSHALL"])),
            (_, Self::Restless(server)) => cut_subscribers(server),
            (85 | 90, Self::Sentinel(group)) => cut_subscribers(&group.replica),
            (10 | 20 | 30 | 85 | 90, this) => this.cut_subscribers(),
            _ => {}
        }
    }

    fn cut_subscribers(&self) {
        self.servers().into_iter().for_each(cut_subscribers);
    }
}

fn cut_subscribers(server: &RedisServer) {
    let _: i64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
}

async fn stall(server: &RedisServer) {
    server.stall();
    // The time in which Redis does not reply.
    tokio::time::sleep(STALL).await;
    server.resume();
}

fn restart(server: &mut RedisServer) {
    server.kill();
    server.boot();
}
