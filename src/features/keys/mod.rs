//! The keys that the service encrypts and signs with, by their fingerprints. The keys themselves are never shown.
//!
//! Files: `model.rs`, `routes.rs`. Nothing is stored, and Redis is not asked.

mod model;
mod routes;

use std::sync::Arc;

use super::audit::api as audit;
use super::feature::{Feature, StartError};
use super::json::api as json;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{FORBIDDEN, INTERNAL, INVALID_QUERY, UNAUTHENTICATED};
use model::{KeysView, NamedKey};

pub static FEATURE: Feature = Feature {
    name: "keys",
    mount,
    access: &[Access::scoped("GET", "/admin/keys", ADMIN).problems(&[&[
        &UNAUTHENTICATED,
        &FORBIDDEN,
        &INTERNAL,
        &INVALID_QUERY,
    ]])],
    problems: &[],
    scripts: &[],
    section: None,
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let json = json::keys(&deps.config)?;
    let json = json.into_iter().map(|key| NamedKey { id: key.id, fingerprint: key.fingerprint }).collect();
    let audit = audit::service(deps)?;
    let audit = audit.ring().map(|ring| ring.ids().map(str::to_owned).collect()).unwrap_or_default();
    let view = Arc::new(KeysView { json, audit });
    Ok(OpenApiRouter::new().routes(routes!(routes::list_keys)).with_state(view))
}
