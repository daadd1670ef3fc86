//! A range of time, and the direction in which it is read.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::clock::UnixMillis;

/// A range of time in Unix milliseconds; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub from: UnixMillis,
    pub to: UnixMillis,
}

/// The order in which the samples of a window are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SeriesOrder)]
pub(super) enum Order {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}
