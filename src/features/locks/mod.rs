//! Distributed locks: one holder per resource, for a bounded time, with a number that tells late writers apart.
//!
//! Keys: see `keys.rs`. Redis down: every call answers 503 at once, waiters within `locks.recheck`; a lock is never
//! granted on a guess, and what may have been granted unseen is given back in the background (`stake.rs`).
//!
//! Decisions:
//! - A lock is a lease. There is no "hold until I say so"; callers extend, and an extension never shortens.
//! - The key holds the token and nothing else, so that redis-py's Lock and node-redlock exclude us and we them.
//! - A fencing token is max(previous + 1, Redis's time in microseconds): it rises even when Redis forgets everything.
//! - Waiters stand in one queue in Redis. A free lease is offered to the first of them for `locks.turn`; meanwhile
//!   nobody else gets it. Who misses its turn is passed over.
//! - With `locks.nodes` a majority of independent masters keeps the leases (`redlock.rs`), and readiness shows who votes
//!   (`node_watch.rs`); the queue stays on the state role, as a turnstile that keeps order and that safety does not
//!   depend on.
//! - The list of held locks is kept behind the grants' backs (`index.rs`), so that a grant is one round trip.

mod acquisition;
mod config;
mod error;
mod index;
mod index_scripts;
mod keys;
mod leases;
mod metrics;
mod model;
mod node_scripts;
mod node_watch;
mod redlock;
mod routes;
mod scripts;
mod service;
mod stake;
mod store;
mod validity;
mod waiting;
mod wish;
mod ws;

use super::feature::{Feature, StartError};
use crate::config::{Section, SectionCheck};
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::redis::ScriptCall;
use config::LocksConfig;
use service::LockService;

pub static FEATURE: Feature = Feature {
    name: "locks",
    mount,
    access: &[
        Access::scoped("POST", "/locks/{resource}", "locks:write").waiting(),
        Access::scoped("POST", "/locks/acquire-all", "locks:write"),
        Access::scoped("PATCH", "/locks/{resource}", "locks:write"),
        Access::scoped("DELETE", "/locks/{resource}", "locks:write"),
        Access::scoped("GET", "/locks/{resource}", "locks:read"),
        Access::scoped("GET", "/locks/{resource}/hold", "locks:write"),
        Access::scoped("GET", "/locks", "locks:read"),
        Access::scoped("GET", "/locks/stats", "locks:read"),
    ],
    problems: error::PROBLEMS,
    scripts: &[
        scripts::Acquire::SCRIPT,
        scripts::Release::SCRIPT,
        scripts::Extend::SCRIPT,
        scripts::Force::SCRIPT,
        scripts::Inspect::SCRIPT,
        index_scripts::Relist::SCRIPT,
        index_scripts::Sweep::SCRIPT,
        node_scripts::Enroll::SCRIPT,
        node_scripts::Vote::SCRIPT,
        node_scripts::Raise::SCRIPT,
    ],
    section: Some(SectionCheck { name: LocksConfig::NAME, check: config::check }),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let locks = LockService::new(deps, deps.config.section()?, FEATURE.scripts)?;
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::list_locks))
        .routes(routes!(routes::get_lock_stats))
        .routes(routes!(routes::acquire_locks))
        .routes(routes!(ws::hold_lock))
        .routes(routes!(routes::acquire_lock, routes::extend_lock, routes::release_lock, routes::inspect_lock))
        .with_state(locks))
}
