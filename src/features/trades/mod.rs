//! Trades and market data: the tape of each symbol, its candles, its statistics of 24 hours, and charts.
//!
//! Files, in reading order:
//! - `model.rs`, `routes/`: wire types and operations; `udf.rs`: charts of TradingView.
//! - `record.rs`: trades that callers report. The tape itself is [`tape`].
//! - `interval.rs`: the interval of a candle, and where Redis keeps it. Candles and exact sums are in [`tape`].
//! - `fold.rs`: adds the trades of a tape to its candles; `candle_store.rs`: reads candles.
//! - `service.rs`: reads; `publication.rs`: events; `feed.rs`: the background work, which also feeds the platform's series.
//! - `keys.rs`, `config.rs`, `error.rs`, `metrics.rs`.
//!
//! Keys: see `keys.rs` and `tape/keys.rs`. Without Redis: every call answers 503; nothing is served from memory.
//!
//! Decisions:
//! - Candles are folded from the tape, not from requests: fills of the order book and reported trades are alike, and a
//!   crash neither loses nor doubles a trade.
//! - A read folds first, so callers see their own trades. The background work only keeps the fold near the end.
//! - Three series are stored, of 1 minute, 15 minutes and a day. The others follow from them.
//! - Prices, quantities and their sums are exact. Only the platform's series and charts convert them to floats.
//! - The list of trades shows no parties.

mod candle_store;
mod config;
mod error;
mod feed;
mod fold;
mod interval;
mod keys;
mod metrics;
mod model;
mod publication;
mod record;
mod routes;
mod service;
mod udf;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, JSON_BODY, REDIS_READ, REDIS_WRITE};
use crate::tape;
use config::MarketConfig;
use service::TradeService;

const READ: &str = "market:read";
const WRITE: &str = "orders:match";

pub static FEATURE: Feature = Feature {
    name: "trades",
    mount,
    access: &[
        Access::scoped("POST", "/trades", WRITE).fenced().problems(&[CALLER, JSON_BODY, REDIS_WRITE, error::RECORD]),
        Access::scoped("DELETE", "/fences/trades/{symbol}", ADMIN).problems(&[CALLER, REDIS_WRITE]),
        Access::scoped("GET", "/market/trades/{symbol}", READ).problems(&[CALLER, REDIS_READ, error::DATA]),
        Access::scoped("GET", "/market/candles/{symbol}", READ).problems(&[CALLER, REDIS_READ, error::DATA]),
        Access::scoped("GET", "/market/stats/{symbol}", READ).problems(&[CALLER, REDIS_READ, error::DATA]),
        Access::scoped("GET", "/udf/config", READ).problems(&[CALLER, error::SERVICE]),
        Access::scoped("GET", "/udf/symbols", READ).problems(&[CALLER, REDIS_READ, error::CHART]),
        Access::scoped("GET", "/udf/search", READ).problems(&[CALLER, REDIS_READ, error::CHART]),
        Access::scoped("GET", "/udf/history", READ).heavy().problems(&[CALLER, REDIS_READ, error::CHART]),
        Access::scoped("GET", "/udf/time", READ).problems(&[CALLER, error::SERVICE]),
    ],
    problems: error::PROBLEMS,
    scripts: tape::SCRIPTS,
    section: Some(SectionCheck::of::<MarketConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let MarketConfig { timezone, feed_series } = deps.config.section()?;
    let trades = Arc::new(TradeService::new(deps, timezone.0, deps.config.section()?));
    let (folded, feed, reports) = (Arc::clone(&trades), feed_series.then(|| deps.series.clone()), deps.tasks.clone());
    deps.fold.provide({
        let trades = Arc::clone(&trades);
        Box::new(move |symbol| {
            let trades = Arc::clone(&trades);
            Box::pin(async move { trades.fold(&symbol).await.map_err(Into::into) })
        })
    });
    deps.tasks.plan("trades.fold", |stop| feed::run(folded, feed, reports, stop));
    // In the order in which a newcomer tries them: the first one reports the trades that the others show.
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::report_trades))
        .routes(routes!(routes::reset_tape_fence))
        .routes(routes!(routes::list_trades))
        .routes(routes!(routes::list_candles))
        .routes(routes!(routes::get_statistics))
        .routes(routes!(routes::udf::get_udf_config))
        .routes(routes!(routes::udf::get_udf_symbol))
        .routes(routes!(routes::udf::search_udf_symbols))
        .routes(routes!(routes::udf::get_udf_history))
        .routes(routes!(routes::udf::get_udf_time))
        .with_state(trades))
}
