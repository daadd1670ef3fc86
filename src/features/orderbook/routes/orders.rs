//! Orders: place, read, list, cancel.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::super::MATCH;
use super::super::actor::Actor;
use super::super::error::BookError;
use super::super::model::{BookPath, MAX_PAGE, Order, OrderPath, OrderRequest, OrdersQuery, PlacedOrder};
use super::super::service::OrderBookService;
use crate::http::auth::Principal;
use crate::http::conditional::ETag;
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::idempotent_operation::FirstResponse;
use crate::http::problem::Problem;
use crate::http::reply::{Created, Page};

/// Place an order.
///
/// The order rests until it is filled, cancelled, or expires. Repeat the request if its outcome is unknown: the same id with
/// the same content returns the order and places nothing.
#[utoipa::path(post, path = "/orderbooks/{symbol}/orders", tag = "orderbook", operation_id = "place_order",
    params(BookPath), request_body = OrderRequest,
    responses((status = 201, description = "The order is in the book, or was placed before", body = PlacedOrder)))]
pub(in super::super) async fn place_order(
    State(books): State<Arc<OrderBookService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<BookPath>,
    NoQuery: NoQuery,
    first: FirstResponse,
    Json(request): Json<OrderRequest>,
) -> Result<Created<PlacedOrder>, Problem> {
    if let Some(mut first) = first.to_refresh::<PlacedOrder>()? {
        books.refresh(&path.symbol, vec![&mut first.order]).await?;
        return Ok(Created(PlacedOrder { replayed: true, ..first }));
    }
    Ok(Created(books.place(&path.symbol, &Actor::of(&caller)?, request).await?))
}

/// Read an order.
///
/// Orders that have ended remain readable for two hours.
#[utoipa::path(get, path = "/orderbooks/{symbol}/orders/{order_id}", tag = "orderbook", operation_id = "get_order",
    params(OrderPath), responses((status = 200, description = "The order", body = Order)))]
pub(in super::super) async fn get_order(
    State(books): State<Arc<OrderBookService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<OrderPath>,
    NoQuery: NoQuery,
) -> Result<Response, Problem> {
    let (rules, record) = books.record(&path.symbol, &Actor::of(&caller)?, &path.order_id).await?;
    let tag: HeaderValue = ETag(record.version()).header();
    Ok(([(header::ETAG, tag)], Json(record.show(&rules))).into_response())
}

/// Cancel an order.
///
/// Cancelling it again returns it again.
#[utoipa::path(delete, path = "/orderbooks/{symbol}/orders/{order_id}", tag = "orderbook", operation_id = "cancel_order",
    params(OrderPath), responses((status = 200, description = "The cancelled order", body = Order)))]
pub(in super::super) async fn cancel_order(
    State(books): State<Arc<OrderBookService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<OrderPath>,
    NoQuery: NoQuery,
) -> Result<Json<Order>, Problem> {
    Ok(Json(books.cancel(&path.symbol, &Actor::of(&caller)?, &path.order_id).await?))
}

/// List resting orders.
///
/// The orders of an owner are listed by arrival. Without an owner, the orders of one side are listed in the order in which
/// they match, which needs the scope `orders:match`.
#[utoipa::path(get, path = "/orderbooks/{symbol}/orders", tag = "orderbook", operation_id = "list_orders",
    params(BookPath, OrdersQuery),
    responses((status = 200, description = "A page of orders; it may have fewer than `limit`", body = Page<Order>)))]
pub(in super::super) async fn list_orders(
    State(books): State<Arc<OrderBookService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<BookPath>,
    Query(query): Query<OrdersQuery>,
) -> Result<Json<Page<Order>>, Problem> {
    require_count("limit", query.limit, MAX_PAGE)?;
    let may_match = caller.may_access(MATCH, path.symbol.as_str());
    Ok(Json(
        books
            .orders(&path.symbol, &Actor::of(&caller)?, may_match, query)
            .await
            .map_err(BookError::into_query_problem)?,
    ))
}
