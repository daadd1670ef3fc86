//! Routes with which administrators make exceptions for single keys.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::model::{MAX_PAGE, OverrideRequest, OverrideView, OverridesQuery};
use super::super::overrides;
use super::super::service::LimitService;
use super::KeyPath;
use crate::http::auth::Principal;
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::{Location, Problem};
use crate::http::reply::{NoContent, Page};

/// Make an exception for a key: allow it, deny it, or apply another strategy to it.
///
/// All replicas apply the exception within a second.
#[utoipa::path(put, path = "/ratelimit/limiters/{limiter}/exceptions/{key}", tag = "ratelimit",
    operation_id = "put_limit_exception", params(KeyPath), request_body = OverrideRequest,
    responses((status = 200, description = "The exception", body = OverrideView)))]
pub(in super::super) async fn put_exception(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    path: KeyPath,
    NoQuery: NoQuery,
    Json(request): Json<OverrideRequest>,
) -> Result<Json<OverrideView>, Problem> {
    let limiter = limits.limiter(&path.limiter)?;
    overrides::validate(&request).map_err(|invalid| invalid.at(Location::Body))?;
    Ok(Json(limits.set_override(&limiter, &path.key, request, &caller.id).await?))
}

/// Delete the exception of a key, if there is one.
#[utoipa::path(delete, path = "/ratelimit/limiters/{limiter}/exceptions/{key}", tag = "ratelimit",
    operation_id = "delete_limit_exception", params(KeyPath),
    responses((status = 204, description = "The limiter's own rule applies to the key")))]
pub(in super::super) async fn delete_exception(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    path: KeyPath,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    limits.delete_override(&path.limiter, &path.key, &caller.id).await?;
    Ok(NoContent)
}

/// List a limiter's exceptions in the order of their keys, as this replica applies them.
#[utoipa::path(get, path = "/ratelimit/limiters/{limiter}/exceptions", tag = "ratelimit",
    operation_id = "list_limit_exceptions",
    params(("limiter" = String, Path, description = "The limiter's name.", min_length = 1, max_length = 64, example = "api"),
           OverridesQuery),
    responses((status = 200, description = "A page of exceptions", body = Page<OverrideView>)))]
pub(in super::super) async fn list_exceptions(
    State(limits): State<Arc<LimitService>>,
    Path(name): Path<String>,
    Query(query): Query<OverridesQuery>,
) -> Result<Json<Page<OverrideView>>, Problem> {
    require_count("limit", query.limit, MAX_PAGE)?;
    Ok(Json(limits.overrides.list(&*limits.limiter(&name)?, query.cursor.as_deref(), query.limit)))
}
