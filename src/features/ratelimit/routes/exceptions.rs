//! What admins do to single keys: reset, allow, deny, another strategy.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::model::{
    ExceptionRequest, ExceptionView, ExceptionsQuery, KEY_LIMIT, MAX_PAGE, ResetQuery, ResetReply,
};
use super::super::service::LimitService;
use super::StatePath;
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::openapi_responses::{JsonBodyResponses, WriteResponses};
use crate::http::problem::{Location, Problem, ProblemBody};
use crate::http::reply::{NoContent, Page};

/// Reset a key, as if it had never been used.
///
/// Other replicas may go on refusing it from memory for up to `ratelimit.poll_interval`.
#[utoipa::path(delete, path = "/ratelimit/{limiter}/{key}", tag = "ratelimit", operation_id = "reset_limit",
    params(StatePath),
    responses((status = 204, description = "Nothing is taken from the limit"),
              (status = 404, description = "`unknown-limiter`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`", body = ProblemBody, content_type = "application/problem+json"),
              WriteResponses))]
pub(in super::super) async fn reset_limit(
    State(limits): State<LimitService>,
    Extension(caller): Extension<Arc<Principal>>,
    path: StatePath,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    let limiter = limits.limiter(&path.limiter)?;
    limits.reset(&limiter, &path.key, &caller.id).await?;
    Ok(NoContent)
}

/// Reset all keys of a limiter that begin with a prefix, as far as they are listed.
///
/// A key is listed some milliseconds after its first use. One call goes on for half a second at most.
#[utoipa::path(delete, path = "/ratelimit/{limiter}", tag = "ratelimit", operation_id = "reset_limits",
    params(("limiter" = String, Path, description = "The limiter's name", min_length = 1, max_length = 64, example = "api"),
           ResetQuery),
    responses((status = 200, description = "How many keys were reset", body = ResetReply),
              (status = 404, description = "`unknown-limiter`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`", body = ProblemBody, content_type = "application/problem+json"),
              WriteResponses))]
pub(in super::super) async fn reset_limits(
    State(limits): State<LimitService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(name): Path<String>,
    Query(ResetQuery { prefix, cursor }): Query<ResetQuery>,
) -> Result<Json<ResetReply>, Problem> {
    if prefix.len() > KEY_LIMIT {
        return Err(Problem::query_parameter("prefix", format!("is longer than a key: {KEY_LIMIT} bytes")));
    }
    let limiter = limits.limiter(&name)?;
    let (reset, next_cursor) = limits.reset_all(&limiter, &prefix, cursor, &caller.id).await?;
    Ok(Json(ResetReply { reset, next_cursor }))
}

/// Except a key from its limiter's rule: allow it, deny it, or give it another strategy.
///
/// All replicas follow within `ratelimit.poll_interval`.
#[utoipa::path(put, path = "/ratelimit/limiters/{limiter}/exceptions/{key}", tag = "ratelimit",
    operation_id = "put_limit_exception", params(StatePath), request_body = ExceptionRequest,
    responses((status = 200, description = "What holds from now on", body = ExceptionView),
              (status = 404, description = "`unknown-limiter`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 409, description = "`too-many-exceptions`, `wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-body`", body = ProblemBody, content_type = "application/problem+json"),
              JsonBodyResponses, WriteResponses))]
pub(in super::super) async fn put_exception(
    State(limits): State<LimitService>,
    Extension(caller): Extension<Arc<Principal>>,
    path: StatePath,
    NoQuery: NoQuery,
    Json(request): Json<ExceptionRequest>,
) -> Result<Json<ExceptionView>, Problem> {
    let limiter = limits.limiter(&path.limiter)?;
    limits.check_exception(&request).map_err(|bad| bad.at(Location::Body))?;
    Ok(Json(limits.except(&limiter, &path.key, request, &caller.id).await?))
}

/// Take an exception back; what is not there need not be.
#[utoipa::path(delete, path = "/ratelimit/limiters/{limiter}/exceptions/{key}", tag = "ratelimit",
    operation_id = "delete_limit_exception", params(StatePath),
    responses((status = 204, description = "The limiter's rule holds for the key"),
              (status = 404, description = "`unknown-limiter`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`", body = ProblemBody, content_type = "application/problem+json"),
              WriteResponses))]
pub(in super::super) async fn delete_exception(
    State(limits): State<LimitService>,
    Extension(caller): Extension<Arc<Principal>>,
    path: StatePath,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    let limiter = limits.limiter(&path.limiter)?;
    limits.take_back(&limiter, &path.key, &caller.id).await?;
    Ok(NoContent)
}

/// List a limiter's exceptions in the order of their keys, as this replica follows them.
#[utoipa::path(get, path = "/ratelimit/limiters/{limiter}/exceptions", tag = "ratelimit",
    operation_id = "list_limit_exceptions",
    params(("limiter" = String, Path, description = "The limiter's name", min_length = 1, max_length = 64, example = "api"),
           ExceptionsQuery),
    responses((status = 200, description = "A page of exceptions", body = Page<ExceptionView>),
              (status = 401, description = "`unauthenticated`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 403, description = "`forbidden`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 404, description = "`unknown-limiter`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 500, description = "`internal-error`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 503, description = "`overloaded`", body = ProblemBody, content_type = "application/problem+json")))]
pub(in super::super) async fn list_exceptions(
    State(limits): State<LimitService>,
    Path(name): Path<String>,
    Query(query): Query<ExceptionsQuery>,
) -> Result<Json<Page<ExceptionView>>, Problem> {
    if !(1..=MAX_PAGE).contains(&query.limit) {
        return Err(Problem::query_parameter("limit", format!("must be from 1 to {MAX_PAGE}")));
    }
    let limiter = limits.limiter(&name)?;
    Ok(Json(limits.list_exceptions(&limiter, query.cursor.as_deref(), query.limit)))
}
