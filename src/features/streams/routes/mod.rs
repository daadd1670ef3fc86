//! The HTTP operations of event streams.

mod consuming;
mod events;
mod groups;

pub(super) use consuming::*;
pub(super) use events::*;
pub(super) use groups::*;

use super::model::MAX_PAGE;
use crate::http::counts::require_count;
use crate::http::problem::Problem;

/// The limit of a page.
fn page_limit(limit: Option<usize>) -> Result<usize, Problem> {
    require_count("limit", limit.unwrap_or(100), MAX_PAGE)
}
