//! Books and their levels.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::rules::{Kind, Mode};
use crate::clock::UnixMillis;
use crate::tape::Symbol;

/// The most levels of each side in a view.
pub(in super::super) const MAX_DEPTH: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in super::super) struct BookPath {
    /// The book: 1 to 64 letters, digits, `.`, `_`, `:` and `-`.
    #[param(value_type = String, min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9._:\-]+$", example = "GRID")]
    pub symbol: Symbol,
}

/// A price of the book with the total of its orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BookLevel)]
pub(in super::super) struct Level {
    pub price: String,
    pub quantity: String,
    /// How many orders the total has; for a book of levels what its snapshot says.
    pub orders: u64,
}

/// The best prices of a book.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BookView)]
pub(in super::super) struct BookView {
    pub symbol: Symbol,
    /// Sequences of different generations cannot be compared. A new one begins when changes may have been lost.
    pub generation: u64,
    /// The last change that the view includes.
    pub sequence: u64,
    /// When the book changed last, Unix milliseconds.
    pub timestamp: UnixMillis,
    pub mode: Mode,
    pub kind: Kind,
    /// Whether the best bid is at least the best ask.
    pub crossed: bool,
    /// The CRC32 of the ten best levels of each side.
    pub checksum: u32,
    /// Resting orders of both sides; 0 for a book of levels.
    pub orders: u64,
    /// Highest price first.
    pub bids: Vec<Level>,
    /// Lowest price first.
    pub asks: Vec<Level>,
    /// The time that the snapshot of a book of levels states, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<UnixMillis>,
    /// Whether the last snapshot of a book of levels is older than `orderbook.stale_after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<bool>,
}

/// The form of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BookFormat)]
pub(in super::super) enum Format {
    #[default]
    Levels,
    /// Prices and quantities as pairs.
    Pairs,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ViewQuery {
    /// The most levels of each side.
    #[serde(default = "ten")]
    #[param(required = false, minimum = 1, maximum = 1000, default = 10)]
    pub depth: usize,
    /// `pairs` returns the form that the platform's pages read.
    #[serde(default)]
    #[param(required = false, inline)]
    pub format: Format,
}

const fn ten() -> usize {
    10
}

/// The best prices as pairs of price and quantity.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BookPairs)]
pub(in super::super) struct BookPairs {
    /// The sequence of the view.
    pub last_update_id: u64,
    pub bids: Vec<[String; 2]>,
    pub asks: Vec<[String; 2]>,
}

/// The best bid and the best ask.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BookBest)]
pub(in super::super) struct BookBest {
    pub symbol: Symbol,
    pub sequence: u64,
    #[schema(required = true)]
    pub bid: Option<Level>,
    #[schema(required = true)]
    pub ask: Option<Level>,
    /// The ask minus the bid; negative if the book is crossed.
    #[schema(required = true)]
    pub spread: Option<String>,
}

/// A book in the list of books.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BookSummary)]
pub(in super::super) struct BookSummary {
    pub symbol: Symbol,
    pub sequence: u64,
    /// When the book changed last, Unix milliseconds.
    pub timestamp: UnixMillis,
    pub orders: u64,
    pub kind: Kind,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct BooksQuery {
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>, required = false, nullable = false, pattern = r"^[A-Za-z0-9._:\-]{1,64}$")]
    pub cursor: Option<Symbol>,
    /// The most books on the page.
    #[serde(default = "hundred")]
    #[param(required = false, minimum = 1, maximum = 500, default = 100)]
    pub limit: usize,
}

const fn hundred() -> usize {
    100
}
