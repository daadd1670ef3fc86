//! One connection to the server or cluster of a role, shared by many concurrent requests.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{Arg, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio_util::sync::CancellationToken;

/// A connection that pipelines the commands of all its clones.
#[derive(Clone)]
pub(super) enum Channel {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What is sent in one exchange.
#[derive(Clone, Copy)]
pub(super) enum Packet<'a> {
    Command(&'a Cmd),
    Commands(&'a Pipeline),
    /// A command for one node of a cluster, whatever its keys.
    At(&'a Cmd, &'a Node),
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub host: String,
    pub port: u16,
}

impl From<&Node> for SingleNodeRoutingInfo {
    fn from(Node { host, port }: &Node) -> Self {
        Self::ByAddress { host: host.clone(), port: *port }
    }
}

impl<'a> Packet<'a> {
    /// The bytes of the arguments.
    pub(super) fn size(self) -> usize {
        let size = |command: &Cmd| {
            let bytes = |argument| if let Arg::Simple(bytes) = argument { <[u8]>::len(bytes) } else { 0 };
            command.args_iter().map(bytes).sum::<usize>()
        };
        match self {
            Self::Command(command) | Self::At(command, _) => size(command),
            Self::Commands(commands) => commands.cmd_iter().map(size).sum(),
        }
    }

    /// The first key of each command. Commands about one key that follow each other count once.
    pub(super) fn keys(self) -> impl Iterator<Item = &'a [u8]> {
        let (single, several) = match self {
            Self::Command(command) | Self::At(command, _) => (Some(command), None),
            Self::Commands(commands) => (None, Some(commands.cmd_iter())),
        };
        let mut last: &[u8] = &[];
        let all = single.into_iter().chain(several.into_iter().flatten()).filter_map(first_key);
        all.filter(move |key| std::mem::replace(&mut last, key) != *key)
    }
}

/// The first key of a command; `None` if it has none, or describes the key to an administrator.
fn first_key(command: &Cmd) -> Option<&[u8]> {
    let argument = |at: usize| match command.args_iter().nth(at) {
        Some(Arg::Simple(bytes)) => Some(bytes),
        _ => None,
    };
    match argument(0)? {
        b"EVALSHA" | b"EVAL" => argument(3).filter(|_| argument(2).is_some_and(|keys| keys != b"0")),
        b"ASKING" | b"CLIENT" | b"COMMAND" | b"CONFIG" | b"EXEC" | b"INFO" | b"LATENCY" | b"MEMORY" | b"MULTI"
        | b"PUBLISH" | b"SCAN" | b"SCRIPT" | b"SLOWLOG" | b"TIME" | b"UNWATCH" => None,
        _ => argument(1),
    }
}

impl Channel {
    /// Sends a packet. The reply to several commands is an array that contains the errors of single commands.
    pub(super) async fn send(&mut self, packet: Packet<'_>) -> RedisResult<Value> {
        match (self, packet) {
            (Self::Server(connection), Packet::Command(command) | Packet::At(command, _)) => {
                connection.send_packed_command(command).await
            }
            (Self::Server(connection), Packet::Commands(commands)) => {
                connection.send_packed_commands(commands, 0, commands.len()).await.map(Value::Array)
            }
            (Self::Cluster(connection), Packet::Command(command)) => {
                match connection.req_packed_command(command).await.and_then(Value::extract_error) {
                    Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::Ask) => {
                        // Boxed: a future is as large as its largest branch, and slots rarely move.
                        Box::pin(ask(connection, command, error)).await
                    }
                    answer => answer,
                }
            }
            (Self::Cluster(connection), Packet::At(command, node)) => {
                connection.route_command(command.clone(), RoutingInfo::SingleNode(node.into())).await
            }
            (Self::Cluster(connection), Packet::Commands(commands)) => {
                connection.req_packed_commands(commands, 0, commands.len()).await.map(Value::Array)
            }
        }
    }
}

/// Sends a command to the node to which the slot of its key is moving.
///
/// The client library would do so itself, but its retries are off: they would repeat a write that may have run.
async fn ask(connection: &mut ClusterConnection, command: &Cmd, redirect: RedisError) -> RedisResult<Value> {
    let node = redirect.redirect_node().and_then(|(address, _slot)| {
        let (host, port) = address.rsplit_once(':')?;
        Some(Node { host: host.to_owned(), port: port.parse().ok()? })
    });
    let Some(node) = node else { return Err(redirect) };
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("ASKING").add_command(command.clone());
    let mut answers = connection.route_pipeline(pipeline, 0, 2, (&node).into()).await?;
    answers.pop().unwrap_or(Value::Nil).extract_error()
}

/// A connection as the pool keeps it, with a token that announces its end.
pub struct Established {
    pub(super) channel: Channel,
    /// Cancelled when the server has closed the connection, which the client library reports with RESP3.
    pub(super) lost: CancellationToken,
}

impl std::fmt::Debug for Established {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.channel {
            Channel::Server(_) => "Established(server)",
            Channel::Cluster(_) => "Established(cluster)",
        })
    }
}
