//! Changes of a book, as clients follow them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::rules::Side;
use super::OrderStatus;
use crate::clock::UnixMillis;
use crate::tape::Symbol;

/// The longest wait for a change, milliseconds: [`crate::http::access::LONGEST_WAIT`].
pub(in super::super) const MAX_WAIT_MS: u64 = 30_000;
/// The most deltas of a response.
pub(in super::super) const MAX_DELTAS: usize = 100;

/// What deltas describe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BookDeltaContent)]
pub(in super::super) enum DeltaContent {
    #[default]
    Levels,
    /// The changed orders as well; needs the scope `orders:match`.
    Orders,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct DeltasQuery {
    /// The sequence that the client has.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_u64, example = 1)]
    pub after: u64,
    /// How long to wait for a change if there is none, milliseconds.
    #[param(required = false, nullable = false, minimum = 0, maximum = 30_000)]
    pub wait_ms: Option<u64>,
    /// `orders` adds the changed orders; it needs the scope `orders:match`.
    #[serde(default)]
    #[param(required = false, inline)]
    pub view: DeltaContent,
}

/// How to apply changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BookDeltaKind)]
pub(in super::super) enum DeltaKind {
    Delta,
    /// A snapshot has replaced the book: read it again.
    Snapshot,
}

/// The new total of a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BookLevelChange)]
pub(in super::super) struct LevelChange {
    pub side: Side,
    pub price: String,
    /// The whole quantity at this price; zero removes the level.
    pub quantity: String,
    pub orders: u64,
}

/// A change of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BookOrderChange)]
pub(in super::super) struct OrderChange {
    pub sequence: u64,
    /// `placed`, `amended`, `cancelled`, `expired` or `filled`.
    pub kind: String,
    pub order_id: String,
    pub side: Side,
    pub price: String,
    pub quantity: String,
    pub remaining: String,
    pub status: OrderStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trade_id: Option<String>,
}

/// Consecutive changes of a book.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BookDeltas)]
pub(in super::super) struct BookDeltas {
    pub symbol: Symbol,
    pub generation: u64,
    pub kind: DeltaKind,
    pub first_sequence: u64,
    /// One less than `first_sequence` if nothing has changed.
    pub last_sequence: u64,
    /// When the book changed last, Unix milliseconds.
    pub timestamp: UnixMillis,
    /// The last total of each price that has changed.
    pub changes: Vec<LevelChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders: Option<Vec<OrderChange>>,
    /// The CRC32 of the ten best levels of each side after `last_sequence`; null if later changes follow.
    #[schema(required = true)]
    pub checksum: Option<u32>,
    /// Whether later changes follow.
    pub more: bool,
}
