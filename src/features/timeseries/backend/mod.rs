//! The seam below which samples are kept.
//!
//! Above it: validation, families, units, paging, aggregation, errors. Below it a small set of primitives: create,
//! alter, describe, delete, append batches, read raw samples stretch by stretch, delete a window. [`native`] keeps them on
//! Redis's own types and [`module`] in RedisTimeSeries; [`store`] asks the one that has the series of a deployment.

pub(super) mod chunk;
mod module;
mod mover;
pub(super) mod native;
mod outcome;
pub(super) mod packing;
pub(super) mod queue;
mod store;

pub(super) use mover::{Moved, Mover};
pub(super) use outcome::BatchOutcome;
pub(super) use store::{SERIES, Store};

use super::series::{Definition, Sample};
use crate::clock::UnixMillis;

/// Both ends included, Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub from: UnixMillis,
    pub to: UnixMillis,
}

/// From which end a window is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}

/// A series as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub definition: Definition,
    pub created: UnixMillis,
    /// Samples within retention.
    pub count: u64,
    pub chunks: u64,
    /// Of samples and chunks; Redis's own overhead comes on top.
    pub bytes: u64,
    /// The oldest and the newest timestamp within retention.
    pub ends: Option<(UnixMillis, UnixMillis)>,
}

/// Why a sample was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Older than retention, counted back from the newest sample.
    TooOld,
    /// The timestamp has another value, under the policy `block`.
    Duplicate,
    /// The sum of both values is no finite number, under the policy `sum`.
    SumOutOfRange,
}

/// A refused sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Its position in the batch.
    pub at: usize,
    pub reason: Reason,
}

/// A stretch of raw samples.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    /// In the asked order, within the window and retention.
    pub samples: Vec<Sample>,
    /// What is left of the window; `None` at its end.
    pub rest: Option<Window>,
}
