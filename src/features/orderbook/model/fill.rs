//! Fills of the matching engine.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::identifier::Identifier;
use super::super::rules::Side;
use crate::http::integer;

/// The most fills of one request.
pub(in super::super) const MAX_FILLS: usize = 200;

/// Trades between orders of the book.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BookFillsRequest, example = json!({ "fills": [{ "trade_id": "trade-1", "buy_order_id": "order-1",
    "sell_order_id": "order-3", "price": "4.35", "quantity": "1.000" }] }))]
pub(in super::super) struct FillsRequest {
    #[schema(min_items = 1, max_items = 200)]
    pub fills: Vec<Fill>,
}

/// A trade between two orders of the book.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BookFill, example = json!({ "trade_id": "trade-1", "buy_order_id": "order-1", "sell_order_id": "order-3",
    "price": "4.35", "quantity": "1.000" }))]
pub(in super::super) struct Fill {
    /// Identifies the trade: reporting it again changes nothing.
    #[schema(value_type = String)]
    pub trade_id: Identifier,
    #[schema(value_type = String)]
    pub buy_order_id: Identifier,
    #[schema(value_type = String)]
    pub sell_order_id: Identifier,
    /// At most the price of the buy order and at least that of the sell order.
    pub price: String,
    pub quantity: String,
    /// The side that caused the trade.
    #[serde(default)]
    pub taker_side: Option<Side>,
    /// When the trade happened, Unix milliseconds; now if absent.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    pub timestamp: Option<u64>,
}

/// A fill that is in the book.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BookFilled)]
pub(in super::super) struct Filled {
    pub trade_id: Identifier,
    /// The sequence of the fill.
    pub sequence: u64,
    /// Whether an earlier request had reported the trade.
    pub replayed: bool,
    /// What was left of the orders after this fill.
    pub buy_remaining: String,
    pub sell_remaining: String,
}

/// Fills that are in the book.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BookFillsReply)]
pub(in super::super) struct FillsReply {
    /// The sequence of the book after the fills.
    pub sequence: u64,
    /// In the order of the request.
    pub fills: Vec<Filled>,
}
