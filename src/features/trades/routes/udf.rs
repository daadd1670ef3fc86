//! The HTTP operations of TradingView's Universal Data Feed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::super::service::TradeService;
use super::super::udf::{
    self, MAX_BARS, UdfBars, UdfConfig, UdfHistoryQuery, UdfMatch, UdfSearchQuery, UdfSymbol, UdfSymbolQuery,
};
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Query};
use crate::http::problem::Problem;

/// The most symbols of a search.
const MAX_MATCHES: usize = 1_000;

/// Get what the chart's data feed supports.
#[utoipa::path(get, path = "/udf/config", tag = "tradingview", operation_id = "get_udf_config",
    responses((status = 200, description = "The configuration", body = UdfConfig)))]
pub(in super::super) async fn get_udf_config(NoQuery: NoQuery) -> Json<UdfConfig> {
    Json(udf::config())
}

/// Get what a chart needs to know about a symbol.
#[utoipa::path(get, path = "/udf/symbols", tag = "tradingview", operation_id = "get_udf_symbol",
    params(UdfSymbolQuery), responses((status = 200, description = "The symbol", body = UdfSymbol)))]
pub(in super::super) async fn get_udf_symbol(
    State(trades): State<Arc<TradeService>>,
    Query(query): Query<UdfSymbolQuery>,
) -> Result<Json<UdfSymbol>, Problem> {
    Ok(Json(trades.udf_symbol(query.symbol).await?))
}

/// Search symbols by a part of their names.
#[utoipa::path(get, path = "/udf/search", tag = "tradingview", operation_id = "search_udf_symbols",
    params(UdfSearchQuery),
    responses((status = 200, description = "The symbols of the latest trades first", body = Vec<UdfMatch>)))]
pub(in super::super) async fn search_udf_symbols(
    State(trades): State<Arc<TradeService>>,
    Query(query): Query<UdfSearchQuery>,
) -> Result<Json<Vec<UdfMatch>>, Problem> {
    require_count("limit", query.limit, MAX_MATCHES)?;
    Ok(Json(trades.udf_search(&query.query, query.limit).await?))
}

/// Get the bars of a chart.
///
/// If there are more bars than an answer can have, it has the newest ones. Without bars, `s` is `no_data`, and `nextTime`
/// is the last bar before the requested ones, if there is one.
#[utoipa::path(get, path = "/udf/history", tag = "tradingview", operation_id = "get_udf_history",
    params(UdfHistoryQuery), responses((status = 200, description = "The bars, oldest first", body = UdfBars)))]
pub(in super::super) async fn get_udf_history(
    State(trades): State<Arc<TradeService>>,
    Query(query): Query<UdfHistoryQuery>,
) -> Result<Json<UdfBars>, Problem> {
    let resolution = query.resolution.parse().map_err(|rule: String| {
        Problem::query_parameter("resolution", format!("{rule}, got `{}`", query.resolution))
    })?;
    if let Some(count) = query.countback {
        require_count("countback", count, MAX_BARS)?;
    }
    Ok(Json(trades.udf_history(&query, resolution).await?))
}

/// Get the time of the service.
#[utoipa::path(get, path = "/udf/time", tag = "tradingview", operation_id = "get_udf_time",
    responses((status = 200, description = "Unix seconds", body = String, content_type = "text/plain")))]
pub(in super::super) async fn get_udf_time(State(trades): State<Arc<TradeService>>, NoQuery: NoQuery) -> Response {
    let text = (trades.clock.now() / 1_000).to_string();
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
