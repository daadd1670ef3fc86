//! The test harness: real servers that end with the test, the service in process, a proxy that fails on demand.

mod app;
mod collector;
mod eventually;
mod exposition;
pub mod facade;
mod faketime;
mod groups;
mod line_process;
mod link;
mod module_redis;
mod ndjson;
mod nginx;
mod peer;
mod postgres;
mod process;
mod prometheus;
mod proxy;
mod python;
mod redis_server;
mod reply;
#[cfg(feature = "object-store")]
mod s3;
mod sentinel_trio;
mod tls;
pub mod wire;

pub use app::{ADMIN_KEY, START, TestApp, TestAppBuilder};
pub use collector::{Collector, hex};
pub use eventually::eventually;
pub use exposition::Exposition;
pub use faketime::{faketime, shifted_clock};
pub use groups::{Cluster, MASTER, SentinelGroup, UsedMaster, replicated, replication_has};
pub use line_process::{LineProcess, node, node_package, python};
pub use link::LinksTo;
pub use module_redis::{clear, command, migration, module_redis_url, on_module_redis, optional_module_redis_url};
pub use ndjson::{NDJSON, ndjson};
pub use nginx::Nginx;
pub use peer::{Peer, PeerKind};
pub use postgres::{PgBouncer, Postgres};
pub use process::ServiceProcess;
pub use prometheus::Prometheus;
pub use proxy::Proxy;
pub use python::{build_directory, in_repository, output_text, run_python_tool};
pub use redis_server::{MODULE_TYPE, RedisServer, SHIPPED, free_port};
pub use reply::Reply;
#[cfg(feature = "object-store")]
pub use s3::S3Server;
pub use sentinel_trio::SentinelTrio;
pub use tls::TlsServer;
