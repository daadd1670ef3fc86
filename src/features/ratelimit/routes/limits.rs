//! Decisions as data: check, check-all, peek.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::super::fields::describe;
use super::super::model::{CheckAllReply, CheckAllRequest, CheckReply, CheckRequest, MAX_TOGETHER, PeekQuery};
use super::super::service::LimitService;
use super::{StatePath, allow_inline};
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Query};
use crate::http::openapi_responses::{JsonBodyResponses, ReadResponses, WriteResponses};
use crate::http::problem::{Location, Problem, ProblemBody};

/// Take a cost from a limit, if it fits in.
///
/// The decision is data: a refusal is a 200 with `allowed: false`, and takes nothing.
#[utoipa::path(post, path = "/ratelimit/check", tag = "ratelimit", operation_id = "check_limit",
    request_body = CheckRequest,
    responses((status = 200, description = "The decision", body = CheckReply,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of the limit"),
                       ("RateLimit" = String, description = "What is left, and when there is more"))),
              (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-query`, `invalid-body`", body = ProblemBody, content_type = "application/problem+json"),
              JsonBodyResponses, WriteResponses))]
pub(in super::super) async fn check_limit(
    State(limits): State<LimitService>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    Json(request): Json<CheckRequest>,
) -> Result<Response, Problem> {
    allow_inline(&caller, &request)?;
    let ask = limits.ask(request).map_err(|bad| bad.at(Location::Body))?;
    let decision = limits.check(ask).await?;
    let mut response = Json(CheckReply::from(&decision)).into_response();
    describe(response.headers_mut(), &[decision]);
    Ok(response)
}

/// Take from several limits at once, all or nothing.
///
/// A call that one of them refuses takes nothing from any of them.
#[utoipa::path(post, path = "/ratelimit/check-all", tag = "ratelimit", operation_id = "check_limits",
    request_body = CheckAllRequest,
    responses((status = 200, description = "The decisions, in the order of the checks", body = CheckAllReply,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of each limit"),
                       ("RateLimit" = String, description = "What is left of each, and when there is more"))),
              (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-query`, `invalid-body`; `checks-apart` on a Redis Cluster", body = ProblemBody, content_type = "application/problem+json"),
              JsonBodyResponses, WriteResponses))]
pub(in super::super) async fn check_limits(
    State(limits): State<LimitService>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    Json(CheckAllRequest { checks }): Json<CheckAllRequest>,
) -> Result<Response, Problem> {
    if !(1..=MAX_TOGETHER).contains(&checks.len()) {
        let rule = format!("has {} checks; 1 to {MAX_TOGETHER} are allowed", checks.len());
        return Err(Problem::body_field("/checks", rule));
    }
    checks.iter().try_for_each(|request| allow_inline(&caller, request))?;
    let asks = limits.asks(checks).map_err(|bad| bad.at(Location::Body))?;
    let (allowed, decisions) = limits.check_all(&asks).await?;
    let results = decisions.iter().map(CheckReply::from).collect();
    let mut response = Json(CheckAllReply { allowed, results }).into_response();
    describe(response.headers_mut(), &decisions);
    Ok(response)
}

/// Look at a limit without taking from it.
///
/// The answer is what a check of this cost would say now, less the cost.
#[utoipa::path(get, path = "/ratelimit/{limiter}/{key}", tag = "ratelimit", operation_id = "peek_limit",
    params(StatePath, PeekQuery),
    responses((status = 200, description = "How the limit stands", body = CheckReply,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of the limit"),
                       ("RateLimit" = String, description = "What is left, and when there is more"))),
              (status = 404, description = "`unknown-limiter`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`", body = ProblemBody, content_type = "application/problem+json"),
              ReadResponses))]
pub(in super::super) async fn peek_limit(
    State(limits): State<LimitService>,
    path: StatePath,
    Query(PeekQuery { cost }): Query<PeekQuery>,
) -> Result<Response, Problem> {
    let limiter = limits.limiter(&path.limiter)?;
    let ask = limits.priced(limiter, path.key, cost).map_err(|bad| bad.at(Location::Query))?;
    let decision = limits.peek(ask).await?;
    let mut response = Json(CheckReply::from(&decision)).into_response();
    describe(response.headers_mut(), &[decision]);
    Ok(response)
}
