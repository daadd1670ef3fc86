//! The route that is compatible with Envoy's rate-limit service.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::check::{Decision, all_allowed};
use super::super::envoy::model::{EnvoyReply, EnvoyRequest};
use super::super::headers::{fields, seconds};
use super::super::service::LimitService;
use super::{life, limit_repetitions};
use crate::http::extract::{Json, NoQuery, collect, parse_json};
use crate::http::idempotent_operation::Operation;
use crate::http::problem::{Location, NOT_FOUND, Problem};

/// Check descriptors as Envoy's rate-limit service does.
///
/// The setting `ratelimit.envoy` assigns limiters to descriptors. While it is empty, the route answers 404. The body is read
/// as JSON whatever its `Content-Type`, and fields that this service does not use are ignored.
#[utoipa::path(post, path = "/json", tag = "envoy", operation_id = "check_envoy_descriptors",
    request_body = EnvoyRequest,
    responses((status = 200, description = "The call is allowed", body = EnvoyReply,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of each limit"),
                       ("RateLimit" = String, description = "The available cost of each limit, and the time until more is available"))),
              (status = 429, description = "The call is refused: at least one descriptor is over its limit, and none was counted", body = EnvoyReply,
               headers(("Retry-After" = u64, description = "Seconds until the call is allowed")))))]
pub(in super::super) async fn check_descriptors(
    State(limits): State<Arc<LimitService>>,
    NoQuery: NoQuery,
    operation: Operation,
    request: Request,
) -> Result<Response, Problem> {
    // Whatever the Content-Type: curl states the type of a form.
    let request: EnvoyRequest = parse_json(&collect(request).await?)?;
    if !limits.answers_envoy() {
        return Err(Problem::new(&NOT_FOUND).detail("ratelimit.envoy is empty: no limiter is assigned to descriptors"));
    }
    let checks = limits.resolve_descriptors(&request).map_err(|invalid| invalid.at(Location::Body))?;
    let decisions = limits.check_descriptors(&checks).await?;
    let body = Json(EnvoyReply::new(&decisions));
    let limited: Vec<Decision> = decisions.into_iter().flatten().collect();
    let is_allowed = all_allowed(&limited);
    let status = if is_allowed { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
    let mut response = (status, body).into_response();
    if !limited.is_empty() {
        response.headers_mut().extend(fields(&limited));
    }
    let waits = limited.iter().filter(|decision| !decision.allowed).map(|decision| decision.retry_after_ms);
    // After the longest wait all limits allow the call, unless one of them denies it without an end.
    if let Some(wait) = waits.collect::<Option<Vec<u64>>>().and_then(|waits| waits.into_iter().max()) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds(wait).max(1).into());
    }
    Ok(limit_repetitions(&operation, life(&limited), response))
}
