//! Errors of event streams, and the problems that each operation can return.

use super::names::{ShortName, StreamName};
use crate::http::problem::{
    BODY_TOO_LARGE, INVALID_HEADER, INVALID_PATH, INVALID_QUERY, Location, Problem, ProblemKind, WRONG_TYPE,
};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    STREAM_NOT_FOUND = "stream-not-found", NOT_FOUND, "There is no such stream",
        "A stream exists from its first event. POST /streams/{stream}/events appends events.";
    GROUP_NOT_FOUND = "group-not-found", NOT_FOUND, "The stream has no such group",
        "PUT /streams/{stream}/groups/{group} creates a group. A group that is not used for streams.group_idle is deleted.";
    VERSION_CONFLICT = "version-conflict", CONFLICT, "The stream has another version",
        "Another client has appended events. Nothing was appended. Read the events after the version that you know, decide \
         again, and append with the version of the stream, which is in current_version.";
    EVENT_ID_USED = "event-id-used", CONFLICT, "An event with this id is in the stream",
        "Some of the events were appended before, together with others or in another order. Nothing was appended.";
    STREAM_FULL = "stream-full", INSUFFICIENT_STORAGE, "The stream has no room for further events",
        "The stream has streams.max_events events, and a group has not acknowledged the oldest of them. Nothing was appended. \
         Let the group catch up, or delete it.";
    TOO_MANY_STREAMS = "too-many-streams", INSUFFICIENT_STORAGE, "There is no room for another stream",
        "There are streams.max_streams streams, or this credential has created half of them. Nothing was appended. Delete streams \
         that are no longer needed.";
    TOO_MANY_GROUPS = "too-many-groups", CONFLICT, "The stream has no room for another group",
        "A stream has at most 64 groups. Delete one first.";
    RECEIPT_STALE = "receipt-stale", CONFLICT, "The receipt belongs to an earlier delivery",
        "The event is acknowledged, or was delivered again after its timeout. If the work is not done elsewhere, another \
         consumer does it. Nothing was changed.";
}

/// The problems of every operation on a stream.
pub(super) static STREAM: &[&ProblemKind] =
    &[&STREAM_NOT_FOUND, &INVALID_PATH, &INVALID_QUERY, &INVALID_HEADER, &WRONG_TYPE];
/// The problems of appending.
pub(super) static APPEND: &[&ProblemKind] = &[
    &VERSION_CONFLICT,
    &EVENT_ID_USED,
    &STREAM_FULL,
    &TOO_MANY_STREAMS,
    &INVALID_PATH,
    &INVALID_QUERY,
    &INVALID_HEADER,
    &WRONG_TYPE,
];
/// The problems of an operation on a group.
pub(super) static GROUP: &[&ProblemKind] = &[&GROUP_NOT_FOUND];

#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the stream `{0}` has no events")]
    NotFound(StreamName),
    #[error("the stream `{stream}` has no group `{group}`")]
    GroupNotFound { stream: StreamName, group: ShortName },
    #[error("the stream `{stream}` has version {current}")]
    VersionConflict { stream: StreamName, current: u64 },
    #[error("the stream `{stream}` has an event with one of these ids")]
    IdUsed { stream: StreamName, current: u64 },
    #[error("the stream `{stream}` has {limit} events, and a group needs the oldest")]
    Full { stream: StreamName, limit: usize },
    #[error("there are {limit} streams")]
    TooManyStreams { limit: usize },
    #[error("this credential has created {share} streams, half of those that there may be")]
    StreamShareTaken { share: usize },
    #[error("the stream has {limit} groups")]
    TooManyGroups { limit: usize },
    #[error("receipts of earlier deliveries: {}", receipts.join(", "))]
    ReceiptStale { receipts: Vec<String> },
    #[error("{} must have at most {limit} bytes, got {size}", pointer.trim_start_matches('/'))]
    TooLarge { pointer: String, limit: usize, size: usize },
    #[error("{} {rule}", pointer.trim_start_matches('/'))]
    Invalid { pointer: String, rule: String },
    #[error("could not reach the Redis that keeps the streams")]
    Redis(#[from] RedisFault),
}

impl StreamError {
    pub(super) fn invalid(pointer: &str, rule: impl Into<String>) -> Self {
        Self::Invalid { pointer: pointer.to_owned(), rule: rule.into() }
    }

    /// Marks the requested change as applied, if only a later step failed.
    pub(super) fn applied(self) -> Self {
        if let Self::Redis(fault) = self { fault.applied().into() } else { self }
    }
}

impl From<StreamError> for Problem {
    fn from(error: StreamError) -> Self {
        let known = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match &error {
            StreamError::NotFound(_) => known(&STREAM_NOT_FOUND),
            StreamError::GroupNotFound { .. } => known(&GROUP_NOT_FOUND),
            StreamError::VersionConflict { current, .. } => known(&VERSION_CONFLICT).current_version(*current),
            StreamError::IdUsed { current, .. } => known(&EVENT_ID_USED).current_version(*current),
            StreamError::Full { .. } => known(&STREAM_FULL),
            StreamError::TooManyStreams { .. } | StreamError::StreamShareTaken { .. } => known(&TOO_MANY_STREAMS),
            StreamError::TooManyGroups { .. } => known(&TOO_MANY_GROUPS),
            StreamError::ReceiptStale { .. } => known(&RECEIPT_STALE),
            StreamError::TooLarge { pointer, limit, .. } => {
                known(&BODY_TOO_LARGE).violation(Location::Body, pointer, format!("must have at most {limit} bytes"))
            }
            StreamError::Invalid { pointer, rule } => Self::body_field(pointer, rule).outcome(Outcome::NotApplied),
            StreamError::Redis(fault) => Self::from(fault.clone()),
        }
    }
}
