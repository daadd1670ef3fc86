//! The roles that Redis plays, and the facade for each.

use std::path::Path;
use std::sync::Arc;

use super::Redis;
use super::embedded::{EmbeddedError, EmbeddedServer};
use super::metrics::RedisMetrics;
use super::report::PROBE;
use super::role::Role;
use super::script::LuaScript;
use super::topology::EndpointError;
use crate::config::fencing::FencingConfig;
use crate::config::redis::{EmbeddedConfig, Endpoint, RedisConfig, ServerUrl};
use crate::config::value::Span;
use crate::lifecycle::Tasks;
use crate::telemetry::metrics::Metrics;

/// The facades of both roles; the same one twice if no role has a server of its own.
#[derive(Clone, Debug)]
pub struct RedisRoles {
    pub cache: Redis,
    pub state: Redis,
    config: Arc<RedisConfig>,
    fencing: FencingConfig,
    metrics: Arc<RedisMetrics>,
}

impl RedisRoles {
    /// Builds the roles from `[redis]` and `[fencing]`.
    ///
    /// # Errors
    /// [`EndpointError`] if a configured endpoint is unusable.
    pub fn new(
        config: &RedisConfig,
        fencing: FencingConfig,
        scripts: &[&'static LuaScript],
        lanes: usize,
        metrics: &Metrics,
    ) -> Result<Self, EndpointError> {
        let metrics = Arc::new(RedisMetrics::new(metrics));
        let all = with_probe(scripts);
        let build =
            |roles, endpoint| Redis::new(roles, endpoint, config, fencing, all.clone(), lanes, metrics.of(roles));
        let base = config.base();
        if config.cache.is_none() && config.state.is_none() {
            let both = build(&[Role::Cache, Role::State], &base)?;
            return Ok(Self { cache: both.clone(), state: both, config: Arc::new(config.clone()), fencing, metrics });
        }
        Ok(Self {
            cache: build(&[Role::Cache], config.cache.as_ref().unwrap_or(&base))?,
            state: build(&[Role::State], config.state.as_ref().unwrap_or(&base))?,
            config: Arc::new(config.clone()),
            fencing,
            metrics,
        })
    }

    /// The facade of an additional server that stores state, with the limits of the roles but its own command timeout.
    /// The caller attaches it.
    ///
    /// # Errors
    /// [`EndpointError`] if the address is unusable.
    pub fn beside(
        &self,
        url: &ServerUrl,
        command_timeout: Span,
        scripts: &[&'static LuaScript],
    ) -> Result<Redis, EndpointError> {
        const ROLES: &[Role] = &[Role::State];
        let config = RedisConfig { command_timeout, ..RedisConfig::clone(&self.config) };
        let endpoint = Endpoint { url: url.clone(), ..Endpoint::default() };
        Redis::new(ROLES, &endpoint, &config, self.fencing, with_probe(scripts), 1, self.metrics.of(ROLES))
    }

    /// The facade of the server of the state, or of the one at `url`, with a key prefix of its own. The caller attaches it.
    ///
    /// # Errors
    /// [`EndpointError`] if the address is unusable.
    pub fn apart(
        &self,
        prefix: &str,
        url: Option<&str>,
        command_timeout: Span,
        scripts: &[&'static LuaScript],
    ) -> Result<Redis, EndpointError> {
        const ROLES: &[Role] = &[Role::State];
        let config = RedisConfig { command_timeout, key_prefix: prefix.to_owned(), ..RedisConfig::clone(&self.config) };
        let endpoint = match url {
            Some(url) => Endpoint { url: ServerUrl::from(url), ..Endpoint::default() },
            None => self.config.state.clone().unwrap_or_else(|| self.config.base()),
        };
        Redis::new(ROLES, &endpoint, &config, self.fencing, with_probe(scripts), 1, self.metrics.of(ROLES))
    }

    /// Starts a private server in a directory, whatever servers are configured.
    ///
    /// # Errors
    /// [`EmbeddedError`].
    pub async fn private_server(&self, directory: &Path) -> Result<EmbeddedServer, EmbeddedError> {
        let binary = self.config.embedded.binary.clone();
        EmbeddedServer::start(&EmbeddedConfig { binary, data_dir: directory.to_owned() }).await
    }

    /// Every distinct facade.
    pub fn distinct(&self) -> impl Iterator<Item = &Redis> {
        let apart = !Arc::ptr_eq(&self.cache.0, &self.state.0);
        std::iter::once(&self.state).chain(apart.then_some(&self.cache))
    }

    /// Keeps one lane of every role connected from the current runtime.
    pub fn attach(&self, lane: usize, tasks: &Tasks) {
        for redis in self.distinct() {
            redis.attach(lane, tasks);
        }
    }
}

/// Every server also gets the script that probes whether scripts run.
fn with_probe(scripts: &[&'static LuaScript]) -> Vec<&'static LuaScript> {
    let mut all = vec![&PROBE];
    all.extend_from_slice(scripts);
    all
}
