//! Time series: numeric samples by time, kept for the retention of their series.
//!
//! Files, in reading order:
//! - `series.rs`, `window.rs`, `model.rs`: keys, samples and definitions of series; ranges of time; wire types.
//! - `routes/`: the HTTP operations. `query/`: their parameters.
//! - `service.rs` and `append.rs`: the operations on series. `families.rs`: series that their first sample creates.
//! - `ingest/`: loads of many samples, as NDJSON, CSV or line protocol.
//! - `range/` with `cursor.rs`: windows of one series. `multi/`: windows of many series. `export.rs`: windows of any
//!   length as a stream. `render/`: their JSON, NDJSON and CSV.
//! - `aggregate/`: buckets of samples, as pure functions.
//! - `rollup/` with `rollup_rule.rs` and `rollup_state.rs`: stored buckets of a series.
//! - `index/`: finds series by name and by label.
//! - `backend/`: storage of samples in Redis. `chunk/`: the stored bytes. `scripts/` and `keys.rs`: the script calls
//!   and the Redis keys. `migration.rs`: moves the series to the other storage backend.
//! - `influx/`: routes and line protocol of InfluxDB clients. `prom/`: routes and queries of Prometheus clients.
//!   `platform/`: the platform's own series.
//! - `config.rs`, `error.rs`, `metrics.rs`.
//!
//! Keys: see `keys.rs`. A series is an open head chunk, to which samples are appended, and sealed chunks of older
//! samples.
//!
//! Without Redis: every call fails with 503 or 504, and no sample is kept in memory. After a timeout the outcome of a
//! write is unknown; sending the write again is safe under every duplicate policy except `sum`.
//!
//! Decisions:
//! - A sample is identified by its timestamp, never by its value. Equal values at different times are all kept, and a
//!   sample that is sent twice is stored once.
//! - Retention counts back from the newest sample of a series, so that loading data of a past year works, but never from a
//!   time ahead of the clock, so that one sample with a wrong time does not expire the others. The series itself expires if
//!   it receives no sample for its retention.
//! - A sample that is further ahead of the clock than `max_ahead`, or in a family before 2000, is refused. Refused samples
//!   change nothing.
//! - A rollup is a cache that records which of its buckets are up to date, see `rollup/`. It changes how fast a query
//!   is answered, not the answer, except for buckets that are kept longer than their samples.
//! - Reads hide samples past their retention immediately. Later writes free the memory, a bounded part at a time.
//! - Every batch checks the fencing token. A load that loses its lock keeps the samples that it stored before.
//! - Only `backend/` and below depend on how samples are stored, so both storage backends give the same answers.

mod aggregate;
mod append;
mod backend;
mod chunk;
mod computed;
mod config;
mod cursor;
mod error;
mod export;
mod families;
mod feed;
mod index;
mod influx;
mod ingest;
mod keys;
mod metrics;
pub mod migration;
mod model;
mod multi;
mod platform;
#[cfg(feature = "promql")]
mod prom;
mod query;
mod range;
mod render;
mod rollup;
mod rollup_rule;
mod rollup_state;
mod routes;
mod scripts;
mod series;
mod service;
mod window;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::{Access, Repetition};
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{
    BODY_TOO_LARGE, CALLER, INVALID_PATH, INVALID_QUERY, JSON_BODY, REDIS_READ, REDIS_WRITE, REQUEST_TIMEOUT,
    WRONG_TYPE,
};
use config::TimeseriesConfig;
use error::{
    LINES, MARKET_VOLUME, NAMED, RANGE_TOO_WIDE, ROLLUP_EXISTS, ROLLUP_NOT_FOUND, SAMPLES_REFUSED, SERIES,
    SERIES_EMPTY, SERIES_EXISTS, TOO_MANY_REFUSED, TOO_MANY_ROLLUPS, WINDOW,
};
use routes::BulkState;
use service::TimeseriesService;

const READ: &str = "timeseries:read";
const WRITE: &str = "timeseries:write";

pub static FEATURE: Feature = Feature {
    name: "timeseries",
    mount,
    access: &[
        Access::scoped("GET", "/timeseries", READ).heavy().problems(&[CALLER, REDIS_READ, &[&INVALID_QUERY]]),
        Access::scoped("POST", "/timeseries/samples", WRITE).streaming().fenced_by_item().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            &[&INVALID_QUERY, &SAMPLES_REFUSED, &TOO_MANY_REFUSED],
        ]),
        Access::scoped("POST", "/api/v2/write", WRITE).streaming().fenced_by_item().problems(&[
            CALLER,
            REDIS_WRITE,
            LINES,
        ]),
        Access::scoped("POST", "/write", WRITE).streaming().fenced_by_item().problems(&[CALLER, REDIS_WRITE, LINES]),
        Access::public("GET", "/ping").problems(&[&[&INVALID_QUERY]]),
        Access::public("GET", "/ready"),
        Access::scoped("GET", "/query", WRITE).problems(&[CALLER, &[&INVALID_QUERY]]),
        Access::scoped("POST", "/query", WRITE)
            .repeated_by(Repetition::Ignore)
            .problems(&[CALLER, &[&INVALID_QUERY, &BODY_TOO_LARGE, &REQUEST_TIMEOUT]]),
        #[cfg(feature = "promql")]
        Access::scoped("GET", "/prom/api/v1/query", READ).heavy(),
        #[cfg(feature = "promql")]
        Access::scoped("POST", "/prom/api/v1/query", READ).heavy().repeated_by(Repetition::Ignore),
        #[cfg(feature = "promql")]
        Access::scoped("GET", "/prom/api/v1/query_range", READ).heavy(),
        #[cfg(feature = "promql")]
        Access::scoped("POST", "/prom/api/v1/query_range", READ).heavy().repeated_by(Repetition::Ignore),
        #[cfg(feature = "promql")]
        Access::scoped("GET", "/prom/api/v1/series", READ).heavy(),
        #[cfg(feature = "promql")]
        Access::scoped("POST", "/prom/api/v1/series", READ).heavy().repeated_by(Repetition::Ignore),
        #[cfg(feature = "promql")]
        Access::scoped("GET", "/prom/api/v1/labels", READ).heavy(),
        #[cfg(feature = "promql")]
        Access::scoped("POST", "/prom/api/v1/labels", READ).heavy().repeated_by(Repetition::Ignore),
        #[cfg(feature = "promql")]
        Access::scoped("GET", "/prom/api/v1/label/{name}/values", READ).heavy(),
        #[cfg(feature = "promql")]
        Access::scoped("GET", "/prom/api/v1/metadata", READ),
        #[cfg(feature = "promql")]
        Access::scoped("GET", "/prom/api/v1/status/buildinfo", READ),
        #[cfg(feature = "promql")]
        Access::public("GET", "/prom/-/healthy").problems(&[]),
        #[cfg(feature = "promql")]
        Access::public("GET", "/prom/-/ready").problems(&[&[&crate::http::problem::REDIS_UNAVAILABLE]]),
        Access::scoped("POST", "/timeseries/query", READ).heavy().repeated_by(Repetition::Ignore).problems(&[
            CALLER,
            REDIS_READ,
            JSON_BODY,
            &[&WRONG_TYPE, &INVALID_QUERY, &RANGE_TOO_WIDE],
        ]),
        Access::scoped("PUT", "/timeseries/{key}", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            &[&SERIES_EXISTS, &WRONG_TYPE, &INVALID_PATH, &INVALID_QUERY],
        ]),
        Access::scoped("PATCH", "/timeseries/{key}", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            SERIES,
        ]),
        Access::scoped("DELETE", "/fences/timeseries/{key}", ADMIN).problems(&[CALLER, REDIS_WRITE, SERIES]),
        Access::scoped("GET", "/timeseries/{key}", READ).problems(&[CALLER, REDIS_READ, SERIES]),
        Access::scoped("DELETE", "/timeseries/{key}", WRITE).fenced().problems(&[CALLER, REDIS_WRITE, SERIES]),
        Access::scoped("POST", "/timeseries/{key}/samples", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            SERIES,
            &[&SAMPLES_REFUSED],
        ]),
        Access::scoped("DELETE", "/timeseries/{key}/samples", WRITE).fenced().problems(&[CALLER, REDIS_WRITE, SERIES]),
        Access::scoped("GET", "/timeseries/{key}/latest", READ).problems(&[
            CALLER,
            REDIS_READ,
            SERIES,
            &[&SERIES_EMPTY],
        ]),
        Access::scoped("GET", "/timeseries/{key}/range", READ).heavy().problems(&[CALLER, REDIS_READ, SERIES, WINDOW]),
        Access::scoped("GET", "/timeseries/{key}/export", READ).heavy().problems(&[CALLER, REDIS_READ, SERIES, WINDOW]),
        Access::scoped("GET", "/timeseries/{key}/stats", READ).heavy().problems(&[CALLER, REDIS_READ, SERIES, WINDOW]),
        Access::scoped("POST", "/timeseries/{key}/rollups", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            SERIES,
            &[&ROLLUP_EXISTS, &TOO_MANY_ROLLUPS],
        ]),
        Access::scoped("GET", "/timeseries/{key}/rollups", READ).problems(&[CALLER, REDIS_READ, SERIES]),
        Access::scoped("DELETE", "/timeseries/{key}/rollups/{rollup}", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            SERIES,
            &[&ROLLUP_NOT_FOUND],
        ]),
        Access::scoped("POST", "/energy/meters/{id}/readings", WRITE).fenced_by_item().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            NAMED,
        ]),
        Access::scoped("GET", "/energy/meters/{id}/readings", READ)
            .heavy()
            .problems(&[CALLER, REDIS_READ, SERIES, WINDOW]),
        Access::scoped("POST", "/market/prices/{symbol}", WRITE).fenced_by_item().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            NAMED,
        ]),
        Access::scoped("GET", "/market/prices/{symbol}", READ).heavy().problems(&[CALLER, REDIS_READ, SERIES, WINDOW]),
        Access::scoped("POST", "/market/volume", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            MARKET_VOLUME,
            &[&SAMPLES_REFUSED],
        ]),
        Access::scoped("GET", "/market/volume", READ).heavy().problems(&[CALLER, REDIS_READ, MARKET_VOLUME, WINDOW]),
        Access::scoped("POST", "/settlements/{type}", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            SERIES,
            &[&SAMPLES_REFUSED],
        ]),
        Access::scoped("GET", "/settlements/{type}", READ).heavy().problems(&[CALLER, REDIS_READ, SERIES, WINDOW]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<TimeseriesConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let config: TimeseriesConfig = deps.config.section()?;
    let timeseries = TimeseriesService::new(deps, &config);
    computed::provide(&deps.computed, &timeseries);
    let fed = timeseries.clone();
    deps.series.provide(Box::new(move |samples| {
        let fed = fed.clone();
        Box::pin(async move { fed.feed(samples).await })
    }));
    #[cfg(feature = "promql")]
    let prom = prom::routes::router(timeseries.prom(config.prom, deps.offload.clone()));
    let bulk = BulkState::new(timeseries.clone(), &deps.config.section()?, config.streams);
    let series = OpenApiRouter::new()
        .routes(routes!(routes::put_series, routes::patch_series, routes::get_series, routes::delete_series))
        .routes(routes!(routes::post_samples, routes::delete_samples))
        .routes(routes!(routes::reset_series_fence))
        .routes(routes!(routes::get_latest))
        .routes(routes!(routes::get_range))
        .routes(routes!(routes::export_series))
        .routes(routes!(routes::get_stats))
        .routes(routes!(routes::post_rollup, routes::list_rollups))
        .routes(routes!(routes::delete_rollup))
        .routes(routes!(routes::list_series))
        .routes(routes!(routes::query_series))
        .routes(routes!(routes::post_readings, routes::get_readings))
        .routes(routes!(routes::post_prices, routes::get_prices))
        .routes(routes!(routes::post_market_volume, routes::get_market_volume))
        .routes(routes!(routes::post_settlements, routes::get_settlements))
        .with_state(timeseries);
    let loads = OpenApiRouter::new()
        .routes(routes!(routes::post_many_samples))
        .routes(routes!(influx::routes::write_v2))
        .routes(routes!(influx::routes::write_v1))
        .routes(routes!(influx::routes::get_ping))
        .routes(routes!(influx::routes::get_ready))
        .routes(routes!(influx::routes::get_query, influx::routes::post_query))
        .with_state(bulk);
    let routes = loads.routes(series);
    #[cfg(feature = "promql")]
    let routes = routes.routes(prom);
    Ok(routes)
}
