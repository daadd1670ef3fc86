//! Errors of the time series and the problems that they become.

use super::aggregate::GapTooLong;
use super::chunk::ChunkError;
use super::query::Violation;
use super::series::SeriesKey;
use crate::http::problem::{self, Problem, ProblemKind};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    SERIES_NOT_FOUND = "series-not-found", NOT_FOUND, "The series does not exist",
        "Create it with PUT /timeseries/{key}; only series of a configured family are created by their first sample. A series expires if it receives no sample for its whole retention.";
    SERIES_EMPTY = "series-empty", NOT_FOUND, "The series has no samples",
        "The series exists. Write a sample first.";
    SERIES_EXISTS = "series-exists", CONFLICT, "The series exists with another definition",
        "GET shows its definition; PATCH changes it.";
    ROLLUP_NOT_FOUND = "rollup-not-found", NOT_FOUND, "The series has no such rollup",
        "GET /timeseries/{key}/rollups lists them; the last part of the path is the id.";
    ROLLUP_EXISTS = "rollup-exists", CONFLICT, "The rollup exists with another retention",
        "Delete the rollup and add it again: it is then filled from the stored samples.";
    TOO_MANY_ROLLUPS = "too-many-rollups", CONFLICT, "The series has reached its limit of rollups",
        "Delete one that is no longer used; timeseries.rollups is the limit.";
    RANGE_TOO_WIDE = "range-too-wide", UNPROCESSABLE_ENTITY, "The request would read or return too much",
        "Request a shorter window. Use shorter buckets if one has too many samples, and longer buckets if too many are empty. The detail names the limit; the limits are the settings scan_samples, percentile_samples, max_points, group_series and group_points of timeseries.";
    LINES_REFUSED = "lines-refused", BAD_REQUEST, "Some lines were refused; all others are stored",
        "errors names the lines. The other lines need not be sent again, but can be.";
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
pub(super) static NAMED: &[&ProblemKind] = &[&problem::INVALID_PATH, &problem::INVALID_QUERY];
/// The problems of a load in line protocol.
pub(super) static LINES: &[&ProblemKind] = &[
    &LINES_REFUSED,
    &problem::BODY_INCOMPLETE,
    &problem::UNSUPPORTED_MEDIA_TYPE,
    &problem::INVALID_QUERY,
    &TOO_MANY_REFUSED,
];

/// Why an operation on a series failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TimeseriesError {
    #[error("a query parameter is not valid")]
    InvalidQuery(Violation),
    #[error("a field of the body is not valid")]
    InvalidBody(Violation),
    #[error("there is no series `{0}`")]
    NotFound(SeriesKey),
    #[error("`{0}` has no samples")]
    Empty(SeriesKey),
    #[error("`{0}` exists with another definition")]
    Exists(SeriesKey),
    #[error("`{key}` has no rollup `{id}`")]
    NoRollup { key: SeriesKey, id: String },
    #[error("`{key}` has the rollup `{id}` with another retention")]
    RollupExists { key: SeriesKey, id: String },
    #[error("a series has {limit} rollups at most")]
    TooManyRollups { limit: usize },
    #[error("more than {limit} samples would have to be read")]
    TooWide { limit: usize },
    #[error("a bucket has more than the {limit} samples of which a percentile is taken")]
    BucketTooLarge { limit: usize },
    #[error("too many buckets without samples lie between {} and {}: ask for longer ones, or without `empty` and `fill`", .0.from, .0.to)]
    GapTooLong(GapTooLong),
    #[error("the groups would have more than {limit} series")]
    TooManySeries { limit: usize },
    #[error("the groups would have more than {limit} points")]
    TooManyPoints { limit: usize },
    #[error("what Redis holds cannot be read")]
    Corrupt(#[from] ChunkError),
    /// A read, or a change that may be made again without harm.
    #[error("could not reach the series")]
    Redis(#[from] RedisFault),
    /// Samples were on their way; some may be stored.
    #[error("could not store all samples")]
    Interrupted { fault: RedisFault, stored: Progress },
}

impl TimeseriesError {
    /// A fault in the middle of a write, with what was stored before.
    pub(super) fn interrupted(fault: RedisFault, accepted: usize) -> Self {
        if accepted == 0 && fault.outcome == Outcome::NotApplied {
            return Self::Redis(fault);
        }
        let accepted = u64::try_from(accepted).unwrap_or(u64::MAX);
        Self::Interrupted { fault, stored: Progress { accepted } }
    }

    /// The failure of a later step: what the caller asked for is done.
    pub(super) fn applied(mut self) -> Self {
        if let Self::Redis(fault) = &mut self {
            fault.outcome = Outcome::Applied;
        }
        self
    }

    /// Whether one request has read all that it may.
    pub(super) fn is_too_much(&self) -> bool {
        matches!(self, Self::TooWide { .. })
    }
}

impl From<GapTooLong> for TimeseriesError {
    fn from(gap: GapTooLong) -> Self {
        Self::GapTooLong(gap)
    }
}

/// How far a write came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Samples that Redis confirmed, whether they changed their series or were there already.
    pub accepted: u64,
}

impl Progress {
    /// For a problem's detail.
    pub(super) fn advice(self) -> String {
        format!(
            "{} samples were stored for certain; sending all of them again is safe under every duplicate policy but `sum`",
            self.accepted
        )
    }

    /// What became of a request that failed after this; `last` is what became of its last step.
    pub(super) fn outcome(self, last: Outcome) -> Outcome {
        // Some samples are stored and others are not: neither of the certain outcomes would be true.
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
            | TimeseriesError::BucketTooLarge { .. }
            | TimeseriesError::GapTooLong(_)
            | TimeseriesError::TooManySeries { .. }
            | TimeseriesError::TooManyPoints { .. } => &RANGE_TOO_WIDE,
            TimeseriesError::InvalidQuery(violation) => return violation.clone().of_query(),
            TimeseriesError::InvalidBody(violation) => return violation.clone().of_body(),
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
