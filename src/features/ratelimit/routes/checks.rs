//! Routes that return decisions as data: check, check-all, peek.

use std::slice;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::super::READ;
use super::super::check::{CheckAllReply, Decision, Mode, all_allowed};
use super::super::headers::fields;
use super::super::model::{CheckAllRequest, CheckRequest, MAX_CHECKS, PeekQuery};
use super::super::service::LimitService;
use super::{KeyPath, allow, life, limit_repetitions};
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Query};
use crate::http::idempotent_operation::Operation;
use crate::http::problem::{Location, Problem};

/// Take a cost from a limit.
///
/// The decision is data: a refusal is a 200 with `allowed: false` and takes nothing.
#[utoipa::path(post, path = "/ratelimit/check", tag = "ratelimit", operation_id = "check_limit",
    request_body = CheckRequest,
    responses((status = 200, description = "The decision", body = Decision,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of each limit"),
                       ("RateLimit" = String, description = "The available cost of each limit, and the time until more is available")))))]
pub(in super::super) async fn check_limit(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    operation: Operation,
    Json(request): Json<CheckRequest>,
) -> Result<Response, Problem> {
    allow(&caller, &request)?;
    let check = limits.resolve(&caller, request).map_err(|invalid| invalid.at(Location::Body))?;
    let decision = limits.check(check).await?;
    let life = life(slice::from_ref(&decision));
    Ok(limit_repetitions(&operation, life, decision.into_response()))
}

/// Take costs from several limits, all or nothing.
///
/// If one limit refuses its cost, nothing is taken from any of them.
#[utoipa::path(post, path = "/ratelimit/check-all", tag = "ratelimit", operation_id = "check_limits",
    request_body = CheckAllRequest,
    responses((status = 200, description = "The decisions, in the order of the checks", body = CheckAllReply,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of each limit"),
                       ("RateLimit" = String, description = "The available cost of each limit, and the time until more is available")))))]
pub(in super::super) async fn check_limits(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    operation: Operation,
    Json(CheckAllRequest { checks }): Json<CheckAllRequest>,
) -> Result<Response, Problem> {
    if !(1..=MAX_CHECKS).contains(&checks.len()) {
        let rule = format!("must contain between 1 and {MAX_CHECKS} checks, got {}", checks.len());
        return Err(Problem::body_field("/checks", rule));
    }
    checks.iter().try_for_each(|request| allow(&caller, request))?;
    let checks = limits.resolve_all(&caller, checks).map_err(|invalid| invalid.at(Location::Body))?;
    let results = limits.check_all(&checks).await?;
    let headers = fields(&results);
    let life = life(&results);
    let response = (headers, Json(CheckAllReply { allowed: all_allowed(&results), results })).into_response();
    Ok(limit_repetitions(&operation, life, response))
}

/// Look at a limit without taking from it.
///
/// The response is that of a check of this cost, except that the cost is not taken.
#[utoipa::path(get, path = "/ratelimit/{limiter}/{key}", tag = "ratelimit", operation_id = "peek_limit",
    params(KeyPath, PeekQuery),
    responses((status = 200, description = "The state of the limit", body = Decision,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of each limit"),
                       ("RateLimit" = String, description = "The available cost of each limit, and the time until more is available")))))]
pub(in super::super) async fn peek_limit(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    path: KeyPath,
    Query(PeekQuery { cost }): Query<PeekQuery>,
) -> Result<Decision, Problem> {
    let may_see = |name: &str| caller.may_access(READ, &format!("{name}:{}", path.key.as_str()));
    let limiter = limits.limiter(&path.limiter).map_err(|error| error.suggesting(may_see))?;
    let check = limits.resolve_key(&limiter, path.key, cost).map_err(|invalid| invalid.at(Location::Query))?;
    Ok(limits.decide_one(&check, Mode::Peek).await?)
}
