//! The harness: real servers that end with the test, the service in process, a proxy that fails on demand.

mod app;
mod eventually;
mod proxy;
mod redis_server;
mod reply;

pub use app::{START, TestApp};
pub use eventually::eventually;
pub use proxy::Proxy;
pub use redis_server::RedisServer;
pub use reply::Reply;
