//! Export and erasure of a person across all capabilities.
//!
//! Files, in reading order:
//! - `model.rs`, `routes.rs`: wire types and operations.
//! - `rules.rs`: what becomes of each group of keys; `matcher.rs`: whether a text contains an id.
//! - `sweep.rs`: the walk over names and values; `runner.rs`: the task that erases and verifies; `export.rs`.
//! - `service.rs`: starts erasures and reads receipts; `api.rs`: what a restore calls.
//! - `keys.rs`, `config.rs`, `error.rs`, `metrics.rs`.
//!
//! Keys: see `keys.rs`. Without Redis: every call answers 503, and an erasure that was accepted continues afterwards.
//!
//! Decisions:
//! - An id can be anywhere in names and values, so erasure looks at all of them instead of at an index that could be
//!   incomplete. It looks again afterwards, and is complete only if nothing is left but what is kept for a stated reason.
//! - Every step may be repeated, so an erasure that was interrupted begins again.
//! - A held lock is not broken: the erasure waits until it is free.
//! - Tombstones are pseudonyms under the key of the audit log, so that they do not name the person themselves.

pub mod api;
mod config;
mod error;
mod export;
mod keys;
mod matcher;
mod metrics;
mod model;
mod routes;
mod rules;
mod runner;
mod scripts;
mod service;
mod sweep;

use std::sync::Arc;

use super::audit::api as audit;
use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::{Access, Repetition};
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, JSON_BODY, REDIS_READ, REDIS_WRITE};
use config::ErasureConfig;
use routes::SubjectRoutes;
use service::SubjectService;

pub static FEATURE: Feature = Feature {
    name: "subjects",
    mount,
    access: &[
        Access::scoped("POST", "/admin/subjects/{id}/export", ADMIN)
            .heavy()
            .streaming()
            .repeated_by(Repetition::Ignore)
            .problems(&[CALLER, JSON_BODY, REDIS_READ, error::EXPORT]),
        Access::scoped("POST", "/admin/subjects/{id}/erase", ADMIN).frees().problems(&[
            CALLER,
            JSON_BODY,
            REDIS_WRITE,
            error::ERASE,
        ]),
        Access::scoped("GET", "/admin/erasures/{id}", ADMIN).problems(&[CALLER, REDIS_READ, error::READ]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<ErasureConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let subjects = Arc::new(SubjectService::new(deps, deps.config.section()?, audit::service(deps)?)?);
    let (task, reports) = (Arc::clone(&subjects), deps.tasks.clone());
    deps.tasks.plan(runner::NAME, |stop| runner::run(task, reports, stop));
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::export_subject))
        .routes(routes!(routes::erase_subject))
        .routes(routes!(routes::get_erasure))
        .with_state(SubjectRoutes { subjects, tasks: deps.tasks.clone() }))
}
