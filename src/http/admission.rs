//! The checks that a request passes before its handler runs: load, credential, scope, headers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};

use super::access::{Budget, Fencing, Guard, Keys, Weight};
use super::auth::{self, Caller, Principal, Visitor};
use super::connection::ProbesOnly;
use super::middleware::Middleware;
use super::problem::{self, Problem};
use super::route_table::Route;
use super::slots::{Admission, NoSlot, Slot};
use super::{compression, conditional, durability, fencing, legacy_prefix, memory, path_parameters};
use crate::redis::Outcome;
use crate::redis::durability::Durability;

impl Middleware {
    /// Admits or rejects the request. A guarded route receives its caller as a [`Principal`], as does one that
    /// judges callers itself if the request has a credential; a public route receives a [`Visitor`].
    pub(super) fn admit(&self, request: &mut Request, route: Option<&Route>) -> Result<Admission, Problem> {
        check_transfer_coding(request.headers())?;
        let is_counted = !route.is_some_and(|route| route.weight == Weight::Probe);
        if is_counted && request.extensions().get::<ProbesOnly>().is_some() {
            let detail = "this replica has http.max_connections connections";
            return Err(overloaded(NoSlot::Full).detail(detail));
        }
        let mut slot = if is_counted { Some(self.slots.take().map_err(overloaded)?) } else { None };
        let mut caller = None;
        if let Some(Route { guard: Guard::Scope(scope), path, .. }) = route {
            auth::accept_key_in_query(path, request);
            let principal: Arc<Principal> = self.authenticator.authenticate(request.headers_mut())?;
            request.extensions_mut().insert(Arc::clone(&principal));
            permit(&principal, scope, route, request.uri().path())?;
            if let Some(slot) = &mut slot {
                slot.assign(&principal).map_err(overloaded)?;
            }
            caller = Some(principal);
        } else if let Some(Route { guard: Guard::InBand, .. }) = route {
            let known = self.authenticator.authenticate_if_present(request.headers_mut())?;
            if let (Some(slot), Some(known)) = (&mut slot, &known) {
                slot.assign(known).map_err(overloaded)?;
            }
            caller.clone_from(&known);
            if let Some(known) = &known {
                request.extensions_mut().insert(Arc::clone(known));
            }
            request
                .extensions_mut()
                .insert(Caller { principal: known, authenticator: Arc::clone(&self.authenticator) });
        } else if route.is_some()
            && let Ok(visitor) = self.authenticator.authenticate(request.headers_mut())
        {
            request.extensions_mut().insert(Visitor(visitor));
        }
        if route.is_some_and(|route| route.fencing == Fencing::None) {
            fencing::refuse_unheeded(request.method(), request.headers())?;
        }
        if route.is_some_and(|route| route.ignores_preconditions) {
            conditional::refuse_ignored(request.headers())?;
        }
        let durability =
            route.map_or(Ok(Durability::default()), |route| durability::demanded(request.headers(), route))?;
        if *request.method() == Method::PUT && request.headers().contains_key(header::CONTENT_RANGE) {
            // The part would replace the whole value (RFC 9110, section 14.5).
            return Err(Problem::new(&problem::BAD_REQUEST).detail("PUT with Content-Range is not supported"));
        }
        let budget = route.map_or(Budget::Standard, |route| route.budget);
        let memory = match memory::of_request(request, budget, self.body_limit) {
            0 => None,
            bytes => Some(self.take_memory(bytes, caller.as_deref())?),
        };
        compression::decompress(request)?;
        Ok(Admission { caller, slot, _memory: memory, durability })
    }

    /// Takes the memory of a body. The callers of unguarded routes share one half.
    ///
    /// # Errors
    /// `overloaded` (503).
    pub(super) fn take_memory(&self, bytes: usize, caller: Option<&Principal>) -> Result<Slot, Problem> {
        let caller = caller.unwrap_or(&self.visitors);
        let memory = self.memory.take_many(bytes).and_then(|mut slot| slot.assign(caller).map(|()| slot));
        memory.map_err(|reason| {
            let detail = match reason {
                NoSlot::Full => "large bodies in flight take too much memory".to_owned(),
                NoSlot::ShareTaken(share) => format!(
                    "this credential has large requests and unread responses in flight that may take {} MiB together",
                    share >> 20
                ),
            };
            overloaded(NoSlot::Full).detail(detail)
        })
    }
}

/// Checks that the body has no transfer coding but `chunked` (RFC 9112, section 6.1): another one is not decoded, so the
/// handler would take its bytes for the content.
fn check_transfer_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Problem::new(&problem::UNSUPPORTED_TRANSFER_CODING)
            .detail("Transfer-Encoding must be absent or `chunked`")
            .outcome(Outcome::NotApplied)
            .header(header::CONNECTION, HeaderValue::from_static("close"))),
    }
}

/// Checks the caller's scope, and the keys in the path if the scope is limited to keys.
fn permit(caller: &Principal, scope: &str, route: Option<&Route>, path: &str) -> Result<(), Problem> {
    let read_scope = route.and_then(|route| route.read_scope);
    if read_scope.is_some_and(|read_scope| caller.require_some(read_scope).is_ok()) {
        return Ok(());
    }
    match route.map_or(Keys::All, |route| route.keys) {
        _ if caller.may(scope) => Ok(()),
        Keys::All => caller.require(scope),
        Keys::CheckedByHandler => caller.require_some(scope),
        Keys::InPath(templates) => {
            let path = legacy_prefix::without_legacy_prefix(path).unwrap_or(path);
            let named = path_parameters::parameters(route.map_or("", |route| route.path), path)?;
            templates
                .iter()
                .try_for_each(|template| caller.require_key(scope, &path_parameters::filled(template, &named)))
        }
    }
}

fn overloaded(reason: NoSlot) -> Problem {
    let problem = Problem::new(&problem::OVERLOADED).outcome(Outcome::NotApplied).retry_after(Duration::from_secs(1));
    match reason {
        NoSlot::Full => problem,
        NoSlot::ShareTaken(share) => {
            problem.detail(format!("this credential has {share} requests in flight, half of http.max_requests"))
        }
    }
}
