//! A capability, as the rest of the crate sees it.

use std::error::Error;

use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::OpenApiRouter;
use crate::http::problem::ProblemKind;
use crate::redis::LuaScript;

/// Why a capability cannot start.
pub type StartError = Box<dyn Error + Send + Sync>;

/// A row of [`FEATURES`](super::FEATURES).
pub struct Feature {
    /// The name of its folder and of its OpenAPI tag.
    pub name: &'static str,
    /// Builds the service and its routes. It does no I/O, so the API document can be written and the service can start
    /// without Redis.
    pub mount: fn(&Deps) -> Result<OpenApiRouter, StartError>,
    /// Who may call its operations; every operation has a row.
    pub access: &'static [Access],
    /// The problem kinds that only this capability returns.
    pub problems: &'static [&'static ProblemKind],
    /// The scripts that it calls.
    pub scripts: &'static [&'static LuaScript],
    /// Its table of the configuration.
    pub section: Option<SectionCheck>,
}
