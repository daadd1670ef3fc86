//! The service inside the test process, on a private Redis.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, header};
use gridtokenx_redis::app::App;
use gridtokenx_redis::clock::Clock;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::http::auth::api_key;
use gridtokenx_redis::http::server::{self, Worker};
use gridtokenx_redis::redis::Redis;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Proxy, RedisServer, Reply, eventually};

/// The API key that [`TestAppBuilder::admin_key`] configures.
pub const ADMIN_KEY: &str = "ak_00112233445566778899aabbccddeeff";

/// 2026-01-01T00:00:00Z, the start of every manual clock.
pub const START: i64 = 1_767_225_600_000;

const OPEN_TIMEOUT: &str = "ratelimit.open_timeout";

/// A test that names this setting gets the default limits of the times of samples.
const MAX_AHEAD: &str = "timeseries.max_ahead";

const ANY_TIMES: &str = "timeseries.allow_before_2000 = true\ntimeseries.max_ahead = \"36500d\"\n";

pub struct TestApp {
    app: App,
    redis: Arc<std::sync::Mutex<RedisServer>>,
    proxy: Option<Proxy>,
    served: Option<(SocketAddr, CancellationToken)>,
}

/// Configures the service and its environment before it starts.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is set by one method")]
pub struct TestAppBuilder {
    overrides: String,
    redis: Option<Arc<std::sync::Mutex<RedisServer>>>,
    redis_options: Vec<String>,
    plain: bool,
    lanes: usize,
    proxied: bool,
    system_clock: bool,
    unready: bool,
}

impl TestAppBuilder {
    /// Adds TOML that overrides the defaults.
    pub fn config(mut self, toml: &str) -> Self {
        self.overrides.push_str(toml);
        self.overrides.push('\n');
        self
    }

    /// Requires a credential from callers, as in production; [`ADMIN_KEY`] allows everything.
    pub fn admin_key(self) -> Self {
        let digest = api_key::hex(&api_key::digest(ADMIN_KEY.as_bytes()));
        self.config(&format!("[[auth.keys]]\nid = \"admin\"\nsha256 = \"{digest}\"\nscopes = [\"admin\"]"))
    }

    /// Requires a credential from callers; this key has these scopes.
    pub fn key(self, key: &str, scopes: &[&str]) -> Self {
        let digest = api_key::hex(&api_key::digest(key.as_bytes()));
        self.config(&format!("[[auth.keys]]\nid = \"{key}\"\nsha256 = \"{digest}\"\nscopes = {scopes:?}"))
    }

    /// Sets options of the Redis that is started for the test.
    pub fn redis_options(mut self, options: &[&str]) -> Self {
        self.redis_options = options.iter().map(|&option| option.to_owned()).collect();
        self
    }

    /// Starts a Redis of which the service may use all commands, such as those of backups.
    pub fn plain_redis(mut self) -> Self {
        self.plain = true;
        self
    }

    /// The number of lanes, each with a shared connection; the test enters lanes other than 0 itself.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = lanes;
        self
    }

    /// Uses a Redis that the test has started.
    pub fn on(mut self, server: RedisServer) -> Self {
        self.redis = Some(Arc::new(std::sync::Mutex::new(server)));
        self
    }

    /// Starts a second replica, on the Redis of another app.
    pub fn beside(mut self, other: &TestApp) -> Self {
        self.redis = Some(Arc::clone(&other.redis));
        self
    }

    /// Puts a proxy between the service and Redis that can cut, stall and heal connections.
    pub fn behind_proxy(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Uses the system clock instead of a manual one.
    pub fn system_clock(mut self) -> Self {
        self.system_clock = true;
        self
    }

    /// Does not wait for the service to become ready.
    pub fn unready(mut self) -> Self {
        self.unready = true;
        self
    }

    pub async fn spawn(self) -> TestApp {
        let redis = self.redis.unwrap_or_else(|| {
            let options: Vec<&str> = self.redis_options.iter().map(String::as_str).collect();
            let server = match (self.plain, options.is_empty()) {
                (true, _) => RedisServer::plain(),
                (false, true) => RedisServer::start(),
                (false, false) => RedisServer::with_options(&options),
            };
            Arc::new(std::sync::Mutex::new(server))
        });
        let (socket, url, login) = {
            let server = redis.lock().expect("the server");
            (server.socket(), server.url(), server.login())
        };
        let proxy = if self.proxied { Some(Proxy::start(&socket)) } else { None };
        let url = proxy.as_ref().map_or(url, |proxy| format!("{}{login}", proxy.url()));
        // A slow machine must not look like an outage, unless the test is about this timeout.
        let open_timeout =
            if self.overrides.contains(OPEN_TIMEOUT) { "" } else { "ratelimit.open_timeout = \"20s\"\n" };
        // Most tests count time from 0, or write years of samples while the clock stops.
        let times = if self.overrides.contains(MAX_AHEAD) { "" } else { ANY_TIMES };
        let overrides = format!("{open_timeout}{times}{}", self.overrides);
        let mut config = Config::with_overrides(&overrides).expect("the overrides are TOML");
        // A test may configure its own Redis endpoint.
        if !configures_redis(&self.overrides) {
            config = config.with_redis_url(url);
        }
        let clock = if self.system_clock { Clock::System } else { Clock::manual(START) };
        let lanes = self.lanes.max(1);
        let app = App::build(config, clock, lanes).expect("the service builds");
        app.attach();
        for lane in 1..lanes {
            app.deps.redis.attach(lane, &app.deps.tasks);
        }
        let app = TestApp { app, redis, proxy, served: None };
        if !self.unready {
            eventually("the service is ready", async || app.get("/health/ready").await.is(200)).await;
        }
        app
    }
}

/// Whether `overrides` configure the Redis servers, in `[redis]` or in a table of a role.
fn configures_redis(overrides: &str) -> bool {
    let mut table = "";
    overrides.lines().any(|line| {
        if line.starts_with('[') {
            table = line;
        }
        table.is_empty() && line.starts_with("redis.url =")
            || table.starts_with("[redis") && (line.starts_with("url =") || line.starts_with("nodes ="))
    })
}

impl TestApp {
    /// A ready service on a private Redis.
    pub async fn spawn() -> Self {
        Self::builder().spawn().await
    }

    pub fn builder() -> TestAppBuilder {
        TestAppBuilder::default()
    }

    pub fn clock(&self) -> &Clock {
        &self.app.deps.clock
    }

    pub fn app(&self) -> &App {
        &self.app
    }

    /// The facade of the state role, whose keys must never be evicted.
    pub fn state(&self) -> &Redis {
        &self.app.deps.redis.state
    }

    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("built with behind_proxy()")
    }

    /// The Redis behind the service.
    pub fn redis(&self) -> std::sync::MutexGuard<'_, RedisServer> {
        self.redis.lock().expect("the server")
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], Body::empty()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.json(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.json(Method::PUT, path, body).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.json(Method::PATCH, path, body).await
    }

    async fn json(&self, method: Method, path: &str, body: Value) -> Reply {
        let json = (header::CONTENT_TYPE.as_str(), "application/json");
        self.send(method, path, &[json], Body::from(body.to_string())).await
    }

    /// Sends any request, without a socket.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        Reply::from(&self.app.router, method, path, headers, body).await
    }

    /// Listens on a free port, for tests of sockets; returns the address.
    pub fn serve(&mut self) -> SocketAddr {
        if let Some((address, _)) = &self.served {
            return *address;
        }
        let listener = server::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let (sender, receiver) = mpsc::unbounded_channel();
        let connections = self.app.deps.metrics.http.connections.clone();
        let worker = Worker::new(self.app.router.clone(), &self.app.http, connections, stop.clone());
        let tasks = self.app.deps.tasks.clone();
        let max = self.app.http.max_connections;
        let stopped = stop.clone();
        self.app.deps.tasks.spawn_connection(async move {
            tokio::join!(server::accept(listener, vec![sender], max, stopped), worker.run(receiver, &tasks));
        });
        self.served = Some((address, stop));
        address
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some((_, stop)) = &self.served {
            stop.cancel();
        }
        self.app.deps.tasks.stop();
    }
}
