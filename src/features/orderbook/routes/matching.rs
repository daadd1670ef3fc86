//! What a matching engine reports, and the changes that clients follow.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;

use super::super::MATCH;
use super::super::actor::Actor;
use super::super::model::{
    BookDeltas, BookPath, BookReplaced, BookSnapshot, DeltaContent, DeltasQuery, FillsReply, FillsRequest, MAX_FILLS,
    MAX_LEVELS, MAX_WAIT_MS, OrderLines, SnapshotQuery,
};
use super::super::service::OrderBookService;
use crate::http::auth::Principal;
use crate::http::body::BodyStream;
use crate::http::extract::{Json, NoQuery, Path, Query, media_type, parse_json, require_json};
use crate::http::fencing::GrantToken;
use crate::http::json_lines::JsonLines;
use crate::http::negotiation::NDJSON;
use crate::http::problem::Problem;

/// Report fills.
///
/// All fills of a request are applied, or none. A trade that was reported before is not applied again. Unless
/// `orderbook.require_fence` is off, send the token of the lock `order_matching:{symbol}` as `Fencing-Token`.
#[utoipa::path(post, path = "/orderbooks/{symbol}/fills", tag = "orderbook", operation_id = "report_fills",
    params(BookPath), request_body = FillsRequest,
    responses((status = 200, description = "The fills are in the book", body = FillsReply)))]
pub(in super::super) async fn report_fills(
    State(books): State<Arc<OrderBookService>>,
    Path(path): Path<BookPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(request): Json<FillsRequest>,
) -> Result<Json<FillsReply>, Problem> {
    let count = request.fills.len();
    if !(1..=MAX_FILLS).contains(&count) {
        return Err(Problem::body_field("/fills", format!("must have 1 to {MAX_FILLS} items, got {count}")));
    }
    Ok(Json(books.fill(&path.symbol, &request.fills, token).await?))
}

/// Replace all levels or all orders of an order book.
///
/// A book of the kind `levels` takes JSON. A book of the kind `orders` takes NDJSON of any length, one order per line; they
/// get new sequences, and orders that the snapshot lacks are gone. Readers see the old book until the snapshot is complete,
/// and an invalid line leaves it unchanged.
#[utoipa::path(put, path = "/orderbooks/{symbol}", tag = "orderbook", operation_id = "replace_book",
    params(BookPath, SnapshotQuery),
    request_body(content((BookSnapshot = "application/json"), (OrderLines = "application/x-ndjson"))),
    responses((status = 200, description = "The book has these levels or orders", body = BookReplaced)))]
pub(in super::super) async fn replace_book(
    State(books): State<Arc<OrderBookService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<BookPath>,
    Query(SnapshotQuery { source_sequence }): Query<SnapshotQuery>,
    GrantToken(token): GrantToken,
    headers: HeaderMap,
    body: BodyStream,
) -> Result<Json<BookReplaced>, Problem> {
    if media_type(&headers).as_deref() == Some(NDJSON) {
        let (actor, lines) = (Actor::of(&caller)?, JsonLines::new(body, books.body_idle));
        return Ok(Json(books.replace_orders(&path.symbol, &actor, lines, source_sequence, token).await?));
    }
    require_json(&headers)?;
    if source_sequence.is_some() {
        return Err(Problem::query_parameter("source_sequence", format!("must only be sent with {NDJSON}")));
    }
    let snapshot: BookSnapshot = parse_json(&body.collect(books.body_limit, books.body_idle).await?)?;
    let levels = snapshot.bids.len() + snapshot.asks.len();
    if levels > MAX_LEVELS {
        return Err(Problem::body_field(
            "/bids",
            format!("must have at most {MAX_LEVELS} levels with asks, got {levels}"),
        ));
    }
    Ok(Json(books.replace_levels(&path.symbol, &snapshot, token).await?))
}

/// Read the changes of an order book after a sequence, or wait for the next one.
///
/// Apply a response if its `generation` is that of your copy and `first_sequence` is at most one above its sequence;
/// otherwise read the book again. Then compare `checksum`.
#[utoipa::path(get, path = "/orderbooks/{symbol}/deltas", tag = "orderbook", operation_id = "get_book_deltas",
    params(BookPath, DeltasQuery),
    responses((status = 200, description = "Consecutive changes; none if nothing has changed", body = BookDeltas)))]
pub(in super::super) async fn get_deltas(
    State(books): State<Arc<OrderBookService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<BookPath>,
    Query(query): Query<DeltasQuery>,
) -> Result<Json<BookDeltas>, Problem> {
    if query.view == DeltaContent::Orders {
        caller.require_key(MATCH, path.symbol.as_str())?;
    }
    let wait = query.wait_ms.unwrap_or_default();
    if wait > MAX_WAIT_MS {
        return Err(Problem::query_parameter("wait_ms", format!("must be between 0 and {MAX_WAIT_MS}, got {wait}")));
    }
    Ok(Json(books.deltas(&path.symbol, query.after, query.view, Duration::from_millis(wait)).await?))
}
