//! The doors of host metrics: samples in ([`ingest`]), samples out ([`read`]), what is said of them ([`analysis`]), and
//! what administrators do ([`admin`]).

mod admin;
mod analysis;
mod ingest;
mod read;
mod sample_body;

pub(super) use admin::*;
pub(super) use analysis::*;
pub(super) use ingest::*;
pub(super) use read::*;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::problem::Problem;

/// What every read may say.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OrganisationQuery {
    /// The organisation; it must be the credential's. Administrators without one may name any.
    #[serde(rename = "orgId")]
    #[param(rename = "orgId", required = false, example = "grid-one")]
    pub org_id: Option<String>,
}

/// A number of items within its bounds.
fn within(name: &str, given: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    match given.unwrap_or(default) {
        count if (1..=max).contains(&count) => Ok(count),
        count => Err(Problem::query_parameter(name, format!("is {count}; 1 to {max} are allowed"))),
    }
}
