//! A cache whose values are bodies: what was PUT comes back byte for byte, with its Content-Type.
//!
//! Keys: see `keys.rs`; the stored form: see `value.rs`. Redis down: every call answers 503, a read too, since a false
//! 404 would have all callers rebuild at once; `on_error=miss` is the caller's own choice.
//!
//! Decisions:
//! - A value is what its bytes say: a JSON body stands in Redis as it came, so that the platform's other services go
//!   on reading theirs; everything else has an envelope.
//! - A read is one pipelined GET and PTTL, no script. Writes are scripts that share the value's slot.
//! - Conditions and tags are judged here and enforced by compare-and-swap on the exact bytes, so that a script needs
//!   to know neither entity tags nor generations.
//! - A value whose tag was invalidated is nothing to reads, conditions, take, touch and increment; only an
//!   unconditional PUT over one answers 204 instead of 201, since looking first would cost a round trip.
//! - `touch_ms` and `lease_ms` of a GET need no more than the right to read: they slide a session and order the rebuild.
//! - A fencing token is judged before conditions, and remembered whatever these then say: it proves that the former
//!   holder's time is over. That costs conditional writes with a token one round trip more.
//! - Deleting what is not there succeeds: a repeated DELETE must not fail.

mod batch;
mod config;
mod counter;
mod error;
mod index;
mod keys;
mod lease;
mod metrics;
mod model;
mod routes;
mod scripts;
mod service;
mod sweep;
mod tags;
mod value;
mod write;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::redis::ScriptCall;
use config::CacheConfig;
use service::CacheService;

const READ: &str = "cache:read";
const WRITE: &str = "cache:write";

pub static FEATURE: Feature = Feature {
    name: "cache",
    mount,
    access: &[
        Access::scoped("GET", "/cache", READ),
        Access::scoped("GET", "/cache/{key}", READ),
        Access::scoped("HEAD", "/cache/{key}", READ),
        Access::scoped("PUT", "/cache/{key}", WRITE).fenced(),
        Access::scoped("DELETE", "/cache/{key}", WRITE).fenced(),
        Access::scoped("POST", "/cache/{key}/touch", WRITE).fenced(),
        Access::scoped("POST", "/cache/{key}/increment", WRITE).fenced(),
        Access::scoped("POST", "/cache/batch", WRITE).fenced_by_item(),
        Access::scoped("DELETE", "/cache/tags/{tag}", WRITE).fenced(),
    ],
    problems: error::PROBLEMS,
    scripts: &[
        scripts::Put::SCRIPT,
        scripts::Delete::SCRIPT,
        scripts::Drop::SCRIPT,
        scripts::Take::SCRIPT,
        scripts::Touch::SCRIPT,
        scripts::Increment::SCRIPT,
        scripts::Lease::SCRIPT,
        scripts::TagOpen::SCRIPT,
        scripts::TagRaise::SCRIPT,
    ],
    section: Some(SectionCheck::of::<CacheConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let cache = CacheService::new(deps, deps.config.section()?);
    sweep::plan(&cache, &deps.tasks);
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::list_keys))
        .routes(routes!(routes::get_value, routes::head_value, routes::put_value, routes::delete_value))
        .routes(routes!(routes::touch_value))
        .routes(routes!(routes::increment_counter))
        .routes(routes!(routes::run_batch))
        .routes(routes!(routes::invalidate_tag))
        .with_state(cache))
}
