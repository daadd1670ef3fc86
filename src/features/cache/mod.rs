//! A cache of arbitrary bodies: a GET returns what was PUT, byte for byte, with its Content-Type.
//!
//! Read `service.rs` (reads), `write.rs` (put, delete, take, touch, increment), `tags.rs` (invalidation of many values),
//! `lease.rs` (the stampede guard), `batch/` (many values in one request), `index.rs` (the list of keys and its
//! sweep), `cached.rs` (the cache as other capabilities fill it), `stored_value.rs` (the bytes in Redis), `scripts.rs`, `keys.rs` (every key, with type and TTL).
//!
//! Without Redis every call returns 503. That includes reads, since a false 404 would make all clients rebuild their
//! values at the same time; with `on_error=miss` a client asks for the 404.
//!
//! Decisions:
//! - A JSON body is stored exactly as it was sent, so that the platform's other services can read it. Everything else
//!   is stored in an envelope.
//! - A read is a pipelined GET and PTTL, not a script. Writes are scripts whose keys share the value's slot.
//! - The service checks conditions and tags. Scripts enforce its decision by compare-and-swap on the exact bytes, so
//!   they need to know neither entity tags nor generations.
//! - To reads, conditions, take, touch and increment, a value with an invalidated tag does not exist. Only an
//!   unconditional PUT over one returns 204 instead of 201, since checking first would cost a round trip.
//! - `touch_ms` and `lease_ms` of a GET need only the permission to read: they extend a session and coordinate a
//!   rebuild.
//! - A fencing token is checked before conditions and remembered whatever their result: it proves that the previous
//!   holder's lock is over. This costs a conditional write with a token one round trip more.
//! - Deleting a value that does not exist succeeds: a repeated DELETE must not fail.

mod batch;
mod cached;
mod config;
mod error;
mod index;
mod keys;
mod lease;
mod metrics;
mod model;
mod routes;
mod scripts;
mod service;
mod stored_value;
mod tags;
mod write;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{
    BODY_INCOMPLETE, BODY_TOO_LARGE, CALLER, INVALID_QUERY, JSON_BODY, REDIS_READ, REDIS_WRITE, REQUEST_TIMEOUT,
    STALE_FENCE, WRONG_TYPE,
};
use config::CacheConfig;
use error::{CONDITIONAL, LEASE_LOST, MISS, NOT_A_NUMBER, RETRIED, VALUE};
use service::CacheService;

const READ: &str = "cache:read";
const WRITE: &str = "cache:write";

pub static FEATURE: Feature = Feature {
    name: "cache",
    mount,
    access: &[
        Access::scoped("GET", "/cache", READ).heavy().problems(&[CALLER, REDIS_READ, &[&INVALID_QUERY]]),
        Access::scoped("GET", "/cache/{key}", READ).changes_state().problems(&[
            CALLER,
            REDIS_WRITE,
            VALUE,
            CONDITIONAL,
            MISS,
            RETRIED,
        ]),
        Access::scoped("HEAD", "/cache/{key}", READ).problems(&[CALLER, REDIS_READ, VALUE, CONDITIONAL, MISS]),
        Access::scoped("PUT", "/cache/{key}", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            VALUE,
            CONDITIONAL,
            RETRIED,
            &[&LEASE_LOST, &BODY_INCOMPLETE, &BODY_TOO_LARGE, &REQUEST_TIMEOUT],
        ]),
        Access::scoped("DELETE", "/cache/{key}", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            VALUE,
            CONDITIONAL,
            MISS,
            RETRIED,
        ]),
        Access::scoped("POST", "/cache/{key}/touch", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            VALUE,
            MISS,
            RETRIED,
        ]),
        Access::scoped("POST", "/cache/{key}/increment", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            VALUE,
            RETRIED,
            &[&NOT_A_NUMBER],
        ]),
        Access::scoped("POST", "/cache/batch", WRITE).reading(READ).heavy().frees().fenced_by_item().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            RETRIED,
            &[&INVALID_QUERY, &WRONG_TYPE, &STALE_FENCE],
        ]),
        Access::scoped("DELETE", "/cache/tags/{tag}", WRITE).fenced().problems(&[CALLER, REDIS_WRITE, VALUE]),
        Access::scoped("DELETE", "/fences/cache/{key}", ADMIN).problems(&[CALLER, REDIS_WRITE, VALUE]),
        Access::scoped("DELETE", "/fences/cache-tags/{tag}", ADMIN).problems(&[CALLER, REDIS_WRITE, VALUE]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<CacheConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let cache = CacheService::new(deps, deps.config.section()?);
    index::plan_sweep(&cache, &deps.tasks);
    deps.cached.provide(Box::new(cached::Filling::new(cache.clone(), deps)));
    // In the order in which a newcomer tries them: the batch stores the value that DELETE deletes.
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::run_batch))
        .routes(routes!(routes::get_value, routes::head_value, routes::put_value, routes::delete_value))
        .routes(routes!(routes::touch_value))
        .routes(routes!(routes::increment_counter))
        .routes(routes!(routes::list_keys))
        .routes(routes!(routes::invalidate_tag))
        .routes(routes!(routes::reset_value_fence))
        .routes(routes!(routes::reset_tag_fence))
        .with_state(cache))
}
