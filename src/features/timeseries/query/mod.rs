//! The parameters of reads.

mod align;
mod bucket;
mod labels;
mod list;
mod multi;
mod range;
mod zone;

pub(super) use align::Align;
pub(super) use bucket::BucketLength;
pub(super) use labels::{LabelFilter, Matcher};
pub(super) use list::ListQuery;
pub(super) use multi::{Grouping, ManyCursor, ManyPlan, ManyQuery, Reducer};
pub(super) use range::RangeQuery;
pub(super) use zone::Zone;

use serde::Deserialize;
use utoipa::IntoParams;

use super::series::{MAX_TIMESTAMP, SeriesKey};
use super::window::Window;
use crate::clock::UnixMillis;
use crate::http::problem::Problem;
use crate::http::times::QueryTime;

/// A parameter that breaks a rule, whether it came in a query or in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    name: &'static str,
    rule: String,
}

impl Violation {
    pub(super) fn new(name: &'static str, rule: impl Into<String>) -> Self {
        Self { name, rule: rule.into() }
    }

    /// `invalid-query`.
    pub(super) fn of_query(self) -> Problem {
        Problem::query_parameter(self.name, self.rule)
    }

    /// `invalid-body`.
    pub(super) fn of_body(self) -> Problem {
        Problem::body_field(&format!("/{}", self.name), self.rule)
    }
}

/// The path of a series.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SeriesPath {
    /// The series: 1 to 512 bytes without control characters.
    #[param(value_type = String, min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$",
            example = "energy:consumption:MTR-001")]
    pub key: SeriesKey,
}

/// The window of statistics.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WindowQuery {
    /// The oldest time of the window, included; the beginning when absent.
    #[param(inline, example = "-24h")]
    pub from: Option<QueryTime>,
    /// The newest time of the window, included; the end when absent.
    #[param(inline, example = "now")]
    pub to: Option<QueryTime>,
}

impl WindowQuery {
    /// # Errors
    /// [`Violation`] when the window ends before it begins.
    pub(super) fn window(&self, now: UnixMillis) -> Result<Window, Violation> {
        let from = self.from.map_or(0, |from| from.resolve(now));
        let to = self.to.map_or(MAX_TIMESTAMP, |to| to.resolve(now));
        if from > to {
            return Err(Violation::new("from", "must not be after `to`"));
        }
        Ok(Window { from, to })
    }
}

/// The window of a deletion: it must be said, so that a lost parameter does not empty a series.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeletionQuery {
    /// The oldest time of the window, included.
    #[param(inline, example = "-24h")]
    pub from: QueryTime,
    /// The newest time of the window, included.
    #[param(inline, example = "now")]
    pub to: QueryTime,
}

impl DeletionQuery {
    /// # Errors
    /// [`Violation`] when the window ends before it begins.
    pub(super) fn window(&self, now: UnixMillis) -> Result<Window, Violation> {
        WindowQuery { from: Some(self.from), to: Some(self.to) }.window(now)
    }
}
