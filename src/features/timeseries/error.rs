//! The errors of time series operations, and the problems that clients receive.

use std::borrow::Cow;

use super::chunk::ChunkError;
use super::series::SeriesKey;
use crate::clock::UnixMillis;
use crate::http::problem::{self, Problem, ProblemKind};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    SERIES_NOT_FOUND = "series-not-found", NOT_FOUND, "The series does not exist",
        "Create it with PUT /timeseries/{key}. A first sample creates it if it belongs to a family, or if timeseries.create_unknown is true. A series expires if it receives no sample for its whole retention.";
    SERIES_EMPTY = "series-empty", NOT_FOUND, "The series has no samples",
        "The series exists, but has no samples yet. Write a sample first.";
    SERIES_EXISTS = "series-exists", CONFLICT, "The series exists with another definition",
        "GET returns its definition; PATCH changes it.";
    ROLLUP_NOT_FOUND = "rollup-not-found", NOT_FOUND, "The series has no such rollup",
        "GET /timeseries/{key}/rollups lists the rollups; the last segment of the path must be the id of one of them.";
    ROLLUP_EXISTS = "rollup-exists", CONFLICT, "The rollup exists with another retention",
        "Delete the rollup and add it again. It is then filled from the stored samples.";
    TOO_MANY_ROLLUPS = "too-many-rollups", CONFLICT, "The series has reached its limit of rollups",
        "Delete a rollup that is no longer used. A series has at most 16.";
    RANGE_TOO_WIDE = "range-too-wide", UNPROCESSABLE_ENTITY, "The request would read or return too much",
        "Request a shorter window. Use shorter buckets if one has too many samples, and longer buckets if too many are empty. The detail names the limit.";
    LINES_REFUSED = "lines-refused", BAD_REQUEST, "Some lines were refused; all others are stored",
        "errors lists the refused lines. The other lines are stored and need not be sent again; sending them again is safe.";
    SAMPLES_REFUSED = "samples-refused", UNPROCESSABLE_ENTITY, "All samples were refused, and nothing was stored",
        "errors lists the first refused samples with their codes. Fix them, or create their series, and send them again.";
    TOO_MANY_REFUSED = "too-many-refused", UNPROCESSABLE_ENTITY, "Too many lines of the stream cannot be read",
        "The detail says how many samples were stored. Fix the stream and send all of it again: samples that are already stored are not duplicated.";
}

/// The problems of an operation on one existing series.
pub(super) static SERIES: &[&ProblemKind] =
    &[&SERIES_NOT_FOUND, &problem::WRONG_TYPE, &problem::INVALID_PATH, &problem::INVALID_QUERY];
/// The problems of an operation on the series of the market's volume, which no path parameter names.
pub(super) static MARKET_VOLUME: &[&ProblemKind] = &[&SERIES_NOT_FOUND, &problem::WRONG_TYPE, &problem::INVALID_QUERY];
/// The problems of an operation that reads a window, in addition to [`SERIES`].
pub(super) static WINDOW: &[&ProblemKind] = &[&RANGE_TOO_WIDE];
/// The problems of a load into series that a path parameter names.
pub(super) static NAMED: &[&ProblemKind] = &[&problem::INVALID_PATH, &problem::INVALID_QUERY, &SAMPLES_REFUSED];
/// The problems of a load in line protocol.
pub(super) static LINES: &[&ProblemKind] = &[
    &LINES_REFUSED,
    &problem::BODY_INCOMPLETE,
    &problem::BODY_TOO_LARGE,
    &problem::REQUEST_TIMEOUT,
    &problem::UNSUPPORTED_MEDIA_TYPE,
    &problem::INVALID_QUERY,
    &TOO_MANY_REFUSED,
];

/// A parameter that violates a rule. Some parameters occur in queries and in bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    name: Cow<'static, str>,
    rule: String,
}

impl Violation {
    /// `name` is empty for a rule of the whole body.
    pub(super) fn new(name: impl Into<Cow<'static, str>>, rule: impl Into<String>) -> Self {
        Self { name: name.into(), rule: rule.into() }
    }
}

/// Why an operation on a series failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TimeseriesError {
    #[error("invalid path parameter")]
    InvalidPath(Violation),
    #[error("invalid query parameter")]
    InvalidQuery(Violation),
    #[error("invalid field in the body")]
    InvalidBody(Violation),
    #[error("the series `{0}` does not exist")]
    NotFound(SeriesKey),
    #[error("the series `{0}` has no samples")]
    Empty(SeriesKey),
    #[error("the series `{0}` exists with another definition")]
    Exists(SeriesKey),
    #[error("the series `{key}` has no rollup `{id}`")]
    NoRollup { key: SeriesKey, id: String },
    #[error("the rollup `{id}` of the series `{key}` exists with another retention")]
    RollupExists { key: SeriesKey, id: String },
    #[error("a series can have at most {limit} rollups")]
    TooManyRollups { limit: usize },
    #[error("the request would read more than {limit} samples")]
    TooWide { limit: usize },
    #[error(
        "there are too many empty buckets between {from} and {to}: request longer buckets, or omit `empty` and `fill`"
    )]
    GapTooLong { from: UnixMillis, to: UnixMillis },
    /// The request needs more than a limit allows: the series or points of groups, or the samples of one bucket.
    #[error("{0}")]
    LimitExceeded(String),
    #[error("the stored data of the series is corrupt")]
    Corrupt(#[from] ChunkError),
    /// Redis failed during a read, or during a change that is safe to repeat.
    #[error("Redis failed")]
    Redis(#[from] RedisFault),
    /// Redis failed during a write of samples; some of them may be stored.
    #[error("not all samples were stored")]
    Interrupted { fault: RedisFault, stored: Progress },
    /// `first` describes the first invalid line.
    #[error("{lines} lines are invalid{first}; {}", .stored.advice())]
    TooManyRefused { lines: usize, first: String, stored: Progress },
    #[error("the body ended early, paused for too long, or expands too much; {}", .stored.advice())]
    BodyEnded { problem: Box<Problem>, stored: Progress },
}

impl TimeseriesError {
    /// Creates the error of a write that failed after Redis had confirmed `accepted` samples.
    pub(super) fn interrupted(fault: RedisFault, accepted: usize) -> Self {
        if accepted == 0 && fault.outcome == Outcome::NotApplied {
            return Self::Redis(fault);
        }
        let accepted = u64::try_from(accepted).unwrap_or(u64::MAX);
        Self::Interrupted { fault, stored: Progress { accepted } }
    }

    /// Marks the requested change as applied, if only a later step failed.
    pub(super) fn applied(self) -> Self {
        if let Self::Redis(fault) = self { fault.applied().into() } else { self }
    }

    /// Whether the request reached its limit of samples.
    pub(super) fn is_too_much(&self) -> bool {
        matches!(self, Self::TooWide { .. })
    }
}

/// The number of samples that a write has stored so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Samples that Redis confirmed, including those that were already stored.
    pub accepted: u64,
}

impl Progress {
    /// The sentence for the detail of a problem.
    pub(super) fn advice(self) -> String {
        format!(
            "at least {} samples were stored; sending all of them again is safe under every duplicate policy except `sum`",
            self.accepted
        )
    }

    /// The outcome of a request whose last step failed with the outcome `last`.
    pub(super) fn outcome(self, last: Outcome) -> Outcome {
        // Some samples are stored and others may not be, so neither `applied` nor `not_applied` would be true.
        if self.accepted > 0 { Outcome::Unknown } else { last }
    }
}

impl From<TimeseriesError> for Problem {
    fn from(error: TimeseriesError) -> Self {
        let kind = match &error {
            TimeseriesError::NotFound(_) => &SERIES_NOT_FOUND,
            TimeseriesError::Empty(_) => &SERIES_EMPTY,
            TimeseriesError::Exists(_) => &SERIES_EXISTS,
            TimeseriesError::NoRollup { .. } => &ROLLUP_NOT_FOUND,
            TimeseriesError::RollupExists { .. } => &ROLLUP_EXISTS,
            TimeseriesError::TooManyRollups { .. } => &TOO_MANY_ROLLUPS,
            TimeseriesError::TooWide { .. }
            | TimeseriesError::GapTooLong { .. }
            | TimeseriesError::LimitExceeded(_) => &RANGE_TOO_WIDE,
            TimeseriesError::InvalidPath(Violation { name, rule }) => return Self::path_segment(name, rule),
            TimeseriesError::InvalidQuery(Violation { name, rule }) => return Self::query_parameter(name, rule),
            TimeseriesError::InvalidBody(Violation { name, rule }) if name.is_empty() => {
                return Self::body_field("", rule);
            }
            TimeseriesError::InvalidBody(Violation { name, rule }) => {
                return Self::body_field(&format!("/{name}"), rule);
            }
            TimeseriesError::TooManyRefused { stored, .. } => {
                let outcome = stored.outcome(Outcome::NotApplied);
                return Self::new(&TOO_MANY_REFUSED).detail(&error).outcome(outcome);
            }
            TimeseriesError::BodyEnded { problem, stored } => {
                let outcome = stored.outcome(Outcome::NotApplied);
                return Self::clone(problem).detail(&error).outcome(outcome);
            }
            TimeseriesError::Corrupt(_) => return Self::new(&problem::INTERNAL).caused_by(error),
            TimeseriesError::Redis(fault) => return Self::from(fault.clone()),
            TimeseriesError::Interrupted { fault, stored } => {
                let outcome = stored.outcome(fault.outcome);
                let detail = format!("{fault}; {}", stored.advice());
                return Self::from(fault.clone()).detail(detail).outcome(outcome);
            }
        };
        Self::new(kind).detail(&error)
    }
}
