//! What the audit log learns of requests. The audit capability records it, in a [layer](super::layer).
//!
//! The access row of an operation says whether its requests are recorded, so a new operation that needs the scope `admin`
//! is recorded without further code.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::Method;
use serde_json::{Map, Value};
use utoipa::openapi::OpenApi;

use super::access::{Access, Audit};
use super::auth::Principal;
use super::openapi::with_rows;
use super::openapi_responses;
use super::path_parameters::parameters;
use super::problem::AUDIT_UNAVAILABLE;
use super::request_id::RequestId;

/// A request extension: the audit log records this request.
#[derive(Clone, Debug)]
pub struct Audited {
    /// The path of the route as its access row states it.
    pub route: &'static str,
    pub request_id: RequestId,
    /// Whether it is recorded before it acts.
    pub is_recorded_first: bool,
}

impl Audited {
    /// The extension of a request for an operation, if it is recorded.
    pub(super) fn of(audit: Audit, route: &'static str, request: &Request, id: &RequestId) -> Option<Self> {
        let is_recorded_first = match audit {
            Audit::None => return None,
            Audit::Counted => false,
            Audit::Recorded => true,
            Audit::RecordedWith(name) => {
                let query = request.uri().query().unwrap_or_default();
                let is_given = form_urlencoded::parse(query.as_bytes()).any(|(known, _)| known == name);
                return is_given.then(|| Self { route, request_id: id.clone(), is_recorded_first: true });
            }
        };
        Some(Self { route, request_id: id.clone(), is_recorded_first })
    }

    /// The names of the route's parameters, and their values in the path of the request.
    pub fn parameters(&self, path: &str) -> Vec<(&'static str, String)> {
        // A path that is not valid is rejected by its handler.
        let found = parameters(self.route, path).unwrap_or_default();
        found.into_iter().map(|(name, value)| (name, value.into_owned())).collect()
    }
}

/// A request extension: the address from which the connection came, which may be that of a proxy.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// A response extension: what the audit log notes about the outcome. It must not contain values of callers.
#[derive(Clone, Debug, Default)]
pub struct AuditDetails(pub Map<String, Value>);

/// A request that was answered 401 or 403.
#[derive(Debug)]
pub struct Denied<'a> {
    pub method: &'a Method,
    /// The path of the route as its access row states it.
    pub route: &'static str,
    /// Absent if the credential is not valid.
    pub caller: Option<&'a Principal>,
    pub peer: Option<Peer>,
    /// `unauthenticated` or `forbidden`.
    pub reason: &'static str,
}

/// Documents that recorded operations fail if the audit log is not available.
pub fn describe(document: &mut OpenApi, rows: &[Access]) {
    for (operation, row) in with_rows(document, rows) {
        if matches!(row.audit(), Audit::Recorded | Audit::RecordedWith(_)) {
            openapi_responses::add(operation, "503", AUDIT_UNAVAILABLE.slug);
        }
    }
}
