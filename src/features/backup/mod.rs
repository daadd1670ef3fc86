//! Encrypted backups of a live Redis, restores and drills.
//!
//! Files, in reading order:
//! - `model.rs`: the manifest and wire types; `routes.rs`: the HTTP operations; `command.rs`: what the command line calls.
//! - `service.rs`: what replicas share, and retention (`retention.rs`); `schedule.rs`: when runs begin; `runs.rs`: one run at a time; `directory.rs`: where backups
//!   are; `copies.rs`, `copying.rs`: their copies in a store.
//! - `job.rs`: one backup; `collector.rs`: what goes into it; `rdb.rs` (`crc64.rs`, `lzf.rs`): the snapshot of a server.
//! - `archive.rs`, `record.rs`, `verify.rs`: the form of the file; `digest.rs`: digests of values.
//! - `restore.rs`: writes a backup to a server; `drill.rs`: proves that one restores; `scratch.rs`: where to.
//! - `tombstones.rs`: keeps erased persons erased.
//! - `config.rs`, `keys.rs`, `error.rs`, `metrics.rs`.
//!
//! Keys: see `keys.rs`. Without Redis: backups are listed, verified and downloaded; none is begun. None is deleted either if
//! there is an audit log.
//!
//! Decisions:
//! - A snapshot is what Redis sends to a new replica, so all keys are those of one moment. The service cuts it into records
//!   and keeps its own keys. A user that may read snapshots reads everything, so it is a user of its own.
//! - The service knows public keys only. A replica that is taken over cannot read older backups.
//! - A file counts once it was read back, decrypted and verified, and its manifest is beside it.
//! - What is not understood ends a backup. A backup with a gap is worse than none.
//! - A restore verifies the whole file before it writes the first key, and writes to an empty server.

mod archive;
mod collector;
pub mod command;
mod config;
mod copies;
mod copying;
mod crc64;
mod digest;
mod directory;
mod drill;
mod error;
mod job;
mod keys;
mod lzf;
mod metrics;
mod model;
mod rdb;
mod record;
mod restore;
mod retention;
mod routes;
mod runs;
mod schedule;
mod scratch;
mod scripts;
mod service;
mod tombstones;
mod verify;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::deps::Deps;
use crate::http::access::{Access, Audit, Repetition};
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, JSON_BODY, REDIS_WRITE};
use runs::Background;
use service::BackupService;

pub static FEATURE: Feature = Feature {
    name: "backup",
    mount,
    access: &[
        Access::scoped("POST", "/admin/backups", ADMIN).problems(&[CALLER, REDIS_WRITE, error::START]),
        Access::scoped("GET", "/admin/backups", ADMIN).heavy().problems(&[CALLER, error::LIST]),
        Access::scoped("GET", "/admin/backups/{id}", ADMIN).problems(&[CALLER, error::ONE]),
        Access::scoped("DELETE", "/admin/backups/{id}", ADMIN).problems(&[CALLER, error::DELETE]),
        Access::scoped("POST", "/admin/backups/{id}/verify", ADMIN)
            .audited(Audit::Counted)
            .streaming()
            .heavy()
            .repeated_by(Repetition::Ignore)
            .problems(&[CALLER, error::ONE]),
        Access::scoped("POST", "/admin/backups/{id}/drill", ADMIN).problems(&[CALLER, REDIS_WRITE, error::WITH_KEY]),
        Access::scoped("POST", "/admin/backups/{id}/restore", ADMIN).problems(&[
            CALLER,
            JSON_BODY,
            REDIS_WRITE,
            error::WITH_KEY,
        ]),
        Access::scoped("GET", "/admin/snapshot", ADMIN)
            .audited(Audit::Recorded)
            .streaming()
            .changes_state()
            .problems(&[CALLER, REDIS_WRITE, error::SNAPSHOT]),
        Access::scoped("GET", "/admin/backups/{id}/content", ADMIN).streaming().problems(&[CALLER, error::ONE]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: None,
};

/// What the operations need.
#[derive(Clone)]
struct Backups {
    service: Arc<BackupService>,
    background: Background,
}

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let service = Arc::new(BackupService::new(&deps.redis.state, &deps.config, &deps.clock, &deps.metrics)?);
    let background = Background { roles: deps.redis.clone(), tasks: deps.tasks.clone() };
    if service.is_on() {
        let (scheduled, background) = (Arc::clone(&service), background.clone());
        deps.tasks.plan(schedule::NAME, |stop| scheduled.schedule(background, stop));
    }
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::start_backup, routes::list_backups))
        .routes(routes!(routes::get_backup, routes::delete_backup))
        .routes(routes!(routes::verify_backup))
        .routes(routes!(routes::download_backup))
        .routes(routes!(routes::start_drill))
        .routes(routes!(routes::start_restore))
        .routes(routes!(routes::get_snapshot))
        .with_state(Backups { service, background }))
}
