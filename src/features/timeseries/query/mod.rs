//! The parameters of reads: their parsing and validation.
//!
//! Files, in reading order: `list.rs` and `labels.rs` (lists and filters), `range.rs` (a window of one series) with
//! `bucket.rs` (its buckets), and `multi.rs` (windows of many series).

mod bucket;
mod labels;
mod list;
mod multi;
mod range;

pub(super) use crate::config::value::Zone;
pub(super) use bucket::{Align, BucketLength};
pub(super) use labels::{LabelFilter, Matcher};
pub(super) use list::ListQuery;
pub(super) use multi::{ManyCursor, ManyPlan, ManyQuery, Reducer};
pub(super) use range::RangeQuery;

use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Violation;
use super::series::{MAX_TIMESTAMP, SeriesKey};
use super::window::Window;
use crate::clock::UnixMillis;
use crate::http::times::QueryTime;

/// The path parameters of a series.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SeriesPath {
    /// The key of the series: 1 to 512 bytes without control characters.
    #[param(value_type = String, min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$",
            example = "energy:consumption:MTR-001")]
    pub key: SeriesKey,
}

/// The query parameters of statistics.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WindowQuery {
    /// The start of the window, inclusive; no lower limit if absent.
    #[param(inline, example = "-24h")]
    pub from: Option<QueryTime>,
    /// The end of the window, inclusive; no upper limit if absent.
    #[param(inline, example = "now")]
    pub to: Option<QueryTime>,
}

impl WindowQuery {
    /// # Errors
    /// [`Violation`] if the window ends before it starts.
    pub(super) fn window(&self, now: UnixMillis) -> Result<Window, Violation> {
        let from = self.from.map_or(0, |from| from.resolve(now));
        let to = self.to.map_or(MAX_TIMESTAMP, |to| to.resolve(now));
        if from > to {
            return Err(Violation::new("from", format!("must not be after `to` ({to}), got {from}")));
        }
        Ok(Window { from, to })
    }
}

/// Checks how many items a page may have.
///
/// # Errors
/// [`Violation`] if the number is out of range.
fn checked_limit(name: &'static str, limit: usize, max: usize) -> Result<usize, Violation> {
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(Violation::new(name, format!("must be between 1 and {max}, got {limit}")))
}

/// The query parameters of a deletion. Both are required, so that a missing parameter does not empty a series.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeletionQuery {
    /// The start of the window, inclusive.
    #[param(inline, example = "-48h")]
    pub from: QueryTime,
    /// The end of the window, inclusive.
    #[param(inline, example = "-24h")]
    pub to: QueryTime,
}

impl DeletionQuery {
    /// # Errors
    /// [`Violation`] if the window ends before it starts.
    pub(super) fn window(&self, now: UnixMillis) -> Result<Window, Violation> {
        WindowQuery { from: Some(self.from), to: Some(self.to) }.window(now)
    }
}
