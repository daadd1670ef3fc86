//! Books: create, list, view, delete.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;

use super::super::model::{
    BookBest, BookPath, BookSummary, BookView, BooksQuery, Format, MAX_DEPTH, MAX_PAGE, ViewQuery,
};
use super::super::rules::BookSettings;
use super::super::service::{OrderBookService, SettingsChange};
use super::conditional;
use crate::http::auth::Principal;
use crate::http::conditional::Preconditions;
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::fencing::GrantToken;
use crate::http::problem::Problem;
use crate::http::reply::{NoContent, Page};

/// The condition of the settings.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described here, read by Preconditions")]
pub(in super::super) struct SettingsHeaders {
    /// `*`: only create a book.
    #[param(rename = "If-None-Match", value_type = String, required = false, pattern = r"^\*$")]
    if_none_match: (),
}

/// Create an order book, or change its settings.
///
/// Mode and kind are fixed. Decimals, tick size and lot size can change only while the book is empty; then a new generation
/// begins.
#[utoipa::path(put, path = "/orderbooks/{symbol}/settings", tag = "orderbook", operation_id = "put_book_settings",
    params(BookPath, SettingsHeaders), request_body = BookSettings,
    responses((status = 200, description = "The book has these settings", body = BookSettings),
              (status = 201, description = "The book is created", body = BookSettings)))]
pub(in super::super) async fn put_book_settings(
    State(books): State<Arc<OrderBookService>>,
    Path(path): Path<BookPath>,
    NoQuery: NoQuery,
    conditions: Preconditions,
    GrantToken(token): GrantToken,
    Json(settings): Json<BookSettings>,
) -> Result<Response, Problem> {
    if !conditions.is_empty() && !conditions.is_create_only() {
        return Err(Problem::request_header("If-None-Match", "must be `*`, and the only condition"));
    }
    let (change, settings) = books.put_settings(&path.symbol, &settings, conditions.is_create_only(), token).await?;
    let status = if change == SettingsChange::Created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(settings)).into_response())
}

/// Read the settings of an order book.
#[utoipa::path(get, path = "/orderbooks/{symbol}/settings", tag = "orderbook", operation_id = "get_book_settings",
    params(BookPath), responses((status = 200, description = "The settings, with every default", body = BookSettings)))]
pub(in super::super) async fn get_book_settings(
    State(books): State<Arc<OrderBookService>>,
    Path(path): Path<BookPath>,
    NoQuery: NoQuery,
) -> Result<Json<BookSettings>, Problem> {
    Ok(Json(books.read_rules(&path.symbol).await?.settings()))
}

/// List the order books, sorted by symbol.
#[utoipa::path(get, path = "/orderbooks", tag = "orderbook", operation_id = "list_books", params(BooksQuery),
    responses((status = 200, description = "A page of books", body = Page<BookSummary>)))]
pub(in super::super) async fn list_books(
    State(books): State<Arc<OrderBookService>>,
    Query(query): Query<BooksQuery>,
) -> Result<Json<Page<BookSummary>>, Problem> {
    require_count("limit", query.limit, MAX_PAGE)?;
    Ok(Json(books.books(query.cursor.as_ref(), query.limit).await?))
}

/// Read the best levels of an order book.
///
/// Follow the book from there with its deltas: `generation` and `sequence` name the state, and `checksum` verifies a copy.
/// Numbers always have the decimals of the book. With `If-None-Match`, an unchanged book is 304.
#[utoipa::path(get, path = "/orderbooks/{symbol}", tag = "orderbook", operation_id = "get_book",
    params(BookPath, ViewQuery),
    responses((status = 200, description = "The best levels of both sides; with `format=pairs` in the form \
               {last_update_id, bids, asks}", body = BookView),
              (status = 304, description = "The book has not changed")))]
pub(in super::super) async fn get_book(
    State(books): State<Arc<OrderBookService>>,
    Path(path): Path<BookPath>,
    Query(query): Query<ViewQuery>,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    require_count("depth", query.depth, MAX_DEPTH)?;
    let view = books.view(&path.symbol, query.depth).await?;
    Ok(match query.format {
        Format::Levels => conditional(&conditions, view.version, view.body),
        Format::Pairs => conditional(&conditions, view.version, view.body.into_pairs()),
    })
}

/// Read the best bid and the best ask.
#[utoipa::path(get, path = "/orderbooks/{symbol}/best", tag = "orderbook", operation_id = "get_best_prices",
    params(BookPath), responses((status = 200, description = "The best levels; null for an empty side", body = BookBest)))]
pub(in super::super) async fn get_best_prices(
    State(books): State<Arc<OrderBookService>>,
    Path(path): Path<BookPath>,
    NoQuery: NoQuery,
) -> Result<Json<BookBest>, Problem> {
    Ok(Json(books.best(&path.symbol).await?))
}

/// Delete an order book with its orders.
///
/// Deleting it again succeeds. The trades that it has written remain.
#[utoipa::path(delete, path = "/orderbooks/{symbol}", tag = "orderbook", operation_id = "delete_book",
    params(BookPath), responses((status = 204, description = "The book does not exist")))]
pub(in super::super) async fn delete_book(
    State(books): State<Arc<OrderBookService>>,
    Path(path): Path<BookPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
) -> Result<NoContent, Problem> {
    books.delete(&path.symbol, token).await?;
    Ok(NoContent)
}

/// Forget the fencing tokens that an order book has seen.
///
/// The book does not change. The next write with a `Fencing-Token` is accepted, even if a former holder of the lock sends it:
/// make sure that there is none. The audit log records the call.
#[utoipa::path(delete, path = "/fences/orderbooks/{symbol}", tag = "orderbook", operation_id = "reset_book_fence",
    params(BookPath), responses((status = 204, description = "The book remembers no token")))]
pub(in super::super) async fn reset_book_fence(
    State(books): State<Arc<OrderBookService>>,
    Path(path): Path<BookPath>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    books.reset_fence(&path.symbol, &caller.id).await?;
    Ok(NoContent)
}
