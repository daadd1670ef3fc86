//! The minimal peer: one axum route on the accept loop of the service, without its middleware.

use std::thread;

use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use gridtokenx_redis::clock::Clock;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::config::http::HttpConfig;
use gridtokenx_redis::http::server::{self, Worker};
use gridtokenx_redis::lifecycle::Tasks;
use gridtokenx_redis::telemetry::metrics::Metrics;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The argument that runs this binary as the peer.
pub const COMMAND: &str = "serve-bare";

/// Responds to every path with `body`.
pub fn responding(body: String) -> Router {
    let body = Bytes::from(body);
    Router::new().fallback(any(move || std::future::ready(body.clone())))
}

/// Serves with as many workers as the service until it is killed.
pub fn serve(port: u16, router: &Router) {
    let config: HttpConfig = Config::load(None, []).and_then(|config| config.section()).expect("the defaults");
    let connections = Metrics::new().http.connections.clone();
    let mut senders = Vec::new();
    for _ in 0..config.worker_count() {
        let (sender, incoming) = mpsc::unbounded_channel();
        senders.push(sender);
        let worker = Worker::new(router.clone(), &config, connections.clone(), CancellationToken::new());
        thread::spawn(move || runtime().block_on(worker.run(incoming, &Tasks::new(Clock::System))));
    }
    runtime().block_on(async {
        let listener = server::bind(([127, 0, 0, 1], port).into()).expect("the port is free");
        server::accept(listener, senders, config.max_connections, CancellationToken::new()).await;
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}
