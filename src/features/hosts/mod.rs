//! Host metrics: what agents see of their machines, the newest in memory, thirty days in Redis.
//!
//! Keys: see `keys.rs`. Samples are taken into memory and written in batches. Redis down: samples are still taken (202,
//! `stored: memory`) up to `hosts.unstored_samples`, beyond which the oldest are dropped, counted and logged; reads
//! answer from memory and say so, and a host that is not in memory is 503. Everything is written when Redis is back.
//!
//! Decisions:
//! - A sample is known by its host, its timestamp and its number. Batches may be written twice; reads and packing take one
//!   of equal samples.
//! - A host belongs to the organisation that first reported it. While Redis is away a new host is its reporter's on
//!   trust, and what was taken for somebody else's host is given up when Redis is back.
//! - Histories are chunks by the hour, see `chunk/`; the newest sample is a JSON document, so that replicas and people
//!   can read it.
//! - Rollups are reckoned from samples when their hour or day is over, never from each other; marks in Redis say which of
//!   them cannot be believed, see `packing.rs`.
//! - Forecasts are those of `augurs` (Grafana's): decomposition by MSTL, trend by ETS. It has no seasonal ETS, so
//!   Holt-Winters proper would have been code of our own. It reckons seasons in 32-bit floats, seven digits, which is
//!   more than a forecast has.
//! - With a spool, samples are on disk before they are acknowledged, until they are in Redis. It is a log of our own, some
//!   two hundred lines, since embedded databases keep far more than what is written once and read after a crash only.
//! - Fencing tokens are refused: no lock guards a host's samples.

mod access_scope;
mod analysis;
mod config;
mod error;
mod fields;
mod ingest;
mod metrics;
mod model;
mod organisation;
mod read;
mod routes;
mod sample;
mod service;
pub mod store;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem;
use crate::redis::ScriptCall;
use config::HostsConfig;
use service::HostService;

const READ: &str = "hosts:read";
const WRITE: &str = "hosts:write";

pub static FEATURE: Feature = Feature {
    name: "hosts",
    mount,
    access: &[
        Access::scoped("GET", "/hosts", READ).problems(&[
            problem::REDIS_READ,
            &[
                &problem::UNAUTHENTICATED,
                &error::WRONG_ORGANISATION,
                &problem::WRONG_TYPE,
                &problem::INVALID_QUERY,
                &problem::INTERNAL,
                &problem::REDIS_TIMEOUT,
                &problem::DEADLINE_EXCEEDED,
            ],
        ]),
        Access::scoped("POST", "/hosts/flush", ADMIN).problems(&[
            problem::CALLER,
            problem::REDIS_WRITE,
            &[&problem::INVALID_QUERY],
        ]),
        Access::scoped("GET", "/hosts/metrics/latest", READ).problems(&[
            problem::REDIS_READ,
            &[
                &problem::UNAUTHENTICATED,
                &error::WRONG_ORGANISATION,
                &problem::WRONG_TYPE,
                &problem::INVALID_QUERY,
                &problem::INTERNAL,
                &problem::REDIS_TIMEOUT,
                &problem::DEADLINE_EXCEEDED,
            ],
        ]),
        Access::scoped("POST", "/hosts/{id}/metrics", WRITE).problems(&[
            problem::JSON_BODY,
            &[
                &problem::UNAUTHENTICATED,
                &error::WRONG_ORGANISATION,
                &error::HOST_NOT_FOUND,
                &problem::WRONG_TYPE,
                &problem::INVALID_PATH,
                &problem::INVALID_QUERY,
                &problem::INTERNAL,
                &error::TOO_MANY_HOSTS,
                &problem::OVERLOADED,
                &problem::REDIS_TIMEOUT,
                &problem::DEADLINE_EXCEEDED,
                &problem::REDIS_OUT_OF_MEMORY,
            ],
        ]),
        Access::scoped("DELETE", "/hosts/{id}/metrics", ADMIN).problems(&[
            problem::REDIS_WRITE,
            &[
                &problem::UNAUTHENTICATED,
                &error::WRONG_ORGANISATION,
                &error::HOST_NOT_FOUND,
                &problem::WRONG_TYPE,
                &problem::INVALID_PATH,
                &problem::INVALID_QUERY,
                &problem::INTERNAL,
                &problem::REDIS_TIMEOUT,
                &problem::DEADLINE_EXCEEDED,
            ],
        ]),
        Access::scoped("GET", "/hosts/{id}/metrics/anomaly", READ).problems(&[
            problem::CALLER,
            problem::REDIS_READ,
            &[
                &error::WRONG_ORGANISATION,
                &error::HOST_NOT_FOUND,
                &problem::WRONG_TYPE,
                &problem::INVALID_PATH,
                &problem::INVALID_QUERY,
            ],
        ]),
        Access::scoped("GET", "/hosts/{id}/metrics/forecast", READ).problems(&[
            problem::CALLER,
            problem::REDIS_READ,
            &[
                &error::WRONG_ORGANISATION,
                &error::HOST_NOT_FOUND,
                &problem::WRONG_TYPE,
                &problem::INVALID_PATH,
                &problem::INVALID_QUERY,
            ],
        ]),
        Access::scoped("GET", "/hosts/{id}/metrics/latest", READ).problems(&[
            problem::CALLER,
            problem::REDIS_READ,
            &[
                &error::WRONG_ORGANISATION,
                &error::HOST_NOT_FOUND,
                &problem::WRONG_TYPE,
                &problem::INVALID_PATH,
                &problem::INVALID_QUERY,
            ],
        ]),
        Access::scoped("GET", "/hosts/{id}/metrics/range", READ).problems(&[
            problem::CALLER,
            problem::REDIS_READ,
            &[
                &error::WRONG_ORGANISATION,
                &error::HOST_NOT_FOUND,
                &problem::WRONG_TYPE,
                &problem::INVALID_PATH,
                &problem::INVALID_QUERY,
            ],
        ]),
        Access::scoped("GET", "/hosts/{id}/metrics/recent", READ).problems(&[
            problem::CALLER,
            problem::REDIS_READ,
            &[
                &error::WRONG_ORGANISATION,
                &error::HOST_NOT_FOUND,
                &problem::WRONG_TYPE,
                &problem::INVALID_PATH,
                &problem::INVALID_QUERY,
            ],
        ]),
        Access::scoped("GET", "/hosts/{id}/metrics/summary", READ).problems(&[
            problem::CALLER,
            problem::REDIS_READ,
            &[
                &error::WRONG_ORGANISATION,
                &error::HOST_NOT_FOUND,
                &problem::WRONG_TYPE,
                &problem::INVALID_PATH,
                &problem::INVALID_QUERY,
            ],
        ]),
        Access::scoped("POST", "/v2/heartbeat", WRITE).problems(&[
            problem::JSON_BODY,
            &[
                &problem::UNAUTHENTICATED,
                &error::WRONG_ORGANISATION,
                &error::HOST_NOT_FOUND,
                &problem::WRONG_TYPE,
                &problem::INVALID_QUERY,
                &problem::INTERNAL,
                &error::TOO_MANY_HOSTS,
                &problem::OVERLOADED,
                &problem::REDIS_TIMEOUT,
                &problem::DEADLINE_EXCEEDED,
                &problem::REDIS_OUT_OF_MEMORY,
            ],
        ]),
    ],
    problems: error::PROBLEMS,
    scripts: &[
        store::scripts::Append::SCRIPT,
        store::scripts::Claim::SCRIPT,
        store::scripts::Cleanup::SCRIPT,
        store::scripts::Pack::SCRIPT,
        store::scripts::Publish::SCRIPT,
        store::scripts::Roll::SCRIPT,
    ],
    section: Some(SectionCheck::of::<HostsConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let (hosts, requests) = HostService::new(deps, deps.config.section()?)?;
    ingest::writer::plan(&hosts, requests, &deps.tasks);
    read::current::plan(&hosts, &deps.tasks);
    store::cleanup::plan(&hosts, &deps.tasks);
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::list_hosts))
        .routes(routes!(routes::flush_host_metrics))
        .routes(routes!(routes::list_latest))
        .routes(routes!(routes::post_host_metrics, routes::delete_host_metrics))
        .routes(routes!(routes::get_anomaly))
        .routes(routes!(routes::get_forecast))
        .routes(routes!(routes::get_latest))
        .routes(routes!(routes::get_range))
        .routes(routes!(routes::get_recent))
        .routes(routes!(routes::get_summary))
        .routes(routes!(routes::post_heartbeat))
        .with_state(hosts))
}
