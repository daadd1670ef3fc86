//! The service in the test's process, on a Redis of its own.

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

/// What [`TestAppBuilder::admin_key`] lets in.
pub const ADMIN_KEY: &str = "ak_00112233445566778899aabbccddeeff";

/// 2026-01-01T00:00:00Z, where every manual clock starts.
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

/// Chooses what stands around the service before it starts.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one method's yes or no")]
pub struct TestAppBuilder {
    overrides: String,
    redis: Option<Arc<std::sync::Mutex<RedisServer>>>,
    redis_options: Vec<String>,
    production: bool,
    lanes: usize,
    proxied: bool,
    system_clock: bool,
    unready: bool,
}

impl TestAppBuilder {
    /// TOML over the defaults.
    pub fn config(mut self, toml: &str) -> Self {
        self.overrides.push_str(toml);
        self.overrides.push('\n');
        self
    }

    /// Asks callers for a credential, as in production; [`ADMIN_KEY`] is one that allows everything.
    pub fn admin_key(self) -> Self {
        let digest = api_key::hex(&api_key::digest(ADMIN_KEY.as_bytes()));
        self.config(&format!("[[auth.keys]]\nid = \"admin\"\nsha256 = \"{digest}\"\nscopes = [\"admin\"]"))
    }

    /// Options of the Redis that is started for the test.
    pub fn redis_options(mut self, options: &[&str]) -> Self {
        self.redis_options = options.iter().map(|&option| option.to_owned()).collect();
        self
    }

    /// The Redis that is started for the test is configured as in production.
    pub fn production_redis(mut self) -> Self {
        self.production = true;
        self
    }

    /// More shared connections than the one of lane 0; the test enters their lanes itself.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = lanes;
        self
    }

    /// A Redis that the test has started.
    pub fn on(mut self, server: RedisServer) -> Self {
        self.redis = Some(Arc::new(std::sync::Mutex::new(server)));
        self
    }

    /// A second replica: the same Redis as another app's.
    pub fn beside(mut self, other: &TestApp) -> Self {
        self.redis = Some(Arc::clone(&other.redis));
        self
    }

    /// Puts a proxy that can cut, stall and heal between the service and Redis.
    pub fn behind_proxy(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// The machine's clock instead of one that stands still.
    pub fn system_clock(mut self) -> Self {
        self.system_clock = true;
        self
    }

    /// Does not wait until the service is ready.
    pub fn unready(mut self) -> Self {
        self.unready = true;
        self
    }

    pub async fn spawn(self) -> TestApp {
        let redis = self.redis.unwrap_or_else(|| {
            let options: Vec<&str> = self.redis_options.iter().map(String::as_str).collect();
            let server = match (self.production, options.is_empty()) {
                (true, _) => RedisServer::production(),
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
        // A machine that is busy elsewhere is no outage, unless that is what the test is about.
        let patience = if self.overrides.contains(OPEN_TIMEOUT) { "" } else { "ratelimit.open_timeout = \"20s\"\n" };
        // Most tests count time from 0, or write years while the clock stands still.
        let times = if self.overrides.contains(MAX_AHEAD) { "" } else { ANY_TIMES };
        let overrides = format!("{patience}{times}{}", self.overrides);
        let mut config = Config::with_overrides(&overrides).expect("the overrides are TOML");
        // A test that names its own endpoint keeps it.
        if !names_redis(&self.overrides) {
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

/// Whether `overrides` say in `[redis]`, or in a table of one of its roles, which servers there are.
fn names_redis(overrides: &str) -> bool {
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
    /// The service on a Redis of its own, ready.
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

    /// The facade of the role that must never be evicted.
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

    /// Any request, without a socket.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        Reply::from(&self.app.router, method, path, headers, body).await
    }

    /// Listens on a free port as well, for tests of sockets; the address.
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
