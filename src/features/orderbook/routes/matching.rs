//! What a matching engine reports, and the changes that clients follow.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;

use super::super::MATCH;
use super::super::model::{
    BookDeltas, BookPath, BookReplaced, BookSnapshot, DeltaContent, DeltasQuery, FillsReply, FillsRequest, MAX_FILLS,
    MAX_LEVELS, MAX_WAIT_MS,
};
use super::super::service::OrderBookService;
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::fencing::GrantToken;
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

/// Replace all levels of an order book.
///
/// Only for books of the kind `levels`. Readers see the old levels until the snapshot is complete.
#[utoipa::path(put, path = "/orderbooks/{symbol}", tag = "orderbook", operation_id = "replace_book",
    params(BookPath), request_body = BookSnapshot,
    responses((status = 200, description = "The book has these levels", body = BookReplaced)))]
pub(in super::super) async fn replace_book(
    State(books): State<Arc<OrderBookService>>,
    Path(path): Path<BookPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(snapshot): Json<BookSnapshot>,
) -> Result<Json<BookReplaced>, Problem> {
    let levels = snapshot.bids.len() + snapshot.asks.len();
    if levels > MAX_LEVELS {
        return Err(Problem::body_field(
            "/bids",
            format!("must have at most {MAX_LEVELS} levels with asks, got {levels}"),
        ));
    }
    Ok(Json(books.replace(&path.symbol, &snapshot, token).await?))
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
