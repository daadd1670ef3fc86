//! The harness: real servers that end with the test, the service in process, a proxy that fails on demand.

mod app;
mod binary;
mod collector;
mod eventually;
mod exposition;
mod proxy;
mod redis_server;
mod reply;

pub use app::TestApp;
pub use binary::Binary;
pub use collector::{Collector, hex};
pub use eventually::eventually;
pub use exposition::Exposition;
pub use proxy::Proxy;
pub use redis_server::RedisServer;
pub use reply::Reply;
