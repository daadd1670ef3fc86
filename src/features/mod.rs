//! The capabilities, one folder and one row each.

pub mod cache;
pub mod health;
pub mod hosts;
pub mod idempotency;
pub mod json;
pub mod locks;
pub mod metrics;
pub mod ratelimit;
pub mod timeseries;

use std::error::Error;

use utoipa_axum::router::OpenApiRouter;

use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::problem::ProblemKind;
use crate::redis::LuaScript;

/// Why a capability does not start.
pub type StartError = Box<dyn Error + Send + Sync>;

/// A capability, as the rest of the house sees it.
pub struct Feature {
    /// Its folder's and its tag's name.
    pub name: &'static str,
    /// Builds its service and routes; does no I/O, so that the document is written and the service starts without Redis.
    pub mount: fn(&Deps) -> Result<OpenApiRouter, StartError>,
    /// Who may call its operations; every operation has a row.
    pub access: &'static [Access],
    /// The kinds of error of its own.
    pub problems: &'static [&'static ProblemKind],
    /// The scripts it calls.
    pub scripts: &'static [&'static LuaScript],
    /// Its table of the configuration.
    pub section: Option<SectionCheck>,
}

/// Every capability of the service.
pub static FEATURES: &[&Feature] = &[
    &cache::FEATURE,
    &health::FEATURE,
    &hosts::FEATURE,
    &idempotency::FEATURE,
    &json::FEATURE,
    &locks::FEATURE,
    &metrics::FEATURE,
    &ratelimit::FEATURE,
    &timeseries::FEATURE,
];
