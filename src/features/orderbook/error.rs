//! Errors of order books, and the problems that each operation can return.

use std::time::Duration;

use super::model::OrderStatus;
use crate::clock::UnixMillis;
use crate::http::problem::{
    ARCHIVE_BEHIND, FORBIDDEN, INTERNAL, INVALID_BODY, INVALID_HEADER, INVALID_PATH, INVALID_QUERY, Location,
    OVERLOADED, PRECONDITION_FAILED, Problem, ProblemKind, WRONG_TYPE,
};
use crate::problems;
use crate::redis::{Outcome, RedisFault};
use crate::tape::Symbol;

problems! { PROBLEMS:
    BOOK_NOT_FOUND = "book-not-found", NOT_FOUND, "There is no such order book",
        "PUT /orderbooks/{symbol}/settings creates a book. A book that does not change for orderbook.book_life is deleted.";
    ORDER_NOT_FOUND = "order-not-found", NOT_FOUND, "There is no such order",
        "The order was never placed, belongs to another owner, or ended more than two hours ago.";
    ORDER_ID_REUSED = "order-id-reused", CONFLICT, "An order with this id has other content",
        "The id names an order of the last hours that differs from this one, so nothing was placed. Choose another id.";
    ORDER_FILLED = "order-filled", CONFLICT, "The order is filled",
        "The order was filled completely before the request, which changed nothing.";
    ORDER_EXPIRED = "order-expired", CONFLICT, "The order has expired",
        "The order ended at its expires_at, before the request, which changed nothing.";
    ORDER_CANCELLED = "order-cancelled", CONFLICT, "The order is cancelled",
        "The order was cancelled before the request, which changed nothing.";
    BOOK_FULL = "book-full", CONFLICT, "The service has no room for the order or the book",
        "The limits are orderbook.max_orders for a book and orderbook.max_books for all books. Nothing was stored.";
    OWNER_FULL = "owner-full", CONFLICT, "The owner has too many resting orders",
        "The limit is orderbook.max_orders_per_owner for each book. Cancel an order first. Nothing was placed.";
    BOOK_IS_LEVELS = "book-is-levels", CONFLICT, "The book has levels and no orders",
        "A book of the kind levels changes only by snapshots: PUT /orderbooks/{symbol}.";
    BOOK_MODE = "book-mode", CONFLICT, "The mode or the kind of the book does not permit this",
        "Mode and kind of a book are fixed. Delete the book to create another one. A book of orders takes a snapshot in NDJSON, one of levels takes JSON.";
    BOOK_IN_USE = "book-in-use", CONFLICT, "The book is not empty",
        "Decimals, tick_size and lot_size can change only while the book is empty. Cancel its orders first.";
    FILL_REFUSED = "fill-refused", CONFLICT, "A fill does not match the orders of the book",
        "errors names the first such fill and the rule. No fill of the request was applied. Read the orders again.";
    FENCE_REQUIRED = "fence-required", PRECONDITION_REQUIRED, "The request needs a fencing token",
        "Acquire the lock order_matching:{symbol} and send its fencing_token as Fencing-Token, so that a paused matching \
         engine changes nothing. The setting orderbook.require_fence turns this off.";
    STALE_SNAPSHOT = "stale-snapshot", CONFLICT, "The book has a newer snapshot",
        "source_sequence must be above that of the last snapshot, or as_of not before it. The book is unchanged.";
    DELTAS_TRIMMED = "deltas-trimmed", GONE, "Changes after this sequence are not available",
        "Discard the copy of the book and read it again: changes are gone, or a new generation has begun.";
    OFF_TICK = "off-tick", UNPROCESSABLE_ENTITY, "The price is not a multiple of the tick size",
        "errors names the field and the tick size. GET /orderbooks/{symbol}/settings returns the tick size.";
    OFF_LOT = "off-lot", UNPROCESSABLE_ENTITY, "The quantity is not a multiple of the lot size",
        "errors names the field and the lot size. GET /orderbooks/{symbol}/settings returns the lot size.";
    PRICE_OUT_OF_BAND = "price-out-of-band", UNPROCESSABLE_ENTITY, "The price is outside of the book's limits",
        "errors names the field and the limits, min_price and max_price of the book.";
    QUANTITY_OUT_OF_RANGE = "quantity-out-of-range", UNPROCESSABLE_ENTITY, "The quantity is out of range",
        "A quantity is positive, an amended one is above what is filled, and the total of a price has at most 30 digits.";
}

/// The problems of every operation on one book.
pub(super) static BOOK: &[&ProblemKind] = &[&BOOK_NOT_FOUND, &INVALID_PATH, &INVALID_QUERY, &WRONG_TYPE];
/// The problems of changing the settings.
pub(super) static SETTINGS: &[&ProblemKind] = &[&BOOK_MODE, &BOOK_IN_USE, &BOOK_FULL, &PRECONDITION_FAILED];
/// The problems of every operation on orders.
pub(super) static ORDERS: &[&ProblemKind] = &[&BOOK_IS_LEVELS];
/// The problems of prices and quantities.
pub(super) static NUMBERS: &[&ProblemKind] = &[&OFF_TICK, &OFF_LOT, &PRICE_OUT_OF_BAND, &QUANTITY_OUT_OF_RANGE];
/// The problems of placing an order.
pub(super) static PLACE: &[&ProblemKind] = &[&ORDER_ID_REUSED, &BOOK_FULL, &OWNER_FULL];
/// The problems of ending an order.
pub(super) static CANCEL: &[&ProblemKind] = &[&ORDER_NOT_FOUND, &ORDER_FILLED, &ORDER_EXPIRED];

/// The problems of amending an order, in addition to those of ending one and of numbers.
pub(super) static AMEND: &[&ProblemKind] = &[&ORDER_CANCELLED, &PRECONDITION_FAILED, &INVALID_HEADER];
/// The problems of the matching engine's writes.
pub(super) static MATCHING: &[&ProblemKind] = &[&FENCE_REQUIRED];

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum BookError {
    #[error("there is no order book `{symbol}`")]
    BookNotFound { symbol: Symbol },
    #[error("there is no order `{id}` in the book")]
    OrderNotFound { id: String },
    #[error("the order `{id}` has other content")]
    OrderIdReused { id: String },
    /// The order has ended; times are Unix milliseconds.
    #[error("the order `{id}` was {} at {at} with {remaining} left", status.as_str())]
    OrderEnded { id: String, status: OrderStatus, at: UnixMillis, remaining: String },
    #[error("the book has {limit} resting orders")]
    BookFull { limit: usize },
    #[error("the service has {limit} order books")]
    TooManyBooks { limit: usize },
    #[error("the owner has {limit} resting orders")]
    OwnerFull { limit: usize },
    #[error("the book `{symbol}` has levels and no orders")]
    BookIsLevels { symbol: Symbol },
    #[error("mode and kind of the book `{symbol}` are fixed")]
    BookMode { symbol: Symbol },
    #[error("the book `{symbol}` is not empty")]
    BookInUse { symbol: Symbol },
    #[error("{} {rule}", pointer.trim_start_matches('/'))]
    FillRefused { pointer: String, rule: String },
    #[error("the book has {last}")]
    StaleSnapshot { last: String },
    #[error("changes after {after} are not available; the book is at {sequence}")]
    DeltasTrimmed { after: u64, sequence: u64 },
    #[error("the trades of `{symbol}` have as many minutes in Redis as archive.window_max permits")]
    ArchiveBehind { symbol: Symbol },
    #[error("the header Fencing-Token is missing")]
    FenceRequired,
    #[error("the current state does not meet the conditions of the request")]
    Precondition,
    #[error("this credential may act only for its own subject")]
    OtherOwner,
    #[error("listing the orders of all owners needs the scope `{scope}`")]
    AllOwners { scope: &'static str },
    #[error("{} {rule}", pointer.trim_start_matches('/'))]
    OffTick { pointer: String, rule: String },
    #[error("{} {rule}", pointer.trim_start_matches('/'))]
    OffLot { pointer: String, rule: String },
    #[error("{} {rule}", pointer.trim_start_matches('/'))]
    OutOfBand { pointer: String, rule: String },
    #[error("{} {rule}", pointer.trim_start_matches('/'))]
    OutOfRange { pointer: String, rule: String },
    /// A field violates a rule.
    #[error("{} {rule}", pointer.trim_start_matches('/'))]
    Invalid { pointer: String, rule: String },
    /// A streamed body ended early, or a line of it cannot be read.
    #[error("{}", .0.text())]
    Body(Box<Problem>),
    /// Orders expire faster than they are swept, or the rules change with every call.
    #[error("the book `{symbol}` changes too fast")]
    Unsettled { symbol: Symbol },
    #[error("Redis has a {what} that this version of the service does not understand")]
    Unreadable { what: String },
    /// Orders of an owner were cancelled before the rest failed.
    #[error("{cancelled} orders were cancelled before this: {error}")]
    Interrupted { cancelled: u64, error: Box<Self> },
    #[error("could not reach the Redis that keeps the order books")]
    Redis(#[from] RedisFault),
}

impl BookError {
    pub(super) fn invalid(pointer: &str, rule: impl Into<String>) -> Self {
        Self::Invalid { pointer: pointer.to_owned(), rule: rule.into() }
    }

    /// Whether something may have been changed.
    pub(super) fn may_be_applied(&self) -> bool {
        match self {
            Self::Interrupted { .. } => true,
            Self::Redis(fault) => fault.outcome != Outcome::NotApplied,
            _ => false,
        }
    }

    /// The error of a line of a body, naming the field of the line.
    pub(super) fn on_line(mut self, number: u64) -> Self {
        if let Self::OffTick { pointer, .. }
        | Self::OffLot { pointer, .. }
        | Self::OutOfBand { pointer, .. }
        | Self::OutOfRange { pointer, .. }
        | Self::Invalid { pointer, .. } = &mut self
        {
            pointer.insert_str(0, &format!("/{number}"));
        }
        self
    }

    /// The problem of a route whose fields are query parameters.
    pub(super) fn into_query_problem(self) -> Problem {
        match self {
            Self::Invalid { pointer, rule } => Problem::query_parameter(&pointer, rule).outcome(Outcome::NotApplied),
            other => other.into(),
        }
    }

    /// Whether other rules of the book could accept the request.
    pub(super) fn depends_on_rules(&self) -> bool {
        matches!(
            self,
            Self::OffTick { .. }
                | Self::OffLot { .. }
                | Self::OutOfBand { .. }
                | Self::OutOfRange { .. }
                | Self::BookIsLevels { .. }
                | Self::BookMode { .. }
        )
    }
}

impl From<Problem> for BookError {
    fn from(problem: Problem) -> Self {
        Self::Body(problem.into())
    }
}

impl From<BookError> for Problem {
    fn from(error: BookError) -> Self {
        let known = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        let number = |kind, pointer: &str, rule: &str| known(kind).violation(Location::Body, pointer, rule);
        match &error {
            BookError::BookNotFound { .. } => known(&BOOK_NOT_FOUND),
            BookError::OrderNotFound { .. } => known(&ORDER_NOT_FOUND),
            BookError::OrderIdReused { .. } => known(&ORDER_ID_REUSED),
            BookError::OrderEnded { status: OrderStatus::Filled, .. } => known(&ORDER_FILLED),
            BookError::OrderEnded { status: OrderStatus::Cancelled, .. } => known(&ORDER_CANCELLED),
            BookError::OrderEnded { .. } => known(&ORDER_EXPIRED),
            BookError::BookFull { .. } | BookError::TooManyBooks { .. } => known(&BOOK_FULL),
            BookError::OwnerFull { .. } => known(&OWNER_FULL),
            BookError::BookIsLevels { .. } => known(&BOOK_IS_LEVELS),
            BookError::BookMode { .. } => known(&BOOK_MODE),
            BookError::BookInUse { .. } => known(&BOOK_IN_USE),
            BookError::FillRefused { pointer, rule } => number(&FILL_REFUSED, pointer, rule),
            BookError::StaleSnapshot { .. } => known(&STALE_SNAPSHOT),
            BookError::DeltasTrimmed { .. } => Self::new(&DELTAS_TRIMMED).detail(&error),
            BookError::ArchiveBehind { .. } => known(&ARCHIVE_BEHIND).retry_after(Duration::from_secs(60)),
            BookError::FenceRequired => {
                known(&FENCE_REQUIRED).violation(Location::Header, "/Fencing-Token", "is missing")
            }
            BookError::Precondition => known(&PRECONDITION_FAILED),
            BookError::OtherOwner | BookError::AllOwners { .. } => known(&FORBIDDEN),
            BookError::OffTick { pointer, rule } => number(&OFF_TICK, pointer, rule),
            BookError::OffLot { pointer, rule } => number(&OFF_LOT, pointer, rule),
            BookError::OutOfBand { pointer, rule } => number(&PRICE_OUT_OF_BAND, pointer, rule),
            BookError::OutOfRange { pointer, rule } => number(&QUANTITY_OUT_OF_RANGE, pointer, rule),
            BookError::Invalid { pointer, rule } => number(&INVALID_BODY, pointer, rule),
            BookError::Body(problem) => problem.as_ref().clone().outcome(Outcome::NotApplied),
            BookError::Unsettled { .. } => known(&OVERLOADED).retry_after(Duration::from_secs(1)),
            BookError::Unreadable { .. } => Self::new(&INTERNAL).caused_by(error.clone()),
            BookError::Interrupted { error: cause, .. } => {
                Self::from(cause.as_ref().clone()).detail(&error).outcome(Outcome::Unknown)
            }
            BookError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
