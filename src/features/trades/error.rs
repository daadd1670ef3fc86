//! Errors of trades and market data, and the problems that each operation can return.

use std::time::Duration;

use crate::config::value::Span;
use crate::http::problem::{
    ARCHIVE_BEHIND, FOLD_BEHIND, INVALID_BODY, INVALID_HEADER, INVALID_PATH, INVALID_QUERY, Location, Problem,
    ProblemKind, WRONG_TYPE,
};
use crate::problems;
use crate::redis::{Outcome, RedisFault};
use crate::tape::Symbol;

problems! { PROBLEMS:
    TRADE_ID_REUSED = "trade-id-reused", CONFLICT, "Another trade has this id",
        "errors names the trade. A repetition must say the same as the first report. Of a JSON report, nothing was stored; \
         of one in NDJSON, the trades that detail counts.";
    SYMBOL_NOT_FOUND = "symbol-not-found", NOT_FOUND, "There are no trades of this symbol",
        "GET /udf/search lists the symbols that have been traded.";
    TOO_LATE = "too-late", UNPROCESSABLE_ENTITY, "A trade is older than archive.late_limit",
        "errors names the trade. Its minute is closed for good. Nothing was stored.";
}

/// The problems of reporting trades, in addition to those of every write with a JSON body.
pub(super) static RECORD: &[&ProblemKind] = &[
    &TRADE_ID_REUSED,
    &ARCHIVE_BEHIND,
    &TOO_LATE,
    &FOLD_BEHIND,
    &INVALID_BODY,
    &INVALID_HEADER,
    &INVALID_QUERY,
    &WRONG_TYPE,
];
/// The problems of reading the market data of a symbol in the path, in addition to those of every read.
pub(super) static DATA: &[&ProblemKind] = &[&FOLD_BEHIND, &INVALID_PATH, &INVALID_QUERY, &WRONG_TYPE];
/// The problems of a chart's queries, in addition to those of every read.
pub(super) static CHART: &[&ProblemKind] = &[&SYMBOL_NOT_FOUND, &FOLD_BEHIND, &INVALID_QUERY, &WRONG_TYPE];
/// The problems of a chart's queries about the service.
pub(super) static SERVICE: &[&ProblemKind] = &[&INVALID_QUERY];

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum TradeError {
    /// A field of the body breaks a rule; `field` is a JSON pointer.
    #[error("{field}: {rule}")]
    Invalid { field: String, rule: String },
    /// `trade` is a JSON pointer.
    #[error("the trade at {trade} has the id of another trade")]
    Reused { trade: String },
    #[error("the candles of `{0}` are too far behind its trades")]
    Behind(Symbol),
    /// The tape has the first `stored` trades of a report, but not all.
    #[error("{cause}; the tape has the first {stored} trades of the request")]
    Partly { stored: usize, cause: Box<Self> },
    #[error("`{0}` has as many minutes in Redis as archive.window_max permits")]
    ArchiveBehind(Symbol),
    /// `trade` is a JSON pointer.
    #[error("the trade at {trade} is older than {limit}")]
    TooLate { trade: String, limit: Span },
    #[error("there are no trades of `{0}`")]
    NoSymbol(Symbol),
    #[error("could not reach the Redis that keeps the trades")]
    Redis(#[from] RedisFault),
}

impl From<TradeError> for Problem {
    fn from(error: TradeError) -> Self {
        let known = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match &error {
            TradeError::Invalid { field, rule } => Self::body_field(field, rule).outcome(Outcome::NotApplied),
            TradeError::Reused { trade } => known(&TRADE_ID_REUSED).violation(
                Location::Body,
                format!("{trade}/trade_id"),
                "is the id of another trade",
            ),
            // Neither `applied` nor `not_applied` would be true.
            TradeError::Partly { cause, .. } => {
                Self::from(cause.as_ref().clone()).detail(&error).outcome(Outcome::Unknown)
            }
            TradeError::Behind(_) => known(&FOLD_BEHIND).retry_after(Duration::from_secs(1)),
            TradeError::ArchiveBehind(_) => known(&ARCHIVE_BEHIND).retry_after(Duration::from_secs(60)),
            TradeError::TooLate { trade, limit } => known(&TOO_LATE).violation(
                Location::Body,
                format!("{trade}/timestamp"),
                format!("must be at most {limit} ago"),
            ),
            TradeError::NoSymbol(_) => Self::new(&SYMBOL_NOT_FOUND).detail(&error),
            TradeError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
