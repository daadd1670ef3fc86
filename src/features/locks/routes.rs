//! The HTTP routes of locks, apart from the WebSocket.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;

use super::index::IndexCursor;
use super::model::{
    AcquireAllRequest, AcquireRequest, ExtendRequest, ListQuery, LockGrant, LockGrants, LockState, LockStats, MAX_PAGE,
    ReleaseQuery, Resource, ResourcePath, Token,
};
use super::service::LockService;
use super::{READ, WRITE};
use crate::http::auth::{ADMIN, Principal};
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::idempotent_operation::{FirstResponse, Repeated};
use crate::http::problem::Problem;
use crate::http::reply::{Created, NoContent, Page};

/// The header that proves ownership.
const LOCK_TOKEN: &str = "Lock-Token";

/// Acquire a lock.
///
/// With `wait_ms`, the call waits in a queue that all replicas share, first come first served. Unless the response is
/// 201, the client holds nothing: if the lock was granted after all, it is released in the background.
///
/// With an `Idempotency-Key`, a repetition receives the lease of the first request while it lasts, with the validity that
/// is left of it. After that, the request acquires the lock again.
#[utoipa::path(post, path = "/locks/{resource}", tag = "locks", operation_id = "acquire_lock",
    params(ResourcePath), request_body = AcquireRequest,
    responses((status = 201, description = "The client holds the lock", body = LockGrant)))]
pub(super) async fn acquire_lock(
    State(locks): State<Arc<LockService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<ResourcePath>,
    NoQuery: NoQuery,
    first: FirstResponse,
    Json(request): Json<AcquireRequest>,
) -> Result<(Option<Extension<Repeated>>, Created<LockGrant>), Problem> {
    if let Some(first) = first.json::<LockGrant>()
        && let Some(grant) = locks.still_held(&[first]).await?.and_then(|grants| grants.into_iter().next())
    {
        return Ok((Some(Extension(Repeated)), Created(grant)));
    }
    Ok((None, Created(locks.acquire(&caller, path.resource, request).await?)))
}

/// Acquire several locks, all or none.
///
/// The locks are acquired in the order of their names and without waiting, so clients cannot deadlock. Unless the
/// response is 201, the call has acquired none of them.
///
/// With an `Idempotency-Key`, a repetition receives the leases of the first request while all of them last.
#[utoipa::path(post, path = "/locks/acquire-all", tag = "locks", operation_id = "acquire_locks",
    request_body = AcquireAllRequest,
    responses((status = 201, description = "The client holds all locks", body = LockGrants)))]
pub(super) async fn acquire_locks(
    State(locks): State<Arc<LockService>>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    first: FirstResponse,
    Json(request): Json<AcquireAllRequest>,
) -> Result<(Option<Extension<Repeated>>, Created<LockGrants>), Problem> {
    request.resources.iter().try_for_each(|resource| caller.require_key(WRITE, resource.as_str()))?;
    let first = first.json().map(|LockGrants { locks, .. }| locks).unwrap_or_default();
    let (repeated, locks) = match locks.still_held(&first).await? {
        Some(grants) => (Some(Extension(Repeated)), grants),
        None => (None, locks.acquire_all(&caller, request).await?),
    };
    let validity_ms = locks.iter().map(|lock| lock.validity_ms).min().unwrap_or_default();
    Ok((repeated, Created(LockGrants { locks, validity_ms })))
}

/// Extend a lease.
///
/// A lease is never shortened. If the outcome is unknown, rely on the old end of the lease.
#[utoipa::path(patch, path = "/locks/{resource}", tag = "locks", operation_id = "extend_lock",
    params(ResourcePath), request_body = ExtendRequest,
    responses((status = 200, description = "The lease after the extension", body = LockGrant)))]
pub(super) async fn extend_lock(
    State(locks): State<Arc<LockService>>,
    Path(path): Path<ResourcePath>,
    NoQuery: NoQuery,
    Json(request): Json<ExtendRequest>,
) -> Result<Json<LockGrant>, Problem> {
    Ok(Json(locks.extend(path.resource, request.token, request.ttl_ms).await?))
}

/// Release a lock.
///
/// `lock-lost` means that the lock is free, `lock-not-owned` that another token holds it.
#[utoipa::path(delete, path = "/locks/{resource}", tag = "locks", operation_id = "release_lock",
    params(ResourcePath, ReleaseQuery,
           ("Lock-Token" = Option<String>, Header, description = "The grant's token; not required with `force`",
            pattern = "^[0-9a-f]{32}$", example = "0123456789abcdef0123456789abcdef")),
    responses((status = 204, description = "The lock is free")))]
pub(super) async fn release_lock(
    State(locks): State<Arc<LockService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<ResourcePath>,
    Query(query): Query<ReleaseQuery>,
    headers: HeaderMap,
) -> Result<NoContent, Problem> {
    let token = lock_token(&headers)?;
    if query.force {
        caller.require(ADMIN)?;
        locks.force_release(path.resource, &caller.id).await?;
        return Ok(NoContent);
    }
    let token = token.ok_or_else(|| Problem::request_header(LOCK_TOKEN, "is missing"))?;
    locks.release(path.resource, &token).await?;
    Ok(NoContent)
}

fn lock_token(headers: &HeaderMap) -> Result<Option<Token>, Problem> {
    let refuse = |reason: &str| Problem::request_header(LOCK_TOKEN, reason);
    let mut values = headers.get_all(LOCK_TOKEN).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse("must not be repeated"));
    }
    let text = value.to_str().map_err(|_| refuse("must be text"))?;
    Token::try_from(text.to_owned()).map(Some).map_err(|rule| refuse(&rule))
}

/// Inspect a lock.
///
/// The response never includes the token.
#[utoipa::path(get, path = "/locks/{resource}", tag = "locks", operation_id = "inspect_lock",
    params(ResourcePath),
    responses((status = 200, description = "The lock, held or free", body = LockState)))]
pub(super) async fn inspect_lock(
    State(locks): State<Arc<LockService>>,
    Path(path): Path<ResourcePath>,
    NoQuery: NoQuery,
) -> Result<Json<LockState>, Problem> {
    Ok(Json(locks.inspect(path.resource).await?))
}

/// List held locks, sorted by the end of their lease.
///
/// The list has the locks that the credential may read. It may lag by some milliseconds, and a page may have fewer entries than `limit`. A lock that is extended
/// during pagination can appear twice.
#[utoipa::path(get, path = "/locks", tag = "locks", operation_id = "list_locks",
    params(ListQuery),
    responses((status = 200, description = "A page of held locks", body = Page<LockState>)))]
pub(super) async fn list_locks(
    State(locks): State<Arc<LockService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<LockState>>, Problem> {
    if !(1..=MAX_PAGE).contains(&query.limit) {
        let rule = format!("must be between 1 and {MAX_PAGE}, got {}", query.limit);
        return Err(Problem::query_parameter("limit", rule));
    }
    let cursor = query.cursor.as_deref().map(|text| {
        IndexCursor::parse(text).ok_or_else(|| Problem::query_parameter("cursor", "must be the next_cursor of a page"))
    });
    let is_visible = |resource: &Resource| caller.may_access(READ, resource.as_str());
    Ok(Json(locks.list(query.limit, cursor.transpose()?, is_visible).await?))
}

/// Get statistics of locks.
#[utoipa::path(get, path = "/locks/stats", tag = "locks", operation_id = "get_lock_stats",
    responses((status = 200, description = "This replica's counts since its start", body = LockStats)))]
pub(super) async fn get_lock_stats(
    State(locks): State<Arc<LockService>>,
    NoQuery: NoQuery,
) -> Result<Json<LockStats>, Problem> {
    Ok(Json(locks.stats().await?))
}
