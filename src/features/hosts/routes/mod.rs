//! The doors of host metrics: samples in ([`ingest`]), samples out ([`read`]), what is said of them ([`analysis`]), and
//! what administrators do ([`admin`]).

mod admin;
mod analysis;
mod ingest;
mod read;

pub(super) use admin::*;
pub(super) use analysis::*;
pub(super) use ingest::*;
pub(super) use read::*;

use serde::Deserialize;
use utoipa::IntoParams;

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
