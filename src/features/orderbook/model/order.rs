//! Orders, and requests to place and list them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::identifier::{Identifier, Owner};
use super::super::rules::Side;
use crate::clock::UnixMillis;
use crate::http::integer;
use crate::http::portable_json::ObjectText;
use crate::tape::Symbol;

/// The largest page of orders: one script reads it.
pub(in super::super) const MAX_PAGE: usize = 500;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in super::super) struct OrderPath {
    /// The book: 1 to 64 letters, digits, `.`, `_`, `:` and `-`.
    #[param(value_type = String, min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9._:\-]+$", example = "GRID")]
    pub symbol: Symbol,
    /// The id of the order.
    #[param(value_type = String, min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9._:\-]+$", example = "order-1")]
    pub order_id: Identifier,
}

/// How long an order stays in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BookTimeInForce)]
pub(in super::super) enum TimeInForce {
    /// Until it is filled, cancelled, or expires.
    Gtc,
}

/// An order to place. Prices and quantities are strings, so that no digit is lost.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BookOrderRequest, example = json!({ "order_id": "order-1", "owner": "user-7", "side": "buy",
    "price": "4.35", "quantity": "10.000" }))]
pub(in super::super) struct OrderRequest {
    /// Identifies the order. Placing it again returns the same order. Without it, `client_order_id` and the owner determine
    /// the id.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub order_id: Option<Identifier>,
    /// The owner's own id of the order.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub client_order_id: Option<Identifier>,
    /// Whose order it is. A user's token names its own subject, which is the default.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub owner: Option<Owner>,
    pub side: Side,
    pub price: String,
    pub quantity: String,
    /// When the order leaves the book, Unix milliseconds; after `orderbook.order_life` if absent.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    pub expires_at: Option<u64>,
    /// Only `gtc`: in a book of mode `store` no order matches on arrival.
    #[serde(default)]
    pub tif: Option<TimeInForce>,
    /// The trading epoch of the order. The service keeps it for the matching engine.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    pub epoch_number: Option<u64>,
    /// A JSON object of at most 512 bytes, which the service keeps.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<ObjectText>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BookOrderStatus)]
pub(in super::super) enum OrderStatus {
    Active,
    PartiallyFilled,
    Filled,
    Cancelled,
    Expired,
}

impl OrderStatus {
    pub(in super::super) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::PartiallyFilled => "partially_filled",
            Self::Filled => "filled",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// An order of a book.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = BookOrder)]
#[expect(clippy::struct_field_names, reason = "order_id is the name of the field in JSON")]
pub(in super::super) struct Order {
    pub order_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_order_id: Option<String>,
    pub owner: String,
    pub side: Side,
    pub price: String,
    /// The whole quantity, filled and remaining.
    pub quantity: String,
    pub filled: String,
    pub remaining: String,
    pub status: OrderStatus,
    /// Orders of one price match in the order of their sequences. A change that loses the place gets a new one.
    pub sequence: u64,
    /// Rises with every change of the order.
    pub revision: u64,
    pub created_at: UnixMillis,
    pub expires_at: UnixMillis,
    /// When the order was filled, cancelled or expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch_number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<ObjectText>,
}

/// The result of placing an order.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = BookPlacedOrder)]
pub(in super::super) struct PlacedOrder {
    /// The order as it is now, even if it has ended since it was placed.
    pub order: Order,
    /// Whether an earlier request had placed the order.
    pub replayed: bool,
}

/// Which orders a list contains.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct OrdersQuery {
    /// Only the orders of this owner. Callers without `orders:match` see only their own.
    #[param(value_type = Option<String>, required = false, nullable = false, min_length = 1, max_length = 128)]
    pub owner: Option<Owner>,
    /// Only this side. The list of all owners' orders needs it.
    #[param(required = false, nullable = false)]
    pub side: Option<Side>,
    /// The `next_cursor` of the page before.
    #[param(required = false, nullable = false, pattern = r"^-?[0-9]{1,16}\.[0-9]{1,16}$")]
    pub cursor: Option<String>,
    /// The most orders on the page.
    #[serde(default = "hundred")]
    #[param(required = false, minimum = 1, maximum = 500, default = 100)]
    pub limit: usize,
}

const fn hundred() -> usize {
    100
}
