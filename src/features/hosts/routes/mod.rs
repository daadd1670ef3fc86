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

/// The organisation whose hosts a request concerns.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct OrganisationQuery {
    /// The credential's organisation. Administrators without an organisation may name any.
    #[param(required = false, example = "grid-one")]
    pub org_id: Option<String>,
}
