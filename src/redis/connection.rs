//! One connection to a role's server or cluster, shared by many requests at once.

use std::sync::Arc;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::Notify;

/// A connection that pipelines the commands of all its clones.
#[derive(Clone)]
pub(super) enum Channel {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What travels in one go.
#[derive(Clone, Copy)]
pub(super) enum Packet<'a> {
    Command(&'a Cmd),
    Commands(&'a Pipeline),
}

impl Channel {
    /// Sends a packet; several commands answer an array, errors of single commands among its items.
    pub(super) async fn send(&mut self, packet: Packet<'_>) -> RedisResult<Value> {
        match (self, packet) {
            (Self::Server(connection), Packet::Command(command)) => connection.send_packed_command(command).await,
            (Self::Server(connection), Packet::Commands(commands)) => {
                connection.send_packed_commands(commands, 0, commands.len()).await.map(Value::Array)
            }
            (Self::Cluster(connection), Packet::Command(command)) => connection.req_packed_command(command).await,
            (Self::Cluster(connection), Packet::Commands(commands)) => {
                connection.req_packed_commands(commands, 0, commands.len()).await.map(Value::Array)
            }
        }
    }
}

/// A connection as the pool keeps it, with the news of its end.
pub struct Established {
    pub(super) channel: Channel,
    /// Notified when the server closes the connection (RESP3 lets the client library tell).
    pub(super) lost: Arc<Notify>,
}

impl std::fmt::Debug for Established {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.channel {
            Channel::Server(_) => "Established(server)",
            Channel::Cluster(_) => "Established(cluster)",
        })
    }
}
