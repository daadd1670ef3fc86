//! Snapshots that replace a book of levels.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::integer;

/// The most levels of a snapshot, both sides together.
pub(in super::super) const MAX_LEVELS: usize = 10_000;

/// A level of a snapshot.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BookSnapshotLevel)]
pub(in super::super) struct SnapshotLevel {
    #[schema(example = "4.35")]
    pub price: String,
    #[schema(example = "10.000")]
    pub quantity: String,
    /// How many orders the level has; 1 if absent.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub orders: Option<u64>,
}

/// All levels of a book.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BookSnapshot, example = json!({ "bids": [{ "price": "4.35", "quantity": "10.000" }],
    "asks": [{ "price": "4.40", "quantity": "7.500" }] }))]
pub(in super::super) struct BookSnapshot {
    /// In any order; each price once.
    #[schema(max_items = 10_000)]
    pub bids: Vec<SnapshotLevel>,
    #[schema(max_items = 10_000)]
    pub asks: Vec<SnapshotLevel>,
    /// When the book had these levels, Unix milliseconds; now if absent.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    pub as_of: Option<u64>,
    /// The sender's sequence. A snapshot whose sequence is not above the last one is refused.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    pub source_sequence: Option<u64>,
}

/// One order per line, as it is placed. Orders of one price match in the order of the lines.
#[derive(ToSchema)]
#[schema(as = BookOrderLines, value_type = String)]
#[expect(dead_code, reason = "described here, read line by line by snapshots.rs")]
#[schema(
    example = "{\"order_id\":\"order-1\",\"owner\":\"user-7\",\"side\":\"buy\",\"price\":\"4.35\",\"quantity\":\"10.000\"}\n"
)]
pub(in super::super) struct OrderLines(String);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct SnapshotQuery {
    /// The sender's sequence of a snapshot in NDJSON; JSON has it in the body. A snapshot whose sequence is not above the last
    /// one is refused.
    #[param(value_type = Option<u64>, required = false, nullable = false)]
    pub source_sequence: Option<u64>,
}

/// A snapshot that is in the book.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BookReplaced)]
pub(in super::super) struct BookReplaced {
    pub generation: u64,
    /// The sequence of the snapshot.
    pub sequence: u64,
    /// Resting orders; those of the snapshot that had expired are left out. 0 for a book of levels.
    pub orders: u64,
}
