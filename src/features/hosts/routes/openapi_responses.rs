//! The problems that calls of one host can answer, for the API document.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response};

use crate::http::openapi_responses::{ReadResponses, entry};

/// Of calls that look at a host.
#[derive(Debug)]
pub(in super::super) struct HostFailures;

const HOST: &[(&str, &str)] = &[
    ("403", "`forbidden`, `wrong-organisation`"),
    ("404", "`host-not-found`"),
    ("409", "`wrong-type`"),
    ("422", "`invalid-path`, `invalid-query`"),
];

impl IntoResponses for HostFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        ReadResponses::responses().into_iter().chain(HOST.iter().map(entry)).collect()
    }
}
