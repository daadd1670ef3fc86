//! Host metrics: samples that agents measure on their machines. The newest are in memory, thirty days of them in Redis.
//!
//! Files, in reading order:
//! - `model.rs`, `sample.rs`, `fields.rs`: wire types, one sample with its rules, and its numbers by name.
//! - `heartbeat.rs`: heartbeats of the platform's agents.
//! - `tenancy.rs`: which organisation owns a host, and which hosts a caller can access.
//! - `service.rs`: the service; it accepts samples and answers simple reads.
//! - `ingest/`: samples in memory, the batch writer, and the spool on disk.
//! - `store/`: keys, scripts and byte formats in Redis, packing and cleanup.
//! - `read/`: newest samples, ranges, lists, summaries and export formats.
//! - `analysis/`: anomalies and, with the Cargo feature `forecast`, forecasts.
//! - `routes/`, `error.rs`, `config.rs`, `metrics.rs`, and `dump.rs` for the command line.
//!
//! Keys: see `store/keys.rs`.
//!
//! Without Redis: samples are still accepted (202, `stored: memory`) up to `hosts.unstored_samples`; beyond that the
//! oldest are dropped, counted and logged. Reads answer from memory and say so; a host that is not in memory is 503. The
//! batch writer stores all waiting samples when Redis is available again.
//!
//! Decisions:
//! - Host, timestamp and sequence number identify a sample. A batch may be written twice; reads and packing remove
//!   duplicates.
//! - Each organisation has its own host names. The first one to report a name stores the host under the name alone, as before
//!   organisations had names of their own; see `HostId`. While Redis is unavailable, a new host is stored provisionally;
//!   its samples move if Redis later shows that another organisation has the name.
//! - Histories are hourly chunks, see `store/chunk/`. The newest sample is a JSON document, readable by replicas and
//!   people.
//! - Rollups are computed from samples once their hour or day is over, never from other rollups. Marks in Redis say which
//!   rollups are out of date, see `store/packing.rs`.
//! - Forecasts use Grafana's `augurs`: decomposition by MSTL, trend by ETS. It has no seasonal ETS, so Holt-Winters would
//!   need an implementation of our own. It computes seasons in 32-bit floats, which is precise enough for a forecast.
//! - With a spool, samples are on disk before they are acknowledged and until they are in Redis. The spool is a log of
//!   about two hundred lines: an embedded database does far more than this write-once, read-after-a-crash use needs.
//! - Fencing tokens are rejected: no lock guards a host's samples.

mod analysis;
mod config;
pub mod dump;
mod error;
mod fields;
mod heartbeat;
mod ingest;
mod metrics;
mod model;
mod read;
mod routes;
mod sample;
mod service;
mod store;
mod tenancy;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::config::http::HttpConfig;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, INVALID_HEADER, JSON_BODY, REDIS_READ, REDIS_WRITE};
use config::HostsConfig;
use error::{HOST, INGEST, LIST, QUERY};
use ingest::flush;
use read::latest;
use service::HostService;
use store::{cleanup, scripts};

const READ: &str = "hosts:read";
const WRITE: &str = "hosts:write";

pub static FEATURE: Feature = Feature {
    name: "hosts",
    mount,
    access: &[
        Access::scoped("GET", "/hosts", READ).heavy().problems(&[CALLER, REDIS_READ, LIST]),
        Access::scoped("POST", "/hosts/flush", ADMIN).problems(&[CALLER, REDIS_WRITE, QUERY]),
        Access::scoped("GET", "/hosts/metrics/latest", READ).heavy().problems(&[CALLER, REDIS_READ, LIST]),
        Access::scoped("POST", "/hosts/{id}/metrics", WRITE).problems(&[CALLER, JSON_BODY, INGEST, HOST]),
        Access::scoped("DELETE", "/hosts/{id}/metrics", ADMIN).problems(&[CALLER, REDIS_WRITE, HOST]),
        Access::scoped("GET", "/hosts/{id}/metrics/anomaly", READ).heavy().problems(&[CALLER, REDIS_READ, HOST]),
        #[cfg(feature = "forecast")]
        Access::scoped("GET", "/hosts/{id}/metrics/forecast", READ).heavy().problems(&[CALLER, REDIS_READ, HOST]),
        Access::scoped("GET", "/hosts/{id}/metrics/latest", READ).problems(&[CALLER, REDIS_READ, HOST]),
        Access::scoped("GET", "/hosts/{id}/metrics/range", READ).heavy().problems(&[CALLER, REDIS_READ, HOST]),
        Access::scoped("GET", "/hosts/{id}/metrics/recent", READ).heavy().problems(&[CALLER, REDIS_READ, HOST]),
        Access::scoped("GET", "/hosts/{id}/metrics/summary", READ).heavy().problems(&[CALLER, REDIS_READ, HOST]),
        Access::scoped("POST", "/agent/heartbeat", WRITE).problems(&[
            CALLER,
            JSON_BODY,
            INGEST,
            LIST,
            &[&INVALID_HEADER],
        ]),
        Access::scoped("POST", "/v2/heartbeat", WRITE).problems(&[CALLER, JSON_BODY, INGEST, LIST]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<HostsConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let (hosts, flush_requests) = HostService::new(deps, deps.config.section()?)?;
    let shutdown_deadline = deps.config.section::<HttpConfig>()?.shutdown_deadline;
    flush::plan(&hosts, flush_requests, shutdown_deadline, &deps.tasks);
    latest::plan(&hosts, &deps.tasks);
    cleanup::plan(&hosts, &deps.tasks);
    let router = OpenApiRouter::new()
        .routes(routes!(routes::post_heartbeat))
        .routes(routes!(routes::post_older_heartbeat))
        .routes(routes!(routes::post_host_metrics, routes::delete_host_metrics))
        .routes(routes!(routes::get_anomaly));
    #[cfg(feature = "forecast")]
    let router = router.routes(routes!(routes::get_forecast));
    Ok(router
        .routes(routes!(routes::get_latest))
        .routes(routes!(routes::get_range))
        .routes(routes!(routes::get_recent))
        .routes(routes!(routes::get_summary))
        .routes(routes!(routes::list_hosts))
        .routes(routes!(routes::list_latest))
        .routes(routes!(routes::flush_host_metrics))
        .with_state(hosts))
}
