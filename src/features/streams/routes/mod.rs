//! The HTTP operations of event streams.

mod consuming;
mod events;
mod groups;

pub(super) use consuming::*;
pub(super) use events::*;
pub(super) use groups::*;

use crate::http::problem::Problem;

/// The limit of a page.
fn page_limit(limit: Option<usize>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(100);
    if !(1..=super::model::MAX_PAGE).contains(&limit) {
        let rule = format!("must be between 1 and {}, got {limit}", super::model::MAX_PAGE);
        return Err(Problem::query_parameter("limit", rule));
    }
    Ok(limit)
}
