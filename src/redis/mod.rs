//! The Redis layer: one facade per role that hides topology, connections, scripts and faults.
//!
//! There are three kinds of connections. A *lane* is the connection that all ordinary commands of one worker thread
//! share, pipelined; taking a connection from a pool for every request would halve the throughput. Lane 0 serves the
//! threads that are not workers. Blocking commands take a *dedicated* connection from a pool, and a subscriber opens its
//! own. A [`Role`] may have a separate server, so that a cache may evict keys while locks and counters may not.

mod backend_record;
mod backoff;
mod batch;
mod certificate;
mod check;
mod connection;
mod dedicated;
pub mod durability;
mod embedded;
mod exchange;
mod fault;
mod fault_kind;
mod fence;
mod key;
mod known_commands;
mod limits;
mod link;
mod listener;
mod master_switch;
mod metrics;
mod node_info;
mod pass_fence;
mod persistence;
mod present_master;
mod report;
mod reserved_prefixes;
mod retry_budget;
mod role;
mod roles;
mod runner;
mod scan;
mod script;
mod script_loading;
mod script_state;
mod sentinels;
pub mod server_metrics;
mod snapshot;
mod topology;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use deadpool::Runtime;
use deadpool::managed::{Object, Pool as DeadPool, Timeouts};
use redis::{Cmd, FromRedisValue, Pipeline, Value};
use tokio::sync::watch;

pub use backend_record::{Backend, BackendPreference, BackendRecord, StoredKind};
pub use backoff::Backoff;
pub use batch::{Answers, Batch};
pub use dedicated::Dedicated;
pub use embedded::{EmbeddedError, EmbeddedServer};
pub use fault::{Effect, FaultKind, Outcome, RedisFault};
pub use fence::{Fence, FencingToken};
pub use key::{Key, KeySpace, Segment, unescape};
pub use link::enter_lane;
pub use listener::{ListenerChange, News};
pub use persistence::{AppendOnlyState, NodePersistence, SnapshotState};
pub use report::RoleReport;
#[cfg(test)]
pub use reserved_prefixes::own_prefixes;
pub use reserved_prefixes::owned_elsewhere;
pub use role::Role;
pub use roles::RedisRoles;
pub use runner::Turn;
pub use scan::{KeyScan, PrefixScan};
pub use script::{BadReply, Binding, Decoder, LuaScript, ScriptCall, flag};
pub use script_state::ScriptState;
pub use snapshot::{Snapshot, SnapshotError, SnapshotLogin, SnapshotSource};
pub use topology::EndpointError;

use crate::config::fencing::FencingConfig;
use crate::config::redis::{Endpoint, RedisConfig, Topology};
use crate::hot_keys::HotKeys;
use crate::lifecycle::Tasks;
use crate::lifecycle::deadline::until;
use connection::Packet;
use known_commands::KnownCommands;
use limits::{Limits, POOL_WAIT, RECONNECT_MAX, RECONNECT_MIN};
use link::{Link, LinkState};
use metrics::RoleMetrics;
use node_info::LastLook;
use topology::Connector;

type Pool = DeadPool<Connector>;

/// The facade that features use: commands and script calls to the server of one role.
#[derive(Clone, Debug)]
pub struct Redis(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    roles: &'static [Role],
    /// The connections of the lanes.
    lane_pool: Pool,
    /// The dedicated connections, in a pool of their own so that they cannot take the place of a lane.
    private_pool: Pool,
    /// Lane 0, for threads without a lane of their own.
    shared: Link,
    /// The lanes of the workers, from lane 1.
    lanes: Box<[Link]>,
    keys: KeySpace,
    scripts: Vec<&'static LuaScript>,
    fencing: FencingConfig,
    limits: Limits,
    is_cluster: bool,
    report: watch::Sender<RoleReport>,
    last_look: ArcSwap<LastLook>,
    known_commands: KnownCommands,
    metrics: RoleMetrics,
    hot_keys: HotKeys,
    listener_probe: listener::ListenerProbe,
}

impl Redis {
    /// Prepares the facade of a server for its roles. It connects to nothing until [`Redis::attach`].
    ///
    /// `lanes` is the number of threads with a lane of their own.
    ///
    /// # Errors
    /// [`EndpointError`] when an address, a credential file or a certificate is unusable.
    fn new(
        roles: &'static [Role],
        endpoint: &Endpoint,
        config: &RedisConfig,
        fencing: FencingConfig,
        scripts: Vec<&'static LuaScript>,
        lanes: usize,
        metrics: RoleMetrics,
    ) -> Result<Self, EndpointError> {
        let limits = Limits {
            connect: config.connect_timeout.duration(),
            command: config.command_timeout.duration(),
            check_interval: config.check_interval.duration(),
            backoff: Backoff::new(RECONNECT_MIN, RECONNECT_MAX),
        };
        let connector = Connector::new(endpoint, limits.connect, limits.command)?;
        let pool = |size: usize| {
            let limit = connector.limit();
            DeadPool::builder(connector.clone())
                .max_size(size)
                .timeouts(Timeouts { wait: Some(POOL_WAIT), create: Some(limit), recycle: None })
                .runtime(Runtime::Tokio1)
                .build()
                .map_err(|_| EndpointError::NoRuntime)
        };
        Ok(Self(Arc::new(Inner {
            roles,
            lane_pool: pool(lanes)?,
            private_pool: pool(config.pool_size)?,
            shared: Link::new(),
            lanes: (1..lanes).map(|_| Link::new()).collect(),
            keys: KeySpace::new(&config.key_prefix),
            scripts,
            fencing,
            limits,
            is_cluster: endpoint.topology == Topology::Cluster,
            report: watch::Sender::new(RoleReport::unknown(roles, endpoint)),
            last_look: ArcSwap::default(),
            known_commands: KnownCommands::default(),
            metrics,
            hot_keys: HotKeys::new(lanes),
            listener_probe: listener::ListenerProbe::default(),
        })))
    }

    /// Keeps `lane` connected from the current runtime until all other tasks have ended. Lane 0 also watches the condition of
    /// the server.
    pub fn attach(&self, lane: usize, tasks: &Tasks) {
        let this = self.clone();
        tasks.spawn_last("redis.connection", move |stop| async move {
            this.link(lane).maintain(&this, lane, stop).await;
        });
        if lane == 0 {
            certificate::watch_all(self, tasks);
            let this = self.clone();
            tasks.spawn("redis.check", move |stop| async move { check::watch(&this, stop).await });
            self.follow_sentinels(tasks);
        }
    }

    /// The roles that the server has.
    pub fn roles(&self) -> &'static [Role] {
        self.0.roles
    }

    /// The roles as text, for logs.
    fn servers(&self) -> String {
        report::words(self.0.roles)
    }

    /// The roles as the label of metrics.
    pub fn store(&self) -> String {
        self.0.roles.iter().map(|role| role.label()).collect::<Vec<_>>().join(",")
    }

    /// The keys that this process uses most often at the server.
    pub fn hot_keys(&self) -> &HotKeys {
        &self.0.hot_keys
    }

    /// The key space of the role.
    pub fn keys(&self) -> &KeySpace {
        &self.0.keys
    }

    /// Whether the keys are spread over several servers, so that only keys of one slot can be changed together.
    pub fn is_cluster(&self) -> bool {
        self.0.is_cluster
    }

    /// The name of the service's script with this SHA-1.
    pub fn script_name(&self, sha: &str) -> Option<&'static str> {
        self.0.scripts.iter().find(|script| script.has_sha(sha)).map(|script| script.name)
    }

    /// The time one command may take.
    pub fn command_timeout(&self) -> Duration {
        self.0.limits.command
    }

    /// How often the condition of the server is checked.
    pub fn check_interval(&self) -> Duration {
        self.0.limits.check_interval
    }

    /// Resolves when the server has been checked or cannot be used, and after a second or two in any case.
    pub async fn settled(&self) {
        let (mut reports, mut states) = (self.0.report.subscribe(), self.0.shared.subscribe());
        let settled = async {
            tokio::select! {
                _ = reports.wait_for(|report| report.version.is_some()) => {}
                _ = states.wait_for(|state| matches!(state, LinkState::Down(_))) => {}
            }
        };
        // The result does not matter: the report contains what is known.
        let _ = tokio::time::timeout(self.0.limits.connect + 2 * self.0.limits.command, settled).await;
    }

    /// Runs one command.
    ///
    /// # Errors
    /// [`RedisFault`], whose outcome says whether a write may have happened.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd, effect: Effect) -> Result<T, RedisFault> {
        let value = self.exchange(Packet::Command(command), effect, self.deadline()).await?;
        T::from_redis_value(value).map_err(|error| RedisFault::bad_reply(error, effect))
    }

    /// Runs several commands in one round trip for each 64; each has its own result.
    ///
    /// They are not a transaction. In a cluster they are sent one by one, since their keys may be on different nodes.
    ///
    /// # Errors
    /// [`RedisFault`] when the first exchange as a whole failed.
    pub async fn query_all(
        &self,
        commands: &[Cmd],
        effect: Effect,
    ) -> Result<Vec<Result<Value, RedisFault>>, RedisFault> {
        if self.0.is_cluster {
            let singly = commands.iter().map(|command| self.query::<Value>(command, effect));
            return Ok(durability::join(singly).await);
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        self.pipeline(&pipeline, effect).await
    }

    /// Calls a script by its hash, and with its text if the server does not know it.
    ///
    /// # Errors
    /// [`RedisFault`], whose outcome says whether a write may have happened.
    pub async fn call<Raw: FromRedisValue, Reply>(&self, call: ScriptCall<Raw, Reply>) -> Result<Reply, RedisFault> {
        let ScriptCall { command, text, decoder } = call;
        let deadline = self.deadline();
        let value = match self.exchange(Packet::Command(&command), decoder.effect, deadline).await {
            // One command that loads and runs it: a SCRIPT FLUSH could come between two commands.
            Err(fault) if fault.is_noscript() => {
                let by_text = text.call_by_text(&command);
                self.exchange(Packet::Command(&by_text), decoder.effect, deadline).await?
            }
            answered => answered?,
        };
        decoder.decode(value)
    }

    /// Calls a script, but gives up when this thread's lane has received no reply at all for as long as `patience`. A
    /// server that is only busy still replies to other commands.
    ///
    /// # Errors
    /// [`RedisFault`], whose outcome says whether a write may have happened; giving up is a timeout.
    pub async fn call_if_responsive<Raw: FromRedisValue, Reply>(
        &self,
        patience: Duration,
        call: ScriptCall<Raw, Reply>,
    ) -> Result<Reply, RedisFault> {
        let effect = call.decoder.effect;
        let mut answer = pin!(self.call(call));
        let mut wait = patience;
        loop {
            if let Some(answer) = until(Instant::now() + wait, answer.as_mut()).await {
                return answer;
            }
            let idle = self.link(link::current_lane()).idle_for();
            match patience.checked_sub(idle) {
                Some(rest) if !rest.is_zero() => wait = rest,
                _ => return Err(RedisFault::timeout(effect)),
            }
        }
    }

    /// Makes several calls in one round trip for each 64; each has its own result.
    ///
    /// # Errors
    /// [`RedisFault`] when the first exchange as a whole failed.
    pub async fn call_all<Raw: FromRedisValue, Reply>(
        &self,
        calls: impl IntoIterator<Item = ScriptCall<Raw, Reply>>,
    ) -> Result<Vec<Result<Reply, RedisFault>>, RedisFault> {
        let mut batch = Batch::new();
        let decoders: Vec<_> = calls.into_iter().map(|call| batch.call(call)).collect();
        let mut answers = self.run(batch).await?;
        Ok(decoders.iter().map(|decoder| answers.reply(decoder)).collect())
    }

    /// Takes a dedicated connection, for blocking commands.
    ///
    /// # Errors
    /// [`FaultKind::PoolExhausted`] after 50 ms, or the reason why there is no connection. While the lane is
    /// not connected, no attempt is made: the breaker applies here too.
    pub async fn dedicated(&self) -> Result<Dedicated, RedisFault> {
        self.link(link::current_lane()).live(POOL_WAIT).await?;
        let started = Instant::now();
        // Boxed: the pool's future is large, and few callers need it.
        let connection = Box::pin(link::checkout(&self.0.private_pool)).await;
        self.0.metrics.pool_wait.observe(started.elapsed().as_secs_f64());
        connection.map(Dedicated::new)
    }

    /// Makes a connection for a lane and loads the scripts over it.
    async fn connect(&self) -> Result<Object<Connector>, RedisFault> {
        let object = link::checkout(&self.0.lane_pool).await?;
        match self.prepare(&mut object.channel.clone()).await {
            Ok(()) => Ok(object),
            Err(mut fault) => {
                link::discard(object);
                fault.without_connection();
                Err(fault)
            }
        }
    }

    fn link(&self, lane: usize) -> &Link {
        lane.checked_sub(1).and_then(|at| self.0.lanes.get(at)).unwrap_or(&self.0.shared)
    }
}
