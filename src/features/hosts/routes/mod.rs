//! HTTP routes of host metrics: adding and deleting samples ([`write`](mod@write)), reading them ([`read`]), and analysing them
//! ([`analysis`]).

mod analysis;
#[cfg(feature = "forecast")]
mod forecast;
mod read;
mod write;

pub(super) use analysis::*;
#[cfg(feature = "forecast")]
pub(super) use forecast::*;
pub(super) use read::*;
pub(super) use write::*;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::problem::Problem;

/// The organisation whose hosts a request concerns.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct OrganisationQuery {
    /// The credential's organisation. Administrators without an organisation may name any.
    #[param(required = false, example = "grid-one")]
    pub org_id: Option<String>,
}

/// The given number of items, or the default; a number outside 1 to `max` is a problem.
fn within(name: &str, given: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    match given.unwrap_or(default) {
        count if (1..=max).contains(&count) => Ok(count),
        count => Err(Problem::query_parameter(name, format!("must be between 1 and {max}, got {count}"))),
    }
}
