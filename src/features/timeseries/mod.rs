//! Time series: numbers by time, kept for as long as their family says.
//!
//! Keys: see `keys.rs`. A series is an open head chunk that grows by appending and sealed chunks behind it; see
//! `backend/chunk.rs` for the bytes. Redis down: every call answers 503 or 504, closed; nothing is kept in memory. After a
//! timeout the outcome of a write is unknown, and sending it again is safe under every duplicate policy but `sum`.
//!
//! Decisions:
//! - The timestamp is a sample's identity, its value never is: equal values at different times are all kept, and the
//!   same sample sent twice is stored once.
//! - Retention counts back from a series' newest sample, not from the clock, so that loading an old year works; the
//!   series as a whole expires when nobody writes to it for its retention.
//! - A rollup is a cache that knows what it does not know: see `rollup/`. It never changes an answer, only its time, but for
//!   buckets that outlive their samples.
//! - What is past retention is hidden by reads at once; its memory is freed by later writes, a bounded part at a time.
//! - A fencing token is judged by every batch: a load whose lock is lost on the way keeps what was stored before.
//! - Everything but keeping the samples lives above `backend`, so that another backend answers the same JSON.

mod aggregate;
mod backend;
mod config;
mod cursor;
mod error;
mod export;
mod families;
mod index;
mod ingest;
mod keys;
mod many;
mod metrics;
pub mod migration;
mod model;
mod platform;
mod prom;
mod query;
mod range;
mod render;
mod rollup;
mod routes;
mod scripts;
mod series;
mod service;
mod tagged;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::redis::ScriptCall;
use config::TimeseriesConfig;
use routes::BulkState;
use service::TimeseriesService;

const READ: &str = "timeseries:read";
const WRITE: &str = "timeseries:write";

pub static FEATURE: Feature = Feature {
    name: "timeseries",
    mount,
    access: &[
        Access::scoped("GET", "/timeseries", READ),
        Access::scoped("POST", "/timeseries/samples", WRITE).streaming().fenced_by_item(),
        Access::scoped("POST", "/api/v2/write", WRITE).streaming().fenced_by_item(),
        Access::scoped("POST", "/write", WRITE).streaming().fenced_by_item(),
        Access::public("GET", "/ping"),
        Access::scoped("GET", "/prom/api/v1/query", READ),
        Access::scoped("POST", "/prom/api/v1/query", READ),
        Access::scoped("GET", "/prom/api/v1/query_range", READ),
        Access::scoped("POST", "/prom/api/v1/query_range", READ),
        Access::scoped("GET", "/prom/api/v1/series", READ),
        Access::scoped("POST", "/prom/api/v1/series", READ),
        Access::scoped("GET", "/prom/api/v1/labels", READ),
        Access::scoped("POST", "/prom/api/v1/labels", READ),
        Access::scoped("GET", "/prom/api/v1/label/{name}/values", READ),
        Access::scoped("GET", "/prom/api/v1/status/buildinfo", READ),
        Access::scoped("POST", "/timeseries/query", READ),
        Access::scoped("PUT", "/timeseries/{key}", WRITE).fenced(),
        Access::scoped("PATCH", "/timeseries/{key}", WRITE).fenced(),
        Access::scoped("GET", "/timeseries/{key}", READ),
        Access::scoped("DELETE", "/timeseries/{key}", WRITE).fenced(),
        Access::scoped("POST", "/timeseries/{key}/samples", WRITE).fenced(),
        Access::scoped("DELETE", "/timeseries/{key}/samples", WRITE).fenced(),
        Access::scoped("GET", "/timeseries/{key}/latest", READ),
        Access::scoped("GET", "/timeseries/{key}/range", READ),
        Access::scoped("GET", "/timeseries/{key}/export", READ),
        Access::scoped("GET", "/timeseries/{key}/stats", READ),
        Access::scoped("POST", "/timeseries/{key}/rollups", WRITE).fenced(),
        Access::scoped("GET", "/timeseries/{key}/rollups", READ),
        Access::scoped("DELETE", "/timeseries/{key}/rollups/{rollup}", WRITE).fenced(),
        Access::scoped("POST", "/energy/meters/{id}/readings", WRITE).fenced_by_item(),
        Access::scoped("GET", "/energy/meters/{id}/readings", READ),
        Access::scoped("POST", "/market/prices/{symbol}", WRITE).fenced_by_item(),
        Access::scoped("GET", "/market/prices/{symbol}", READ),
        Access::scoped("POST", "/market/volume", WRITE).fenced(),
        Access::scoped("GET", "/market/volume", READ),
        Access::scoped("POST", "/settlements/{type}", WRITE).fenced(),
        Access::scoped("GET", "/settlements/{type}", READ),
    ],
    problems: error::PROBLEMS,
    scripts: &[
        scripts::Append::SCRIPT,
        scripts::Read::SCRIPT,
        scripts::Latest::SCRIPT,
        scripts::Create::SCRIPT,
        scripts::Alter::SCRIPT,
        scripts::Describe::SCRIPT,
        scripts::Delete::SCRIPT,
        scripts::DeleteRange::SCRIPT,
        scripts::Plain::SCRIPT,
        scripts::Swap::SCRIPT,
        scripts::Define::SCRIPT,
        scripts::ReadState::SCRIPT,
        scripts::Advance::SCRIPT,
        scripts::Commit::SCRIPT,
        scripts::OfModule::<scripts::Append>::SCRIPT,
        scripts::OfModule::<scripts::Read>::SCRIPT,
        scripts::OfModule::<scripts::Latest>::SCRIPT,
        scripts::OfModule::<scripts::Create>::SCRIPT,
        scripts::OfModule::<scripts::Alter>::SCRIPT,
        scripts::OfModule::<scripts::Describe>::SCRIPT,
        scripts::OfModule::<scripts::Delete>::SCRIPT,
        scripts::OfModule::<scripts::DeleteRange>::SCRIPT,
        scripts::OfModule::<scripts::ReadState>::SCRIPT,
        scripts::OfModule::<scripts::Advance>::SCRIPT,
        scripts::Enlist::SCRIPT,
        scripts::Delist::SCRIPT,
        scripts::MarkListed::SCRIPT,
    ],
    section: Some(SectionCheck::of::<TimeseriesConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let config: TimeseriesConfig = deps.config.section()?;
    let streams = config.streams;
    let prom = config.prom.clone();
    let timeseries = TimeseriesService::new(deps, config);
    let prom = timeseries.prom(prom);
    let bulk = BulkState::new(timeseries.clone(), &deps.config.section()?, streams);
    let series = OpenApiRouter::new()
        .routes(routes!(routes::list_series))
        .routes(routes!(routes::query_series))
        .routes(routes!(routes::put_series, routes::patch_series, routes::get_series, routes::delete_series))
        .routes(routes!(routes::post_samples, routes::delete_samples))
        .routes(routes!(routes::get_latest))
        .routes(routes!(routes::get_range))
        .routes(routes!(routes::export_series))
        .routes(routes!(routes::get_stats))
        .routes(routes!(routes::post_rollup, routes::list_rollups))
        .routes(routes!(routes::delete_rollup))
        .routes(routes!(routes::post_readings, routes::get_readings))
        .routes(routes!(routes::post_prices, routes::get_prices))
        .routes(routes!(routes::post_market_volume, routes::get_market_volume))
        .routes(routes!(routes::post_settlements, routes::get_settlements))
        .with_state(timeseries);
    let loads = OpenApiRouter::new()
        .routes(routes!(routes::post_many_samples))
        .routes(routes!(routes::write_v2))
        .routes(routes!(routes::write_v1))
        .routes(routes!(routes::get_ping))
        .with_state(bulk);
    let prom = OpenApiRouter::new()
        .routes(routes!(routes::get_prom_query, routes::post_prom_query))
        .routes(routes!(routes::get_prom_range, routes::post_prom_range))
        .routes(routes!(routes::get_prom_series, routes::post_prom_series))
        .routes(routes!(routes::get_prom_labels, routes::post_prom_labels))
        .routes(routes!(routes::get_prom_values))
        .routes(routes!(routes::get_prom_build))
        .with_state(prom);
    Ok(series.merge(loads).merge(prom))
}
