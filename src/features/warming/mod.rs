//! Cache warming: values are cached before they are requested, from `PostgreSQL`, HTTP services, files and the service's own
//! data.
//!
//! Files, in reading order:
//! - `config.rs`, `model.rs`: sources and tasks. `template.rs`: the keys of a task. `plan.rs`: the rules of tasks, the graph of
//!   those that follow others, and when each is due.
//! - `sources/`: queries, requests, files and functions, with the guard of addresses and URLs.
//! - `runner/`: the background work. `mod.rs` looks for due tasks, `pass.rs` is one run, `batch.rs` one batch of it, and `pace.rs`
//!   keeps it within its share of a core.
//! - `values.rs`: cache-aside reads, and what callers have written. `hot.rs`: which keys clients use most.
//! - `configured.rs`, `breakers.rs` and `flights.rs`: the parts of the service. `service.rs`, `routes/`, `store.rs`, `scripts.rs`, `keys.rs`, `metrics.rs`, `error.rs`.
//!
//! Keys: see `keys.rs`; values are stored by the cache ([`crate::cached`]). Without Redis: runs end, nothing is queued, and every
//! call is 503. Without a source: cached values stay, and reads of missing ones are 502.
//!
//! Decisions:
//! - Queries, URLs and functions are named by the configuration only. A request combines a configured source with a template.
//! - A replica runs a task if it gets its turn, which each report of progress extends. A runner that was frozen loses the turn,
//!   and learns so before its next write.
//! - What is compared with is older than what is fetched, so that a newer value always stays.
//! - A predecessor that failed makes its successors wait; they look again every second.
//! - Progress is published on the channel `system:warming`, which `GET /pubsub/sse` streams.

mod breakers;
mod config;
mod configured;
mod error;
mod flights;
mod hot;
mod keys;
mod metrics;
mod model;
mod plan;
mod routes;
mod runner;
mod scripts;
mod service;
mod sources;
mod store;
mod template;
mod values;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, JSON_BODY, REDIS_READ, REDIS_WRITE};
use config::WarmingConfig;
use error::{DEFINITION, KEY, QUERY, REQUEST, RUN, TASK, VALUE};
use service::WarmingService;

const READ: &str = "warming:read";
const WRITE: &str = "warming:write";

pub static FEATURE: Feature = Feature {
    name: "warming",
    mount,
    access: &[
        Access::scoped("GET", "/warming", READ).problems(&[CALLER, REDIS_READ, QUERY]),
        Access::scoped("GET", "/warming/hot", READ).problems(&[CALLER, REDIS_READ, TASK]),
        Access::scoped("GET", "/warming/tasks/{name}", READ).problems(&[CALLER, REDIS_READ, TASK]),
        Access::scoped("PUT", "/warming/tasks/{name}", ADMIN).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            TASK,
            DEFINITION,
        ]),
        Access::scoped("DELETE", "/warming/tasks/{name}", ADMIN).problems(&[CALLER, REDIS_WRITE, TASK, DEFINITION]),
        Access::scoped("POST", "/warming/tasks/{name}/pause", WRITE).problems(&[CALLER, REDIS_WRITE, TASK]),
        Access::scoped("POST", "/warming/tasks/{name}/resume", WRITE).problems(&[CALLER, REDIS_WRITE, TASK]),
        Access::scoped("POST", "/warming/tasks/{name}/run", WRITE).waiting().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            TASK,
            REQUEST,
        ]),
        Access::scoped("GET", "/warming/tasks/{name}/runs", READ).problems(&[CALLER, REDIS_READ, TASK]),
        Access::scoped("GET", "/warming/runs/{id}", READ).problems(&[CALLER, REDIS_READ, RUN]),
        Access::scoped("POST", "/warming/runs/{id}/stop", WRITE).problems(&[CALLER, REDIS_WRITE, RUN]),
        Access::scoped("GET", "/warming/values/{key}", READ).waiting().changes_state().problems(&[
            CALLER,
            REDIS_WRITE,
            KEY,
            VALUE,
        ]),
        Access::scoped("POST", "/warming/values/{key}/written", WRITE).waiting().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            KEY,
            VALUE,
        ]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<WarmingConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let warming = Arc::new(WarmingService::new(deps, deps.config.section()?)?);
    let (runner, reports, health) = (Arc::clone(&warming), deps.tasks.clone(), deps.component_health.clone());
    deps.tasks.plan(runner::NAME, |stop| runner::run(runner, reports, health, stop));
    // In the order in which a newcomer tries them: the task that PUT makes is the one that the others use.
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::put_warming_task, routes::get_warming_task, routes::delete_warming_task))
        .routes(routes!(routes::list_warming_tasks))
        .routes(routes!(routes::pause_warming_task))
        .routes(routes!(routes::resume_warming_task))
        .routes(routes!(routes::run_warming_task))
        .routes(routes!(routes::list_warming_runs))
        .routes(routes!(routes::get_warming_run))
        .routes(routes!(routes::stop_warming_run))
        .routes(routes!(routes::list_hot_warming_keys))
        .routes(routes!(routes::get_warming_value))
        .routes(routes!(routes::note_warming_write))
        .with_state(warming))
}
