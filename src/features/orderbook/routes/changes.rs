//! Amendments, batches, and cancelling the orders of an owner.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::super::actor::Actor;
use super::super::error::BookError;
use super::super::model::{
    AmendRequest, BatchReply, BatchRequest, BookPath, CancelQuery, Cancelled, CancelledEverywhere, MAX_BATCH, Order,
    OrderPath,
};
use super::super::service::OrderBookService;
use crate::http::auth::Principal;
use crate::http::batch_item::{check_results, errors_of};
use crate::http::conditional::{ETag, Preconditions};
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::idempotent_operation::FirstResponse;
use crate::http::problem::Problem;

/// Amend an order.
///
/// A lower quantity keeps the place of the order among those of its price. Another price or a higher quantity moves it to
/// the end. With `If-Match`, the order must be in the state that `GET` returned. With an `Idempotency-Key`, a repetition amends
/// nothing and receives the order as it is then.
#[utoipa::path(patch, path = "/orderbooks/{symbol}/orders/{order_id}", tag = "orderbook", operation_id = "amend_order",
    params(OrderPath), request_body = AmendRequest, responses((status = 200, description = "The amended order", body = Order)))]
pub(in super::super) async fn amend_order(
    State(books): State<Arc<OrderBookService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<OrderPath>,
    NoQuery: NoQuery,
    conditions: Preconditions,
    first: FirstResponse,
    Json(request): Json<AmendRequest>,
) -> Result<Json<Order>, Problem> {
    if let Some(mut first) = first.to_refresh::<Order>()? {
        books.refresh(&path.symbol, vec![&mut first]).await?;
        return Ok(Json(first));
    }
    let actor = Actor::of(&caller)?;
    if request.order_id.is_some() {
        return Err(Problem::body_field("/order_id", "must be absent: the path names the order"));
    }
    let mut version = None;
    if !conditions.is_empty() {
        let (_, order) = books.record(&path.symbol, &actor, &path.order_id).await?;
        if !conditions.allow_write(Some(ETag(order.version()))) {
            return Err(BookError::Precondition.into());
        }
        version = Some((order.sequence, order.revision));
    }
    Ok(Json(books.amend(&path.symbol, &actor, &path.order_id, &request, version).await?))
}

/// Cancel, amend and place orders of one book.
///
/// The items run in this order: cancel, amend, place. Each has its own result; an invalid item does not stop the others.
/// `Items-Failed` counts the items that failed; if all have, the response has the status of the first one. With an
/// `Idempotency-Key`, a repetition changes nothing and receives the results with the orders as they are then.
#[utoipa::path(post, path = "/orderbooks/{symbol}/orders/batch", tag = "orderbook", operation_id = "change_orders",
    params(BookPath), request_body = BatchRequest,
    responses((status = 200, description = "One result for each item, in the order of the request", body = BatchReply,
        headers(("Items-Failed" = u64, description = "How many items failed; absent if none did")))))]
pub(in super::super) async fn change_orders(
    State(books): State<Arc<OrderBookService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<BookPath>,
    NoQuery: NoQuery,
    first: FirstResponse,
    Json(request): Json<BatchRequest>,
) -> Result<Response, Problem> {
    if let Some(mut first) = first.to_refresh::<BatchReply>()? {
        books.refresh(&path.symbol, first.orders()).await?;
        return Ok(Json(first).into_response());
    }
    let items = request.cancel.len() + request.amend.len() + request.place.len();
    if items > MAX_BATCH {
        return Err(Problem::body_field("", format!("must have at most {MAX_BATCH} items, got {items}")));
    }
    let reply = books.batch(&path.symbol, &Actor::of(&caller)?, request).await?;
    let [cancel, amend, place] = [("cancel", &reply.cancel), ("amend", &reply.amend), ("place", &reply.place)]
        .map(|(list, results)| errors_of(list, results.iter().map(|item| &item.error)));
    Ok((check_results(false, cancel.chain(amend).chain(place))?, Json(reply)).into_response())
}

/// Cancel the orders of an owner in one book.
#[utoipa::path(delete, path = "/orderbooks/{symbol}/orders", tag = "orderbook", operation_id = "cancel_orders",
    params(BookPath, CancelQuery),
    responses((status = 200, description = "How many orders were cancelled", body = Cancelled)))]
pub(in super::super) async fn cancel_orders(
    State(books): State<Arc<OrderBookService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<BookPath>,
    Query(query): Query<CancelQuery>,
) -> Result<Json<Cancelled>, Problem> {
    let owner = Actor::of(&caller)?.owner(query.owner).map_err(BookError::into_query_problem)?;
    Ok(Json(books.cancel_owner(&path.symbol, &owner, query.side).await?))
}

/// Cancel the orders of an owner in all books.
///
/// An order that is placed while the request runs may be left.
#[utoipa::path(delete, path = "/orders", tag = "orderbook", operation_id = "cancel_orders_everywhere",
    params(CancelQuery),
    responses((status = 200, description = "What was cancelled in each book", body = CancelledEverywhere)))]
pub(in super::super) async fn cancel_orders_everywhere(
    State(books): State<Arc<OrderBookService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<CancelQuery>,
) -> Result<Json<CancelledEverywhere>, Problem> {
    let owner = Actor::of(&caller)?.owner(query.owner).map_err(BookError::into_query_problem)?;
    Ok(Json(books.cancel_everywhere(&owner, query.side).await?))
}
