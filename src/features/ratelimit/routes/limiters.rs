//! Routes that list the limiters in force and their counts.

use std::sync::Arc;

use axum::extract::State;

use super::super::model::{LimitStats, LimiterView};
use super::super::service::LimitService;
use crate::http::extract::{Json, NoQuery};
use crate::http::problem::Problem;
use crate::http::reply::Page;

/// List the limiters.
#[utoipa::path(get, path = "/ratelimit/limiters", tag = "ratelimit", operation_id = "list_limiters",
    responses((status = 200, description = "All limiters, on one page", body = Page<LimiterView>)))]
pub(in super::super) async fn list_limiters(
    State(limits): State<Arc<LimitService>>,
    NoQuery: NoQuery,
) -> Result<Json<Page<LimiterView>>, Problem> {
    Ok(Json(Page { items: limits.views(), next_cursor: None }))
}

/// Count the decisions of the limiters.
#[utoipa::path(get, path = "/ratelimit/stats", tag = "ratelimit", operation_id = "get_limit_stats",
    responses((status = 200, description = "The counts of this replica since it started", body = LimitStats)))]
pub(in super::super) async fn get_limit_stats(
    State(limits): State<Arc<LimitService>>,
    NoQuery: NoQuery,
) -> Result<Json<LimitStats>, Problem> {
    Ok(Json(limits.stats()))
}
