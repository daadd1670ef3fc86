//! Distributed locks: one holder per resource, for a bounded time, with a number that exposes late writers.
//!
//! Files, in reading order:
//! - `model.rs`: requests and responses; `routes.rs` and `websocket.rs`: the HTTP operations.
//! - `service.rs`: what a lock guarantees: extend, release, inspect, list. `acquire_spec.rs` and `acquire.rs`: acquire,
//!   immediately or from the queue. `hold.rs`: a lock that is extended for a connected client.
//! - `validity.rs`: how long a holder may rely on a lease. `release_guard.rs`: releases what a lost response or a
//!   disconnected client leaves behind.
//! - `backend.rs`: which Redis servers keep the locks: that of the state role, or a majority of lock nodes.
//!   `node_watch.rs`: which of the nodes vote.
//! - `local_waiters.rs`: wakes the clients that wait at this replica.
//! - `index.rs`: the list of held locks.
//! - `scripts.rs`: the leases on one Redis, and the script calls; `keys.rs`: the Redis keys; `config.rs`, `error.rs`, `metrics.rs`.
//!
//! Keys: see `keys.rs`. Without Redis: every call fails with 503, a waiter within a second. No lock is granted
//! on a guess, and a lease that may have been granted unnoticed is released in the background.
//!
//! Decisions:
//! - A lock is a lease. No lock is held until an explicit release; holders extend, and an extension never shortens.
//! - The key holds the token and nothing else, so that redis-py's Lock, node-redlock and this service exclude each
//!   other.
//! - A fencing token is max(previous + 1, Redis's time in microseconds): it rises even if Redis forgets everything.
//! - Waiters share one queue in Redis. A free lock is reserved for the first waiter for one turn. A waiter that misses
//!   its turn is skipped.
//! - With `locks.nodes`, a majority of independent masters keeps the leases, and readiness shows which nodes vote. The
//!   queue stays on the state role: it keeps order, and safety does not depend on it.
//! - A repetition of an acquire reruns: it receives the grant of the first request only while that lease lasts, and
//!   with the validity that is left of it. Once the lease has ended, the request acquires the lock again.
//! - The list of held locks is updated after the grant, so that a grant is one round trip.

mod acquire;
mod acquire_spec;
mod backend;
mod config;
mod error;
mod hold;
mod index;
mod keys;
mod local_waiters;
mod metrics;
mod model;
mod node_watch;
mod release_guard;
mod routes;
mod scripts;
mod service;
mod validity;
mod websocket;

use super::feature::{Feature, StartError};
use crate::config::http::HttpConfig;
use crate::config::{Section, SectionCheck};
use crate::deps::Deps;
use crate::http::access::{Access, Audit, Repetition};
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, JSON_BODY, REDIS_READ, REDIS_WRITE};
use config::LocksConfig;
use service::LockService;

const READ: &str = "locks:read";
const WRITE: &str = "locks:write";

pub static FEATURE: Feature = Feature {
    name: "locks",
    mount,
    access: &[
        Access::scoped("POST", "/locks/{resource}", WRITE).waiting().repeated_by(Repetition::Rerun).problems(&[
            CALLER,
            JSON_BODY,
            REDIS_WRITE,
            error::ACQUIRE,
        ]),
        Access::scoped("POST", "/locks/acquire-all", WRITE).repeated_by(Repetition::Rerun).problems(&[
            CALLER,
            JSON_BODY,
            REDIS_WRITE,
            error::ACQUIRE_ALL,
        ]),
        Access::scoped("PATCH", "/locks/{resource}", WRITE).frees().repeated_by(Repetition::Rerun).problems(&[
            CALLER,
            JSON_BODY,
            REDIS_WRITE,
            error::EXTEND,
        ]),
        Access::scoped("DELETE", "/locks/{resource}", WRITE).audited(Audit::RecordedWith("force")).problems(&[
            CALLER,
            REDIS_WRITE,
            error::RELEASE,
        ]),
        Access::scoped("GET", "/locks/{resource}", READ).problems(&[CALLER, REDIS_READ, error::INSPECT]),
        Access::scoped("GET", "/locks/{resource}/hold", WRITE).changes_state().problems(&[error::HOLD]),
        Access::scoped("GET", "/locks", READ).heavy().problems(&[CALLER, REDIS_READ, error::LIST]),
        Access::scoped("GET", "/locks/stats", READ).problems(&[CALLER, REDIS_READ, error::LIST]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck { name: LocksConfig::NAME, check: config::check }),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let http: HttpConfig = deps.config.section()?;
    let locks = LockService::new(deps, deps.config.section()?, http)?;
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::acquire_locks))
        .routes(routes!(routes::acquire_lock, routes::extend_lock, routes::release_lock, routes::inspect_lock))
        .routes(routes!(websocket::hold_lock))
        .routes(routes!(routes::list_locks))
        .routes(routes!(routes::get_lock_stats))
        .with_state(locks))
}
