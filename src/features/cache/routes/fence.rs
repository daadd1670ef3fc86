//! Routes with which administrators reset fences.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::model::{CacheKey, Tag};
use super::super::service::CacheService;
use crate::http::auth::Principal;
use crate::http::extract::{NoQuery, Path};
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

/// Forget the fencing tokens that a value has seen.
///
/// The value does not change. The next write with a `Fencing-Token` is accepted, even if a former holder of the lock
/// sends it: make sure that there is none. The audit log records the call.
#[utoipa::path(delete, path = "/fences/cache/{key}", tag = "cache", operation_id = "reset_cache_fence",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7")),
    responses((status = 204, description = "The value remembers no token")))]
pub(in super::super) async fn reset_value_fence(
    State(cache): State<CacheService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(key): Path<CacheKey>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    cache.reset_fence(&key, &caller.id).await?;
    Ok(NoContent)
}

/// Forget the fencing tokens that a tag has seen.
#[utoipa::path(delete, path = "/fences/cache-tags/{tag}", tag = "cache", operation_id = "reset_cache_tag_fence",
    params(("tag" = String, Path, description = "1 to 128 bytes of UTF-8 without control characters and commas",
            min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1F\x7F-\x9F,]+$", example = "profiles")),
    responses((status = 204, description = "The tag remembers no token")))]
pub(in super::super) async fn reset_tag_fence(
    State(cache): State<CacheService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(tag): Path<Tag>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    cache.reset_tag_fence(&tag, &caller.id).await?;
    Ok(NoContent)
}
