//! The audit log: who did what as an administrator, in a chain that cannot be rewritten without its key.
//!
//! Files, in reading order:
//! - `model.rs`: entries and wire types; `routes.rs`: the HTTP operations.
//! - `layer.rs`: records the requests whose access rows say so; `counts.rs`: those that are only counted.
//! - `writer.rs`: the task that appends; `keeper.rs`: the hourly verification, export and removal.
//! - `chain.rs`: the chain in Redis; `verifier.rs`: what is wrong with entries; `key_ring.rs`: its keys.
//! - `command.rs`: what the command line calls; `api.rs`: what other capabilities use; `service.rs`: what is recorded and read.
//! - `scripts.rs`, `keys.rs`, `config.rs`, `error.rs`, `metrics.rs`.
//!
//! Keys: see `keys.rs`. Without Redis: actions that must be recorded are 503 `audit-unavailable` and do not happen. Other
//! requests are unaffected; what they count waits in memory, which is bounded, and what is lost is counted.
//!
//! Decisions:
//! - Only actions of administrators fail without the log. Data routes never wait for it.
//! - An action is recorded before it acts, and its outcome afterwards without delay for the caller. An intent without an
//!   outcome means that the replica ended in between.
//! - A client that can delete keys in Redis can delete the log, so its end is signed and written to the log of the service.
//! - A break does not stop the log: it is named, and an operator acknowledges it with an entry from which verification
//!   continues.
//! - Entries contain no values, and what may name a person is a pseudonym.

pub mod api;
mod chain;
pub mod command;
mod config;
mod counts;
mod error;
mod keeper;
mod key_ring;
mod keys;
mod layer;
mod metrics;
mod model;
mod routes;
mod scripts;
mod service;
mod verifier;
mod writer;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::layer::RequestLayer;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, REDIS_READ};
use config::AuditConfig;
pub use service::AuditService;
use writer::Writer;

pub static FEATURE: Feature = Feature {
    name: "audit",
    mount,
    access: &[
        Access::scoped("GET", "/admin/audit", ADMIN).heavy().problems(&[CALLER, REDIS_READ, error::READ]),
        Access::scoped("GET", "/admin/audit/verify", ADMIN).heavy().problems(&[CALLER, REDIS_READ, error::READ]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<AuditConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::list_entries))
        .routes(routes!(routes::verify_log))
        .with_state(service(deps)?))
}

/// The layer that records what administrators do.
///
/// # Errors
/// If the configuration or the key file is invalid.
pub fn layer(deps: &Deps) -> Result<Arc<dyn RequestLayer>, StartError> {
    Ok(service(deps)?)
}

/// The one service that the routes, the layer and other capabilities share.
///
/// # Errors
/// If the configuration or the key file is invalid.
pub fn service(deps: &Deps) -> Result<Arc<AuditService>, StartError> {
    deps.shared.get_or_build(|| {
        let (audit, queue) = AuditService::new(deps, deps.config.section()?)?;
        let audit = Arc::new(audit);
        if audit.log().is_none() {
            writer::report(&deps.component_health, "off", None);
            return Ok(audit);
        }
        writer::report(&deps.component_health, "on", None);
        let (configs, health) = (deps.configs.subscribe(), deps.component_health.clone());
        let writer = Writer { audit: Arc::clone(&audit), queue, configs, health };
        deps.tasks.plan("audit.writer", |stop| writer.run(stop));
        let (keeper, reports) = (Arc::clone(&audit), deps.tasks.clone());
        deps.tasks.plan(keeper::NAME, |stop| keeper::run(keeper, reports, stop));
        Ok(audit)
    })
}
