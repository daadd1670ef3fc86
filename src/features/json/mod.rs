//! JSON documents, read and changed path by path. Changes are atomic, and every version has an entity tag of its own.
//!
//! Files, in reading order:
//! - `document/`: a JSON value in memory, with its parser and writer; `path/`: JSON paths
//! - `change/`: every change as a pure function from document to document
//! - `model.rs`: wire types; `error.rs`: errors and problems; `config.rs`: settings; `metrics.rs`: counters
//! - `keys.rs`: Redis keys; `stored.rs`: a document as Redis holds it; `scripts.rs`: script calls; `backend.rs`: reads
//! - `encryption.rs`, `encryption_key.rs`, `can_decrypt.rs`: encrypted values; `schema.rs`: the rules of collections
//! - `service.rs`: shared state and reads; `update.rs` and `writer_queue.rs`: writes; `batch.rs`: many documents;
//!   `migration.rs`: moves documents between the backends; `rotation.rs`: moves values to the newest key; `api.rs`; `work.rs`: how much work a request may cause, and where it runs
//! - `routes/`: HTTP
//!
//! Keys: see `keys.rs`. Without Redis, every call answers 503, reads included; the service keeps no copies.
//!
//! Decisions:
//! - A document is one string of compact JSON, which `redis-cli GET` and other services can read; or a `RedisJSON`
//!   value, if the deployment decided so (`backend.rs`). Its version is a separate key in the same slot: max(previous +
//!   1, Redis's time in microseconds), so it grows even if Redis loses all data. The entity tag follows from version
//!   and text.
//! - The service changes a document in memory and stores it by compare-and-swap on the version (`update.rs`). The
//!   writers of a document in one replica queue (`writer_queue.rs`). The stored text is replaced as a whole, so no
//!   change is half made.
//! - Numbers keep their digits, because in memory a number is its text (`document/`). Members keep their order.
//! - Paths follow `RedisJSON`'s dialect (`path/`), by its recorded answers; `docs/json.md` explains the differences.
//! - Encrypted values are decrypted before a change and encrypted after it (`encryption.rs`). A caller without the
//!   scope `json:secrets` works on the encrypted strings, so neither an answer nor a filter reveals a value.
//! - A fencing token is checked before the conditions and before the document is read.
//! - Long work leaves the worker's thread, and the paths of one request share a limit of visits (`work.rs`). A result
//!   is measured before it is written.
//! - A change that selects nothing is answered 404 or 409. It is not a success without effect.

pub mod api;
mod backend;
mod batch;
mod can_decrypt;
mod change;
mod config;
mod document;
mod encryption;
mod encryption_key;
mod error;
mod keys;
mod metrics;
pub mod migration;
mod model;
mod path;
pub mod rotation;
mod routes;
mod schema;
mod scripts;
mod service;
mod stored;
mod update;
mod work;
mod writer_queue;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::config::{Config, ConfigError, Section, SectionCheck};
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use config::JsonConfig;
use encryption::FieldEncryption;
use error::{BATCH_PROBLEMS, BODY_PROBLEMS, READ_PROBLEMS, RESET_PROBLEMS, WRITE_PROBLEMS};
use schema::Schemas;
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
        Access::scoped("GET", "/json/{key}", READ).problems(READ_PROBLEMS),
        Access::scoped("PUT", "/json/{key}", WRITE).fenced().problems(BODY_PROBLEMS),
        Access::scoped("PATCH", "/json/{key}", WRITE).frees().fenced().problems(BODY_PROBLEMS),
        Access::scoped("DELETE", "/json/{key}", WRITE).fenced().problems(WRITE_PROBLEMS),
        Access::scoped("POST", "/json/{key}/touch", WRITE).fenced().problems(BODY_PROBLEMS),
        Access::scoped("GET", "/json/{key}/type", READ).problems(READ_PROBLEMS),
        Access::scoped("GET", "/json/{key}/length", READ).problems(READ_PROBLEMS),
        Access::scoped("GET", "/json/{key}/keys", READ).problems(READ_PROBLEMS),
        Access::scoped("POST", "/json/{key}/array/append", WRITE).fenced().problems(BODY_PROBLEMS),
        Access::scoped("POST", "/json/{key}/array/insert", WRITE).fenced().problems(BODY_PROBLEMS),
        Access::scoped("POST", "/json/{key}/array/pop", WRITE).frees().fenced().problems(BODY_PROBLEMS),
        Access::scoped("POST", "/json/{key}/array/trim", WRITE).frees().fenced().problems(BODY_PROBLEMS),
        Access::scoped("POST", "/json/{key}/number/increment", WRITE).fenced().problems(BODY_PROBLEMS),
        Access::scoped("POST", "/json/{key}/number/multiply", WRITE).fenced().problems(BODY_PROBLEMS),
        Access::scoped("POST", "/json/{key}/string/append", WRITE).fenced().problems(BODY_PROBLEMS),
        Access::scoped("POST", "/json/{key}/toggle", WRITE).fenced().problems(BODY_PROBLEMS),
        Access::scoped("POST", "/json/{key}/clear", WRITE).frees().fenced().problems(BODY_PROBLEMS),
        Access::scoped("DELETE", "/fences/json/{key}", ADMIN).problems(RESET_PROBLEMS),
        Access::scoped("POST", "/json/batch", WRITE).reading(READ).frees().fenced_by_item().problems(BATCH_PROBLEMS),
        Access::scoped("GET", "/users/{id}/preferences", READ_USERS).problems(READ_PROBLEMS),
        Access::scoped("PUT", "/users/{id}/preferences", WRITE_USERS).fenced().problems(BODY_PROBLEMS),
        Access::scoped("PATCH", "/users/{id}/preferences", WRITE_USERS).frees().fenced().problems(BODY_PROBLEMS),
        Access::scoped("DELETE", "/users/{id}/preferences", WRITE_USERS).fenced().problems(WRITE_PROBLEMS),
        Access::scoped("GET", "/users/{id}/preferences/{name}", READ_USERS).problems(READ_PROBLEMS),
        Access::scoped("PUT", "/users/{id}/preferences/{name}", WRITE_USERS).fenced().problems(BODY_PROBLEMS),
        Access::scoped("DELETE", "/users/{id}/preferences/{name}", WRITE_USERS).fenced().problems(WRITE_PROBLEMS),
        Access::scoped("GET", "/users/{id}/activity", READ_USERS).problems(READ_PROBLEMS),
        Access::scoped("POST", "/users/{id}/activity", WRITE_USERS).fenced().problems(BODY_PROBLEMS),
        Access::scoped("DELETE", "/users/{id}/activity", WRITE_USERS).fenced().problems(WRITE_PROBLEMS),
        Access::scoped("GET", "/config/{kind}/{id}", READ_CONFIG).problems(READ_PROBLEMS),
        Access::scoped("PUT", "/config/{kind}/{id}", WRITE_CONFIG).fenced().problems(BODY_PROBLEMS),
        Access::scoped("PATCH", "/config/{kind}/{id}", WRITE_CONFIG).frees().fenced().problems(BODY_PROBLEMS),
        Access::scoped("DELETE", "/config/{kind}/{id}", WRITE_CONFIG).fenced().problems(WRITE_PROBLEMS),
        Access::scoped("GET", "/forms/{id}", READ_FORMS).problems(READ_PROBLEMS),
        Access::scoped("PUT", "/forms/{id}", WRITE_FORMS).fenced().problems(BODY_PROBLEMS),
        Access::scoped("PATCH", "/forms/{id}", WRITE_FORMS).frees().fenced().problems(BODY_PROBLEMS),
        Access::scoped("DELETE", "/forms/{id}", WRITE_FORMS).fenced().problems(WRITE_PROBLEMS),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck { name: JsonConfig::NAME, check: check_config }),
};

/// Checks the section, and that its keys, paths and schemas can be used.
fn check_config(config: &Config) -> Result<(), ConfigError> {
    let section: JsonConfig = config.section()?;
    FieldEncryption::new(&section)
        .and_then(|_| Schemas::new(&section))
        .map(|_| ())
        .map_err(|error| config.refuse::<JsonConfig>(error))
}

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let documents = JsonService::new(deps, deps.config.section()?, &deps.config.section()?)
        .map_err(|error| deps.config.refuse::<JsonConfig>(error))?;
    // In the order in which a newcomer tries them: the batch stores the document that DELETE deletes.
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::run_json_batch))
        .routes(routes!(routes::get_document, routes::put_document, routes::patch_document, routes::delete_document))
        .routes(routes!(routes::touch_document))
        .routes(routes!(routes::get_types))
        .routes(routes!(routes::get_lengths))
        .routes(routes!(routes::get_member_names))
        .routes(routes!(routes::append_json_items))
        .routes(routes!(routes::insert_json_items))
        .routes(routes!(routes::pop_json_items))
        .routes(routes!(routes::trim_json_arrays))
        .routes(routes!(routes::increment_json_numbers))
        .routes(routes!(routes::multiply_json_numbers))
        .routes(routes!(routes::append_json_text))
        .routes(routes!(routes::toggle_json_values))
        .routes(routes!(routes::clear_json_values))
        .routes(routes!(routes::reset_document_fence))
        .routes(routes!(
            routes::get_user_preferences,
            routes::put_user_preferences,
            routes::patch_user_preferences,
            routes::delete_user_preferences
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
        .with_state(Arc::new(documents)))
}
