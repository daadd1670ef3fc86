//! JSON documents: read and changed path by path, atomically, with a version that never comes again.
//!
//! Keys: see `keys.rs`. Redis down: every call answers 503, a read too; nothing is answered from memory.
//!
//! Decisions:
//! - A document is one string of compact JSON under its key, so that `redis-cli GET` and other services read it as it is;
//!   or a value of RedisJSON, by the deployment's own decision (`backend/`). Its version is a key beside it in the same slot: max(previous + 1, Redis's time in microseconds), so that it rises
//!   even when Redis forgets everything. An entity tag follows from version and text.
//! - A change is made here and stored by compare-and-swap on the version (`update.rs`); writers of one document at one
//!   replica stand in line (`queue.rs`). Nothing is half-applied, since the stored text is replaced as a whole.
//! - No number is lost: in memory a number is its text (`document/`). Members keep their order, names are unique.
//! - Paths are RedisJSON's dialect (`path/`), by its recorded answers; what differs, and why, stands in `docs/json.md`.
//! - Encrypted values are sealed and opened around a change (`vault.rs`): a caller without the scope works on the sealed
//!   document, so that neither an answer nor a filter tells what is in it.
//! - A fencing token is judged before conditions and before the document is looked at.
//! - A change that finds nothing to apply to is 404 or 409, not a success that did nothing.

mod backend;
mod batch;
mod change;
mod config;
mod document;
mod error;
mod keys;
mod metrics;
pub mod migration;
mod model;
mod path;
mod queue;
mod routes;
mod schema;
mod scripts;
mod service;
mod stored;
mod update;
mod vault;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::redis::ScriptCall;
use config::JsonConfig;
use service::JsonService;

const READ: &str = "json:read";
const WRITE: &str = "json:write";
const READ_USERS: &str = "users:read";
const WRITE_USERS: &str = "users:write";
const READ_CONFIG: &str = "config:read";
const WRITE_CONFIG: &str = "config:write";
const READ_FORMS: &str = "forms:read";
const WRITE_FORMS: &str = "forms:write";

pub static FEATURE: Feature = Feature {
    name: "json",
    mount,
    access: &[
        Access::scoped("GET", "/json/{key}", READ),
        Access::scoped("PUT", "/json/{key}", WRITE).fenced(),
        Access::scoped("PATCH", "/json/{key}", WRITE).fenced(),
        Access::scoped("DELETE", "/json/{key}", WRITE).fenced(),
        Access::scoped("POST", "/json/{key}/touch", WRITE).fenced(),
        Access::scoped("GET", "/json/{key}/type", READ),
        Access::scoped("GET", "/json/{key}/length", READ),
        Access::scoped("GET", "/json/{key}/keys", READ),
        Access::scoped("POST", "/json/{key}/array/append", WRITE).fenced(),
        Access::scoped("POST", "/json/{key}/array/insert", WRITE).fenced(),
        Access::scoped("POST", "/json/{key}/array/pop", WRITE).fenced(),
        Access::scoped("POST", "/json/{key}/array/trim", WRITE).fenced(),
        Access::scoped("POST", "/json/{key}/number/increment", WRITE).fenced(),
        Access::scoped("POST", "/json/{key}/number/multiply", WRITE).fenced(),
        Access::scoped("POST", "/json/{key}/string/append", WRITE).fenced(),
        Access::scoped("POST", "/json/{key}/toggle", WRITE).fenced(),
        Access::scoped("POST", "/json/{key}/clear", WRITE).fenced(),
        Access::scoped("POST", "/json/batch", WRITE).fenced_by_item(),
        Access::scoped("GET", "/users/{id}/preferences", READ_USERS),
        Access::scoped("PUT", "/users/{id}/preferences", WRITE_USERS).fenced(),
        Access::scoped("PATCH", "/users/{id}/preferences", WRITE_USERS).fenced(),
        Access::scoped("DELETE", "/users/{id}/preferences", WRITE_USERS).fenced(),
        Access::scoped("GET", "/users/{id}/preferences/{name}", READ_USERS),
        Access::scoped("PUT", "/users/{id}/preferences/{name}", WRITE_USERS).fenced(),
        Access::scoped("DELETE", "/users/{id}/preferences/{name}", WRITE_USERS).fenced(),
        Access::scoped("GET", "/users/{id}/activity", READ_USERS),
        Access::scoped("POST", "/users/{id}/activity", WRITE_USERS).fenced(),
        Access::scoped("DELETE", "/users/{id}/activity", WRITE_USERS).fenced(),
        Access::scoped("GET", "/config/{kind}/{id}", READ_CONFIG),
        Access::scoped("PUT", "/config/{kind}/{id}", WRITE_CONFIG).fenced(),
        Access::scoped("PATCH", "/config/{kind}/{id}", WRITE_CONFIG).fenced(),
        Access::scoped("DELETE", "/config/{kind}/{id}", WRITE_CONFIG).fenced(),
        Access::scoped("GET", "/forms/{id}", READ_FORMS),
        Access::scoped("PUT", "/forms/{id}", WRITE_FORMS).fenced(),
        Access::scoped("PATCH", "/forms/{id}", WRITE_FORMS).fenced(),
        Access::scoped("DELETE", "/forms/{id}", WRITE_FORMS).fenced(),
    ],
    problems: error::PROBLEMS,
    scripts: &[scripts::Read::SCRIPT, scripts::Write::SCRIPT, scripts::Touch::SCRIPT, scripts::Convert::SCRIPT],
    section: Some(SectionCheck::of::<JsonConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let documents = JsonService::new(deps, deps.config.section()?, &deps.config.section()?)?;
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::get_document, routes::put_document, routes::patch_document, routes::delete_document))
        .routes(routes!(routes::touch_document))
        .routes(routes!(routes::get_types))
        .routes(routes!(routes::get_lengths))
        .routes(routes!(routes::get_member_names))
        .routes(routes!(routes::append_items))
        .routes(routes!(routes::insert_items))
        .routes(routes!(routes::pop_items))
        .routes(routes!(routes::trim_arrays))
        .routes(routes!(routes::increment_numbers))
        .routes(routes!(routes::multiply_numbers))
        .routes(routes!(routes::append_text))
        .routes(routes!(routes::toggle_values))
        .routes(routes!(routes::clear_values))
        .routes(routes!(routes::run_json_batch))
        .routes(routes!(
            routes::get_preferences,
            routes::put_preferences,
            routes::patch_preferences,
            routes::delete_preferences
        ))
        .routes(routes!(routes::get_preference, routes::put_preference, routes::delete_preference))
        .routes(routes!(routes::list_activity, routes::record_activity, routes::delete_activity))
        .routes(routes!(
            routes::get_configuration,
            routes::put_configuration,
            routes::patch_configuration,
            routes::delete_configuration
        ))
        .routes(routes!(routes::get_form, routes::put_form, routes::patch_form, routes::delete_form))
        .with_state(documents))
}
