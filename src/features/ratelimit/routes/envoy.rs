//! Envoy's rate-limit call as JSON.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::decision::Decision;
use super::super::envoy::{EnvoyReply, EnvoyRequest};
use super::super::fields::{describe, seconds};
use super::super::service::LimitService;
use crate::http::extract::{Json, NoQuery};
use crate::http::openapi_responses::{JsonBodyResponses, WriteResponses};
use crate::http::problem::{Location, NOT_FOUND, Problem, ProblemBody};

/// Check descriptors as Envoy's rate-limit service does.
///
/// The configuration says which limiter counts which descriptors (`ratelimit.envoy`); while it says nothing, the route is
/// not there.
#[utoipa::path(post, path = "/json", tag = "ratelimit", operation_id = "check_descriptors",
    request_body = EnvoyRequest,
    responses((status = 200, description = "The call may pass", body = EnvoyReply,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of each limit"),
                       ("RateLimit" = String, description = "What is left, and when there is more"))),
              (status = 429, description = "It may not: at least one descriptor is over its limit, and none was counted", body = EnvoyReply,
               headers(("Retry-After" = u64, description = "Seconds until the call fits in"))),
              (status = 404, description = "`not-found`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-query`, `invalid-body`, `checks-apart`", body = ProblemBody, content_type = "application/problem+json"),
              JsonBodyResponses, WriteResponses))]
pub(in super::super) async fn check_descriptors(
    State(limits): State<LimitService>,
    NoQuery: NoQuery,
    Json(request): Json<EnvoyRequest>,
) -> Result<Response, Problem> {
    if !limits.answers_envoy() {
        return Err(Problem::new(&NOT_FOUND).detail("no descriptor is configured: see ratelimit.envoy"));
    }
    let asks = limits.asks_of_envoy(&request).map_err(|bad| bad.at(Location::Body))?;
    let (granted, decisions) = limits.check_for_envoy(&asks).await?;
    let status = if granted { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
    let mut response = (status, Json(EnvoyReply::new(granted, &decisions))).into_response();
    let limited: Vec<Decision> = decisions.into_iter().flatten().collect();
    if !limited.is_empty() {
        describe(response.headers_mut(), &limited);
    }
    let refused = || limited.iter().filter(|decision| !decision.allowed);
    // Who waits for the longest finds all of them, unless one has no end.
    if !granted && refused().all(|decision| decision.retry_after_ms.is_some()) {
        let wait = refused().filter_map(|decision| decision.retry_after_ms).max().unwrap_or_default();
        response.headers_mut().insert(header::RETRY_AFTER, seconds(wait).max(1).into());
    }
    Ok(response)
}
