//! The Redis layer: one facade per role, behind which lie topology, connections, scripts and faults.
//!
//! Ordinary commands of a worker thread share one pipelined connection (measured: a checkout per request halves the
//! throughput); blocking commands get a connection of their own from the same pool. A [`Role`] may have a server of
//! its own, so that a cache may evict while locks and counters may not.

mod connection;
mod embedded;
mod fault;
mod key;
mod link;
mod report;
mod script;
mod subscriber;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Pool as DeadPool, Timeouts};
use redis::{Cmd, FromRedisValue, Pipeline, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

pub use embedded::{EmbeddedError, EmbeddedServer};
pub use fault::{Effect, FaultKind, Outcome, RedisFault};
pub use key::{Key, KeySpace, Segment, unescape};
pub use link::{Dedicated, enter_lane};
pub use report::{Condition, Finding, RoleReport, ScriptState};
pub use script::{BadReply, Binding, LuaScript, ScriptCall};
pub use subscriber::News;
pub use topology::EndpointError;

use crate::config::redis::{Endpoint, RedisConfig};
use crate::config::value::Span;
use crate::lifecycle::Tasks;
use connection::{Channel, Packet};
use link::{Backoff, Link, LinkState};
use topology::Connector;

type Pool = DeadPool<Connector>;

/// What a Redis is used for; each may have a server of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May be evicted, may be lost.
    Cache,
    /// Must never be evicted: series, locks, counters, idempotency records.
    State,
}

impl Role {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::State => "state",
        }
    }
}

/// The facade that features hold: commands and script calls against one role.
#[derive(Clone, Debug)]
pub struct Redis(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    role: Role,
    pool: Pool,
    /// Lane 0's, for everybody without a lane of their own.
    shared: Link,
    /// The workers', lane 1 first.
    lanes: Box<[Link]>,
    keys: KeySpace,
    scripts: Vec<&'static LuaScript>,
    limits: Limits,
    is_cluster: bool,
    report: watch::Sender<RoleReport>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    pool_wait: Duration,
    connect: Duration,
    command: Duration,
    check_interval: Duration,
    backoff: Backoff,
}

/// Refusals that change with the next moment are tried this often more.
const RETRIES: u32 = 2;
const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl Redis {
    /// Prepares a role; connects to nothing until [`Redis::attach`].
    ///
    /// `lanes` is the number of threads that get a shared connection of their own.
    ///
    /// # Errors
    /// [`EndpointError`] when an address, a credential file or a certificate is unusable.
    pub fn new(
        role: Role,
        endpoint: &Endpoint,
        config: &RedisConfig,
        scripts: Vec<&'static LuaScript>,
        lanes: usize,
    ) -> Result<Self, EndpointError> {
        let limits = Limits {
            pool_wait: config.pool_wait.duration(),
            connect: config.connect_timeout.duration(),
            command: config.command_timeout.duration(),
            check_interval: config.check_interval.duration(),
            backoff: Backoff::new(config.reconnect_min.duration(), config.reconnect_max.duration()),
        };
        let connector = Connector::new(endpoint, limits.connect, limits.command)?;
        let pool = DeadPool::builder(connector)
            .max_size(lanes + config.pool_size)
            .timeouts(Timeouts { wait: Some(limits.pool_wait), create: Some(limits.connect), recycle: None })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| EndpointError::NoRuntime)?;
        Ok(Self(Arc::new(Inner {
            role,
            pool,
            shared: Link::new(),
            lanes: (1..lanes).map(|_| Link::new()).collect(),
            keys: KeySpace::new(&config.key_prefix),
            scripts,
            limits,
            is_cluster: endpoint.topology == crate::config::redis::Topology::Cluster,
            report: watch::Sender::new(RoleReport::unknown(role, endpoint.topology)),
        })))
    }

    /// Keeps `lane` connected from the current runtime; lane 0 also watches the server's condition.
    pub fn attach(&self, lane: usize, tasks: &Tasks) {
        let this = self.clone();
        tasks.spawn("redis.connection", move |stop| async move {
            this.link(lane).maintain(&this, stop).await;
        });
        if lane == 0 {
            let this = self.clone();
            tasks.spawn("redis.check", move |stop| async move { report::watch(&this, stop).await });
        }
    }

    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The role's key space.
    pub fn keys(&self) -> &KeySpace {
        &self.0.keys
    }

    /// The time one command may take.
    pub fn command_timeout(&self) -> Duration {
        self.0.limits.command
    }

    /// What is known of the server: connection, version, modules, persistence, eviction policy, scripts.
    pub fn report(&self) -> RoleReport {
        let mut report = self.0.report.borrow().clone();
        report.connected = matches!(&*self.0.shared.subscribe().borrow(), LinkState::Up(_));
        report
    }

    /// Follows [`Redis::report`].
    pub fn subscribe_report(&self) -> watch::Receiver<RoleReport> {
        self.0.report.subscribe()
    }

    /// Runs one command.
    ///
    /// # Errors
    /// [`RedisFault`], whose outcome says whether a write may have happened.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd, effect: Effect) -> Result<T, RedisFault> {
        let value = self.exchange(Packet::Command(command), effect).await?;
        T::from_redis_value(value).map_err(|error| RedisFault::bad_reply(error, effect))
    }

    /// Runs several commands in one round trip; each has a result of its own.
    ///
    /// They are no transaction. In a cluster they travel singly, since their keys may live on different nodes.
    ///
    /// # Errors
    /// [`RedisFault`] when the exchange as a whole failed.
    pub async fn query_all(
        &self,
        commands: &[Cmd],
        effect: Effect,
    ) -> Result<Vec<Result<Value, RedisFault>>, RedisFault> {
        if self.0.is_cluster {
            let singly = commands.iter().map(|command| self.query::<Value>(command, effect));
            return Ok(futures_util::future::join_all(singly).await);
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        let answers = match self.exchange(Packet::Commands(&pipeline), effect).await? {
            Value::Array(answers) => answers,
            single => vec![single],
        };
        let classify = |answer: Value| answer.extract_error().map_err(|error| RedisFault::classify(error, effect));
        Ok(answers.into_iter().map(classify).collect())
    }

    /// Calls a script by its hash; a server that lost its scripts gets them again.
    ///
    /// # Errors
    /// [`RedisFault`], whose outcome says whether a write may have happened.
    pub async fn call<S: ScriptCall>(&self, call: &S) -> Result<S::Reply, RedisFault> {
        let command = Binding::command(call);
        let value = match self.exchange(Packet::Command(&command), S::EFFECT).await {
            Err(fault) if fault.is_noscript() => {
                self.load(S::script()).await?;
                self.exchange(Packet::Command(&command), S::EFFECT).await?
            }
            answered => answered?,
        };
        decode::<S>(value)
    }

    /// Calls one script for many bindings in one round trip; each has a result of its own.
    ///
    /// # Errors
    /// [`RedisFault`] when the exchange as a whole failed.
    pub async fn call_all<S: ScriptCall>(&self, calls: &[S]) -> Result<Vec<Result<S::Reply, RedisFault>>, RedisFault> {
        let commands: Vec<Cmd> = calls.iter().map(Binding::command).collect();
        let mut answers = self.query_all(&commands, S::EFFECT).await?;
        let missing: Vec<usize> = positions_of_noscript(&answers);
        if !missing.is_empty() {
            self.load(S::script()).await?;
            let again: Vec<Cmd> = missing.iter().filter_map(|&at| commands.get(at).cloned()).collect();
            for (at, answer) in missing.into_iter().zip(self.query_all(&again, S::EFFECT).await?) {
                if let Some(slot) = answers.get_mut(at) {
                    *slot = answer;
                }
            }
        }
        Ok(answers.into_iter().map(|answer| answer.and_then(decode::<S>)).collect())
    }

    /// A connection of one's own, for blocking commands.
    ///
    /// # Errors
    /// [`FaultKind::PoolExhausted`] after `redis.pool_wait`, or the fault of connecting.
    pub async fn dedicated(&self) -> Result<Dedicated, RedisFault> {
        link::checkout(&self.0.pool).await.map(Dedicated::new)
    }

    /// Follows a channel over a connection of its own, made again whenever it is lost, until `stop`.
    ///
    /// [`News::Subscribed`] comes after every connect: whatever was published before may have been missed.
    pub async fn follow(&self, channel: &Key, stop: CancellationToken, mut deliver: impl FnMut(News) + Send) {
        let backoff = self.0.limits.backoff;
        subscriber::follow(self.0.pool.manager(), channel, backoff, &stop, &mut deliver).await;
    }

    /// Sends a packet over the lane's connection, within the command timeout, with the retries that are safe.
    async fn exchange(&self, packet: Packet<'_>, effect: Effect) -> Result<Value, RedisFault> {
        let mut retries = 0;
        loop {
            let fault = match self.attempt(packet, effect).await {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            let safe = match fault.kind {
                FaultKind::NotReady | FaultKind::ReadOnly => fault.outcome == Outcome::NotApplied,
                FaultKind::ConnectionLost => effect == Effect::Read,
                _ => false,
            };
            if !safe || retries == RETRIES {
                return Err(fault);
            }
            retries += 1;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn attempt(&self, packet: Packet<'_>, effect: Effect) -> Result<Value, RedisFault> {
        let link = self.link(link::current_lane());
        let mut channel = link.channel(self.0.limits.pool_wait).await?;
        let answered = tokio::time::timeout(self.0.limits.command, channel.send(packet)).await;
        let fault = match answered {
            // The errors of a pipeline stay among its items: they belong to single commands.
            Ok(Ok(Value::ServerError(error))) => RedisFault::classify(error.into(), effect),
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => RedisFault::classify(error, effect),
            Err(_) => RedisFault::timeout(effect),
        };
        // A cluster connection mends its own nodes; dropping it for one slow node would punish the others.
        if fault.breaks_connection() && !self.0.is_cluster {
            link.mark_broken();
        }
        Err(fault)
    }

    /// A fresh connection is fit for use once it knows our scripts.
    async fn prepare(&self, channel: &mut Channel) -> Result<(), RedisFault> {
        let loaded = self.load_all(channel).await;
        self.0.report.send_modify(|report| report.scripts = ScriptState::of(&loaded, self.0.scripts.len()));
        match loaded {
            // Reads and plain commands still work; scripts answer for themselves, and readiness says why.
            Err(fault) if matches!(fault.kind, FaultKind::Denied) || fault.is_unknown_command() => Ok(()),
            other => other,
        }
    }

    async fn load_all(&self, channel: &mut Channel) -> Result<(), RedisFault> {
        let send = async |channel: &mut Channel, command: &Cmd| {
            let answered = tokio::time::timeout(self.0.limits.command, channel.send(Packet::Command(command)));
            match answered.await {
                Ok(answer) => {
                    answer.and_then(Value::extract_error).map_err(|error| RedisFault::classify(error, Effect::Read))
                }
                Err(_) => Err(RedisFault::timeout(Effect::Read)),
            }
        };
        for script in &self.0.scripts {
            send(channel, &load_command(script)).await?;
        }
        // A server may accept SCRIPT LOAD and still have EVALSHA renamed away or forbidden.
        if let Some(probe) = self.0.scripts.iter().find(|script| script.name == report::PROBE.name) {
            send(channel, redis::cmd("EVALSHA").arg(probe.sha()).arg(1).arg(self.0.keys.key("gtx:probe"))).await?;
        }
        Ok(())
    }

    async fn load(&self, script: &'static LuaScript) -> Result<(), RedisFault> {
        self.exchange(Packet::Command(&load_command(script)), Effect::Read).await.map(|_| ())
    }

    fn link(&self, lane: usize) -> &Link {
        lane.checked_sub(1).and_then(|at| self.0.lanes.get(at)).unwrap_or(&self.0.shared)
    }
}

fn load_command(script: &LuaScript) -> Cmd {
    let mut command = redis::cmd("SCRIPT");
    command.arg("LOAD").arg(script.source);
    command
}

fn decode<S: ScriptCall>(value: Value) -> Result<S::Reply, RedisFault> {
    let raw = S::Raw::from_redis_value(value).map_err(|error| RedisFault::bad_reply(error, S::EFFECT))?;
    S::decode(raw).map_err(|error| RedisFault::bad_reply(error, S::EFFECT))
}

fn positions_of_noscript(answers: &[Result<Value, RedisFault>]) -> Vec<usize> {
    let lost = |(at, answer): (usize, &Result<Value, RedisFault>)| match answer {
        Err(fault) if fault.is_noscript() => Some(at),
        _ => None,
    };
    answers.iter().enumerate().filter_map(lost).collect()
}

/// The facades of both roles; one and the same when no role has a server of its own.
#[derive(Clone, Debug)]
pub struct RedisRoles {
    pub cache: Redis,
    pub state: Redis,
    config: Arc<RedisConfig>,
}

impl RedisRoles {
    /// Builds the roles from `[redis]`.
    ///
    /// # Errors
    /// [`EndpointError`] when a configured endpoint is unusable.
    pub fn new(config: &RedisConfig, scripts: &[&'static LuaScript], lanes: usize) -> Result<Self, EndpointError> {
        let mut all = vec![&report::PROBE];
        all.extend_from_slice(scripts);
        let base = config.base();
        let state_at = config.state.as_ref().unwrap_or(&base);
        let state = Redis::new(Role::State, state_at, config, all.clone(), lanes)?;
        let cache = match (&config.cache, &config.state) {
            (None, None) => state.clone(),
            (cache, _) => Redis::new(Role::Cache, cache.as_ref().unwrap_or(&base), config, all, lanes)?,
        };
        Ok(Self { cache, state, config: Arc::new(config.clone()) })
    }

    /// A server beside the roles, with limits like theirs but a command timeout of its own; whoever asks for it
    /// attaches it.
    ///
    /// # Errors
    /// [`EndpointError`] when the address is unusable.
    pub fn beside(
        &self,
        url: &str,
        command_timeout: Span,
        scripts: &[&'static LuaScript],
    ) -> Result<Redis, EndpointError> {
        let config = RedisConfig { command_timeout, ..RedisConfig::clone(&self.config) };
        let endpoint = Endpoint { url: url.to_owned(), ..Endpoint::default() };
        Redis::new(Role::State, &endpoint, &config, scripts.to_vec(), 1)
    }

    /// Every distinct facade.
    pub fn distinct(&self) -> impl Iterator<Item = &Redis> {
        let apart = !Arc::ptr_eq(&self.cache.0, &self.state.0);
        std::iter::once(&self.state).chain(apart.then_some(&self.cache))
    }

    /// Keeps a lane of every role connected from the current runtime.
    pub fn attach(&self, lane: usize, tasks: &Tasks) {
        for redis in self.distinct() {
            redis.attach(lane, tasks);
        }
    }
}
