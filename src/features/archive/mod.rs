//! The window of trades, and the archive: volumes by price of every minute, in Redis and then in files.
//!
//! Files, in reading order:
//! - `model.rs`, `coverage.rs`, `file_model.rs`, `routes/`: wire types and operations; `routes/list.rs`: lists as JSON, NDJSON
//!   and CSV.
//! - `window.rs`: reads the minutes in Redis. The fold of the trades writes them, see [`tape`](crate::tape).
//! - `files/`: the files, see there. `directory.rs`: the threads that wait for the disk.
//! - `archiver.rs`: brings minutes into files and removes them from Redis. `rounds.rs`: the background work, and the window
//!   without files. `upkeep.rs`: packs, retention and verification.
//! - `copying.rs`: copies of packs in a store.
//! - `import.rs`: the command `trades import`. `originals.rs`: its source as a source of reads.
//! - `merge.rs`, `minutes.rs`: pages of minutes from Redis and files; `profile.rs`: volumes by price over a range;
//!   `single_trades.rs`: trades of the tape; `library.rs`: reads about the files.
//! - `show.rs`: the command `trades show`.
//! - `service.rs`, `report.rs`, `metrics.rs`, `scripts.rs`, `error.rs`.
//!
//! Keys: see `tape/window.rs`. Without Redis: minutes in files are read, the others answer 503; nothing is written to
//! files or removed.
//!
//! Decisions:
//! - The fold moves the window and the candles in one script, so both have the same trades.
//! - A minute is that of the trade's own time, in UTC. Numbers are exact decimals.
//! - A minute with more than 1,000 prices gets wider levels, of 1 or 2 times a power of ten, so that the levels of two minutes
//!   always fit together. Its volumes stay exact.
//! - A closed minute is in Redis, or in a durable file that was read back, or in both. Removal from Redis is the only step that
//!   cannot be repeated; it compares the minute, the mark and the bytes of the file.
//! - Files are immutable versions. The manifest of a day says which version counts.
//! - After a minute has left Redis, late trades are increments to one fixed version, and become the next version with it.
//! - Minutes contain no parties. Single trades show them only to callers with the scope `trades:parties`.

mod archiver;
mod copying;
mod coverage;
mod directory;
mod error;
mod file_model;
mod files;
pub mod import;
mod key_file;
mod library;
mod merge;
mod metrics;
mod minutes;
mod model;
mod originals;
mod profile;
mod report;
mod rounds;
mod routes;
mod scripts;
mod service;
pub mod show;
mod single_trades;
#[cfg(test)]
mod trials;
mod upkeep;
mod window;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::config::archive::ArchiveConfig;
use crate::deps::Deps;
use crate::http::access::{Access, Repetition};
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, JSON_BODY, REDIS_READ, REDIS_WRITE};
use service::ArchiveService;

const READ: &str = "trades:read";
const PARTIES: &str = "trades:parties";
const ADMIN: &str = "admin";

pub static FEATURE: Feature = Feature {
    name: "archive",
    mount,
    access: &[
        Access::scoped("GET", "/trades", READ).problems(&[CALLER, REDIS_READ, error::READ]),
        Access::scoped("GET", "/trades/windows", READ).heavy().problems(&[CALLER, REDIS_READ, error::READ]),
        Access::scoped("GET", "/trades/windows/{symbol}/{minute}", READ).problems(&[CALLER, REDIS_READ, error::MINUTE]),
        Access::scoped("GET", "/trades/profile", READ).heavy().problems(&[CALLER, REDIS_READ, error::READ]),
        Access::scoped("GET", "/trades/footprint", READ).heavy().problems(&[CALLER, REDIS_READ, error::READ]),
        Access::scoped("GET", "/trades/archive/status", READ).problems(&[CALLER, REDIS_READ, error::FILES]),
        Access::scoped("GET", "/trades/archive/files", READ).problems(&[CALLER, error::FILES]),
        Access::scoped("GET", "/trades/archive/gaps", READ).heavy().problems(&[CALLER, REDIS_READ, error::GAPS]),
        Access::scoped("POST", "/trades/archive/verify", ADMIN)
            .waiting()
            .heavy()
            .repeated_by(Repetition::Ignore)
            .problems(&[CALLER, JSON_BODY, error::VERIFY]),
        Access::scoped("POST", "/trades/archive/run", ADMIN).waiting().heavy().problems(&[
            CALLER,
            JSON_BODY,
            REDIS_WRITE,
            error::RUN,
        ]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<ArchiveConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let archive = Arc::new(ArchiveService::new(deps, deps.config.section()?)?);
    rounds::plan(&archive, &deps.tasks);
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::list_single_trades))
        .routes(routes!(routes::list_minutes))
        .routes(routes!(routes::get_minute))
        .routes(routes!(routes::get_profile))
        .routes(routes!(routes::get_footprint))
        .routes(routes!(routes::files::get_archive_status))
        .routes(routes!(routes::files::list_archive_files))
        .routes(routes!(routes::files::list_archive_gaps))
        .routes(routes!(routes::files::verify_archive))
        .routes(routes!(routes::files::run_archive))
        .with_state(archive))
}
