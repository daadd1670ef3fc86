//! A look into the Redis servers for administrators: slow commands, latency, clients, commands, hot keys, and what takes
//! memory.
//!
//! Files, in reading order:
//! - `model.rs`, `routes.rs`: wire types and operations; `service.rs`: reads, each of which is a few commands.
//! - `slow_log.rs`: the slow commands that the servers had. `persistence.rs`: how the servers keep their data.
//! - `inventory.rs`: the run that looks at every key; [`crate::holdings`] says to which capability one belongs.
//! - `keys.rs`, `error.rs`.
//!
//! Keys: see `keys.rs`. Without Redis: every call answers 503, except `commands`, which shows the last check,
//! and `hot`.
//!
//! Decisions:
//! - Arguments of commands are never shown: they are the data of callers. A slow command shows the capability of its key.
//! - An inventory scans in the background, slowly, one at a time, and stops if Redis becomes slow. No request scans.
//! - Hot keys are those of this replica's own exchanges ([`crate::hot_keys`]): Redis counts uses only under an LFU policy,
//!   and state must not be evicted.

mod error;
mod inventory;
mod keys;
mod model;
mod persistence;
mod routes;
mod service;
mod slow_log;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, REDIS_READ, REDIS_WRITE};
use service::{HOT_KEYS_TASK, InspectService, SLOW_LOG_TASK};

pub static FEATURE: Feature = Feature {
    name: "inspect",
    mount,
    access: &[
        Access::scoped("GET", "/admin/persistence", ADMIN).problems(&[CALLER, error::QUERY]),
        Access::scoped("GET", "/admin/redis/slowlog", ADMIN).heavy().problems(&[CALLER, REDIS_READ, error::QUERY]),
        Access::scoped("GET", "/admin/redis/latency", ADMIN).problems(&[CALLER, REDIS_READ, error::QUERY]),
        Access::scoped("GET", "/admin/redis/clients", ADMIN).heavy().problems(&[CALLER, REDIS_READ, error::SERVER]),
        Access::scoped("GET", "/admin/redis/commands", ADMIN).problems(&[CALLER, error::QUERY]),
        Access::scoped("GET", "/admin/redis/hot", ADMIN).problems(&[CALLER, error::QUERY]),
        Access::scoped("GET", "/admin/redis/inventory", ADMIN).problems(&[CALLER, REDIS_READ, error::INVENTORY]),
        Access::scoped("POST", "/admin/redis/inventory", ADMIN).problems(&[CALLER, REDIS_WRITE, error::START]),
    ],
    problems: error::PROBLEMS,
    scripts: &[],
    section: None,
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let inspect = Arc::new(InspectService::new(deps)?);
    deps.tasks.plan(HOT_KEYS_TASK, {
        let inspect = Arc::clone(&inspect);
        move |stop| inspect.age_hot_keys(stop)
    });
    deps.tasks.plan(SLOW_LOG_TASK, {
        let inspect = Arc::clone(&inspect);
        move |stop| inspect.keep_slow_commands(stop)
    });
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::get_persistence))
        .routes(routes!(routes::list_slow_commands))
        .routes(routes!(routes::list_latency_events))
        .routes(routes!(routes::list_redis_clients))
        .routes(routes!(routes::list_redis_commands))
        .routes(routes!(routes::list_hot_keys))
        .routes(routes!(routes::start_inventory, routes::get_inventory))
        .with_state(inspect))
}
