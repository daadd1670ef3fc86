//! Requests to amend and cancel orders, and batches.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::identifier::{Identifier, Owner};
use super::super::rules::Side;
use super::{Order, OrderRequest};
use crate::http::batch_item::BatchItem;
use crate::http::integer;
use crate::http::reply::ItemError;
use crate::tape::Symbol;

/// What to change of an order. Absent fields stay as they are.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BookAmendRequest, example = json!({ "quantity": "8.000" }))]
pub(in super::super) struct AmendRequest {
    /// The order, only in a batch: otherwise the path names it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub order_id: Option<Identifier>,
    /// Another price moves the order behind the orders of that price.
    #[serde(default)]
    pub price: Option<String>,
    /// The whole quantity, the filled part included. A lower one keeps the place of the order, a higher one does not.
    #[serde(default)]
    pub quantity: Option<String>,
    /// Unix milliseconds.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    pub expires_at: Option<u64>,
}

/// The most items of a batch of orders.
pub(in super::super) const MAX_BATCH: usize = 100;

/// Changes of one book, in this order: cancel, amend, place. Together at most 100.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BookBatchRequest, example = json!({
    "place": [{ "order_id": "order-2", "owner": "user-7", "side": "sell", "price": "4.40", "quantity": "1.000" },
              { "order_id": "order-3", "owner": "user-9", "side": "sell", "price": "4.30", "quantity": "5.000" }] }))]
pub(in super::super) struct BatchRequest {
    /// Ids of orders.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 100)]
    pub cancel: Vec<BatchItem<Identifier>>,
    #[serde(default)]
    #[schema(value_type = Vec<AmendRequest>, max_items = 100)]
    pub amend: Vec<BatchItem<AmendRequest>>,
    #[serde(default)]
    #[schema(value_type = Vec<OrderRequest>, max_items = 100)]
    pub place: Vec<BatchItem<OrderRequest>>,
}

/// The result of one item of a batch.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = BookBatchResult)]
pub(in super::super) struct BatchResult {
    /// The status that the request on its own would have.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Whether an earlier request had placed the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// The results of a batch, in the order of its items.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = BookBatchReply)]
pub(in super::super) struct BatchReply {
    pub cancel: Vec<BatchResult>,
    pub amend: Vec<BatchResult>,
    pub place: Vec<BatchResult>,
}

impl BatchReply {
    /// The orders of a repeated batch, whose placed ones were placed before.
    pub(in super::super) fn orders(&mut self) -> Vec<&mut Order> {
        for replayed in self.place.iter_mut().filter_map(|result| result.replayed.as_mut()) {
            *replayed = true;
        }
        let results = self.cancel.iter_mut().chain(&mut self.amend).chain(&mut self.place);
        results.filter_map(|result| result.order.as_mut()).collect()
    }
}

/// Whose orders to cancel.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct CancelQuery {
    /// The owner. A user's token may leave it out: it names its own subject.
    #[param(value_type = String, required = true, min_length = 1, max_length = 128)]
    pub owner: Option<Owner>,
    /// Only this side.
    #[param(required = false, nullable = false)]
    pub side: Option<Side>,
}

/// How many orders were cancelled.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BookCancelled)]
pub(in super::super) struct Cancelled {
    pub cancelled: u64,
    /// Whether orders of the owner may be left: repeat the request.
    pub more: bool,
}

/// The orders that were cancelled in one book.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BookCancelledOrders)]
pub(in super::super) struct BookCancelled {
    pub symbol: Symbol,
    pub cancelled: u64,
    pub more: bool,
    /// Why orders of this book may be left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// The orders that were cancelled in all books.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BookCancelledEverywhere)]
pub(in super::super) struct CancelledEverywhere {
    /// The books in which the owner had orders, and those that failed.
    pub books: Vec<BookCancelled>,
    pub cancelled: u64,
    /// Whether orders of the owner may be left: repeat the request.
    pub more: bool,
}
