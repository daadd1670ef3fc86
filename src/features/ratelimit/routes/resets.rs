//! Routes with which administrators reset keys.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::model::{KEY_LIMIT, ResetQuery, ResetReply};
use super::super::service::LimitService;
use super::KeyPath;
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

/// Reset a key, as if it had never been used.
///
/// Other replicas may refuse the key from memory for another half second.
#[utoipa::path(delete, path = "/ratelimit/{limiter}/{key}", tag = "ratelimit", operation_id = "reset_limit",
    params(KeyPath),
    responses((status = 204, description = "The whole limit is available")))]
pub(in super::super) async fn reset_limit(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    path: KeyPath,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    limits.reset(&path.limiter, &path.key, &caller.id).await?;
    Ok(NoContent)
}

/// Reset all keys of a limiter that begin with a prefix.
///
/// A key can be found by its prefix a few milliseconds after its first use. One call runs for at most half a second.
#[utoipa::path(delete, path = "/ratelimit/{limiter}", tag = "ratelimit", operation_id = "reset_limits",
    params(("limiter" = String, Path, description = "The limiter's name.", min_length = 1, max_length = 64, example = "api"),
           ResetQuery),
    responses((status = 200, description = "The number of keys that were reset", body = ResetReply)))]
pub(in super::super) async fn reset_limits(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(name): Path<String>,
    Query(ResetQuery { prefix, cursor }): Query<ResetQuery>,
) -> Result<Json<ResetReply>, Problem> {
    if prefix.len() > KEY_LIMIT {
        let rule = format!("must be at most {KEY_LIMIT} bytes long, got {}", prefix.len());
        return Err(Problem::query_parameter("prefix", rule));
    }
    Ok(Json(limits.reset_all(&name, &prefix, cursor, &caller.id).await?))
}
