//! The rules in force, and what they decided.

use axum::extract::State;

use super::super::model::{LimitStats, LimiterView};
use super::super::service::LimitService;
use crate::http::extract::{Json, NoQuery};
use crate::http::problem::{Problem, ProblemBody};
use crate::http::reply::Page;

/// List the limiters.
#[utoipa::path(get, path = "/ratelimit/limiters", tag = "ratelimit", operation_id = "list_limiters",
    responses((status = 200, description = "All of them, on one page", body = Page<LimiterView>),
              (status = 401, description = "`unauthenticated`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 403, description = "`forbidden`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-query`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 500, description = "`internal-error`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 503, description = "`overloaded`", body = ProblemBody, content_type = "application/problem+json")))]
pub(in super::super) async fn list_limiters(
    State(limits): State<LimitService>,
    NoQuery: NoQuery,
) -> Result<Json<Page<LimiterView>>, Problem> {
    Ok(Json(Page { items: limits.views(), next_cursor: None }))
}

/// Count what limiters decided.
#[utoipa::path(get, path = "/ratelimit/stats", tag = "ratelimit", operation_id = "get_limit_stats",
    responses((status = 200, description = "This replica's counts since its start", body = LimitStats),
              (status = 401, description = "`unauthenticated`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 403, description = "`forbidden`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-query`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 500, description = "`internal-error`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 503, description = "`overloaded`", body = ProblemBody, content_type = "application/problem+json")))]
pub(in super::super) async fn get_limit_stats(
    State(limits): State<LimitService>,
    NoQuery: NoQuery,
) -> Result<Json<LimitStats>, Problem> {
    Ok(Json(limits.stats()))
}
