//! The window of trades: volumes by price of every minute.
//!
//! Files, in reading order:
//! - `model.rs`, `routes/`: wire types and operations; `routes/list.rs`: lists as JSON, NDJSON and CSV.
//! - `window.rs`: reads the minutes in Redis. The fold of the trades writes them, see [`tape`](crate::tape).
//! - `minutes.rs`: pages of minutes; `profile.rs`: volumes by price over a range; `single_trades.rs`: trades of the tape.
//! - `trim.rs`: the background work.
//! - `service.rs`, `scripts.rs`, `error.rs`.
//!
//! Keys: see `tape/window.rs`. Without Redis: every call answers 503.
//!
//! Decisions:
//! - The fold moves the window and the candles in one script, so both have the same trades.
//! - A minute is that of the trade's own time, in UTC. Numbers are exact decimals.
//! - A minute with more than 1,000 prices gets wider levels, of 1 or 2 times a power of ten, so that the levels of two minutes
//!   always fit together. Its volumes stay exact.
//! - Minutes contain no parties. Single trades show them only to callers with the scope `trades:parties`.

mod error;
mod minutes;
mod model;
mod profile;
mod routes;
mod scripts;
mod service;
mod single_trades;
mod trim;
mod window;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::config::archive::ArchiveConfig;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, REDIS_READ};
use service::ArchiveService;

const READ: &str = "trades:read";
const PARTIES: &str = "trades:parties";

pub static FEATURE: Feature = Feature {
    name: "archive",
    mount,
    access: &[
        Access::scoped("GET", "/trades", READ).problems(&[CALLER, REDIS_READ, error::READ]),
        Access::scoped("GET", "/trades/windows", READ).heavy().problems(&[CALLER, REDIS_READ, error::READ]),
        Access::scoped("GET", "/trades/windows/{symbol}/{minute}", READ).problems(&[CALLER, REDIS_READ, error::MINUTE]),
        Access::scoped("GET", "/trades/profile", READ).heavy().problems(&[CALLER, REDIS_READ, error::READ]),
        Access::scoped("GET", "/trades/footprint", READ).heavy().problems(&[CALLER, REDIS_READ, error::READ]),
    ],
    problems: &[],
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<ArchiveConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let archive = Arc::new(ArchiveService::new(deps, deps.config.section()?));
    trim::plan(&archive, &deps.tasks);
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::list_single_trades))
        .routes(routes!(routes::list_minutes))
        .routes(routes!(routes::get_minute))
        .routes(routes!(routes::get_profile))
        .routes(routes!(routes::get_footprint))
        .with_state(archive))
}
