//! The problem of a series that does not exist.

use super::super::READ;
use super::super::error::TimeseriesError;
use super::super::service::TimeseriesService;
use crate::close_matches::advice;
use crate::http::auth::Principal;
use crate::http::problem::Problem;

/// The problem of a failed read. If the series does not exist, it names similar ones that the caller may read, and how to
/// create one.
pub(super) async fn explained(timeseries: &TimeseriesService, caller: &Principal, error: TimeseriesError) -> Problem {
    let TimeseriesError::NotFound(key) = &error else { return Problem::from(error) };
    // Without Redis, there are no suggestions.
    let mut close = timeseries.index.close_to(key).await.unwrap_or_default();
    close.retain(|key| caller.may_access(READ, key.as_str()));
    let detail = format!("{error}{}", advice(&close, "PUT /timeseries/{key} or a first sample creates a series"));
    Problem::from(error).detail(detail)
}
