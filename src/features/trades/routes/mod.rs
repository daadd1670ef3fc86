//! The HTTP operations of trades, candles and statistics.

pub(super) mod udf;

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::model::{
    CandleView, CandlesQuery, MAX_PAGE, MAX_TRADES, Statistics, SymbolPath, TradeLines, TradeReceipt, TradeReport,
    TradeReportQuery, TradeView, TradesQuery,
};
use super::record::Report;
use super::service::TradeService;
use crate::clock::MAX_TIMESTAMP;
use crate::http::auth::Principal;
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Path, Query, RawBody, media_type, parse_json, require_json};
use crate::http::fencing::GrantToken;
use crate::http::json_lines::read_all;
use crate::http::negotiation::NDJSON;
use crate::http::problem::Problem;
use crate::http::reply::{Created, NoContent, Page};
use crate::tape::{Symbol, is_entry_id};

/// Report trades of a symbol.
///
/// JSON: all trades of the request are stored, or none. NDJSON: one trade per line, up to the limit of a body. An invalid line
/// refuses all of them; if a later part of the request fails, the problem's detail says how many trades were stored.
///
/// A repetition stores nothing and gets the first answer, for at least an hour, or 100,000 trades of the symbol: a request
/// whose outcome is unknown can be repeated.
#[utoipa::path(post, path = "/trades", tag = "market", operation_id = "report_trades", params(TradeReportQuery),
    request_body(content((TradeReport = "application/json"), (TradeLines = "application/x-ndjson"))),
    responses((status = 200, description = "The tape had all these trades", body = TradeReceipt),
              (status = 201, description = "The trades are on the tape", body = TradeReceipt)))]
pub(super) async fn report_trades(
    State(trades): State<Arc<TradeService>>,
    Query(TradeReportQuery { symbol }): Query<TradeReportQuery>,
    GrantToken(token): GrantToken,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    let report = if media_type(&headers).as_deref() == Some(NDJSON) {
        let Some(symbol) = symbol else {
            return Err(Problem::query_parameter("symbol", format!("is missing, which a body of {NDJSON} needs")));
        };
        lines_report(symbol, &body)?
    } else {
        require_json(&headers)?;
        if symbol.is_some() {
            return Err(Problem::query_parameter("symbol", format!("must only be sent with {NDJSON}")));
        }
        json_report(parse_json(&body)?)?
    };
    let receipt = trades.record(report, token).await?;
    Ok(match receipt.stored {
        0 => (StatusCode::OK, Json(receipt)).into_response(),
        _ => Created(receipt).into_response(),
    })
}

fn json_report(TradeReport { symbol, trades }: TradeReport) -> Result<Report, Problem> {
    let count = trades.len();
    if !(1..=MAX_TRADES).contains(&count) {
        return Err(Problem::body_field("/trades", format!("must have 1 to {MAX_TRADES} items, got {count}")));
    }
    let trades = trades.into_iter().enumerate().map(|(at, trade)| (format!("/trades/{at}"), trade));
    Ok(Report { symbol, trades: trades.collect() })
}

fn lines_report(symbol: Symbol, body: &[u8]) -> Result<Report, Problem> {
    let trades: Vec<_> = read_all(body)?.into_iter().map(|(number, trade)| (format!("/{number}"), trade)).collect();
    if trades.is_empty() {
        return Err(Problem::body_field("", "must have at least one line"));
    }
    Ok(Report { symbol, trades })
}

/// List the trades of a symbol, the last to arrive first.
///
/// The service keeps about 100,000 trades of each symbol.
#[utoipa::path(get, path = "/market/trades/{symbol}", tag = "market", operation_id = "list_trades",
    params(SymbolPath, TradesQuery),
    responses((status = 200, description = "A page of trades; empty for a symbol without trades", body = Page<TradeView>)))]
pub(super) async fn list_trades(
    State(trades): State<Arc<TradeService>>,
    Path(SymbolPath { symbol }): Path<SymbolPath>,
    Query(TradesQuery { limit, cursor }): Query<TradesQuery>,
) -> Result<Json<Page<TradeView>>, Problem> {
    require_count("limit", limit, MAX_PAGE)?;
    if cursor.as_deref().is_some_and(|cursor| !is_entry_id(cursor)) {
        return Err(Problem::query_parameter("cursor", "must be the next_cursor of a page"));
    }
    Ok(Json(trades.trades(&symbol, cursor.as_deref(), limit).await?))
}

/// List the candles of a symbol, newest first.
///
/// An interval without trades has no candle. Candles of 1, 5 and 30 minutes are kept for 8 days, those of 15 minutes, 1 and
/// 4 hours for 400 days, and days for 11 years.
#[utoipa::path(get, path = "/market/candles/{symbol}", tag = "market", operation_id = "list_candles",
    params(SymbolPath, CandlesQuery),
    responses((status = 200, description = "A page of candles", body = Page<CandleView>)))]
pub(super) async fn list_candles(
    State(trades): State<Arc<TradeService>>,
    Path(SymbolPath { symbol }): Path<SymbolPath>,
    Query(CandlesQuery { resolution, from, to, limit, cursor }): Query<CandlesQuery>,
) -> Result<Json<Page<CandleView>>, Problem> {
    require_count("limit", limit, MAX_PAGE)?;
    let now = trades.clock.now();
    let [from, to] = [from.map_or(0, |from| from.resolve(now)), to.map_or(MAX_TIMESTAMP, |to| to.resolve(now))];
    if from > to {
        return Err(Problem::query_parameter("from", format!("must not be after to, got {from} and {to}")));
    }
    let before = cursor.map_or(to, |cursor| to.min(i64::try_from(cursor).unwrap_or(i64::MAX)));
    Ok(Json(trades.candle_page(&symbol, resolution, [from, before], limit).await?))
}

/// Get the statistics of a symbol over the last 24 hours.
///
/// They are at most a second old.
#[utoipa::path(get, path = "/market/stats/{symbol}", tag = "market", operation_id = "get_market_statistics",
    params(SymbolPath),
    responses((status = 200, description = "The statistics", body = Statistics)))]
pub(super) async fn get_statistics(
    State(trades): State<Arc<TradeService>>,
    Path(SymbolPath { symbol }): Path<SymbolPath>,
    NoQuery: NoQuery,
) -> Result<Json<Statistics>, Problem> {
    Ok(Json(trades.statistics(&symbol).await?))
}

/// Forget the fencing tokens that the trades of a symbol have seen.
///
/// The next report with a `Fencing-Token` is accepted, even if a former holder of the lock sends it: make sure that there is
/// none. The audit log records the call.
#[utoipa::path(delete, path = "/fences/trades/{symbol}", tag = "market", operation_id = "reset_trades_fence",
    params(SymbolPath), responses((status = 204, description = "The trades of the symbol remember no token")))]
pub(super) async fn reset_tape_fence(
    State(trades): State<Arc<TradeService>>,
    Path(path): Path<SymbolPath>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    trades.reset_fence(&path.symbol, &caller.id).await?;
    Ok(NoContent)
}
