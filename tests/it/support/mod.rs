//! The harness: real servers that end with the test, the service in process, a proxy that fails on demand.

mod app;
mod eventually;
mod proxy;
mod python;
mod redis_server;
mod reply;

pub use app::TestApp;
pub use eventually::eventually;
pub use proxy::Proxy;
pub use python::{build_directory, in_repository, run_python_tool, said};
pub use redis_server::RedisServer;
pub use reply::Reply;
