//! HTTP routes of host metrics: adding samples ([`ingest`]), reading them ([`read`]), analysing them ([`analysis`]), and
//! administration ([`admin`]).

mod admin;
mod analysis;
#[cfg(feature = "forecast")]
mod forecast;
mod ingest;
mod read;
mod samples_body;

pub(super) use admin::*;
pub(super) use analysis::*;
#[cfg(feature = "forecast")]
pub(super) use forecast::*;
pub(super) use ingest::*;
pub(super) use read::*;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::problem::Problem;

/// The organisation whose hosts a request concerns.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OrganisationQuery {
    /// The credential's organisation. Administrators without an organisation may name any.
    #[serde(rename = "orgId")]
    #[param(rename = "orgId", required = false, example = "grid-one")]
    pub org_id: Option<String>,
}

/// The given number of items, or the default; a number outside 1 to `max` is a problem.
fn within(name: &str, given: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    match given.unwrap_or(default) {
        count if (1..=max).contains(&count) => Ok(count),
        count => Err(Problem::query_parameter(name, format!("must be between 1 and {max}, got {count}"))),
    }
}
