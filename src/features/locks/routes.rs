use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;

use super::index::Cursor;
use super::model::{
    AcquireAllRequest, AcquireRequest, ExtendRequest, ListQuery, LockGrant, LockGrants, LockState, LockStats, MAX_PAGE,
    ReleaseQuery, ResourcePath, Token,
};
use super::service::LockService;
use crate::http::auth::{ADMIN, Principal};
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::openapi_responses::{JsonBodyResponses, ReadResponses, WriteResponses};
use crate::http::problem::{Problem, ProblemBody};
use crate::http::reply::{Created, NoContent, Page};

/// The header that proves ownership.
const LOCK_TOKEN: &str = "lock-token";

/// Acquire a lock.
///
/// With `wait_ms` the call waits in line, first come first served, at whatever replica the others wait.
#[utoipa::path(post, path = "/locks/{resource}", tag = "locks", operation_id = "acquire_lock",
    params(ResourcePath), request_body = AcquireRequest,
    responses(
        JsonBodyResponses, WriteResponses,
        (status = 201, description = "The lock is the caller's", body = LockGrant),
        (status = 409, description = "`lock-held`: `retry_after_ms` says when its lease ends at the latest; \
         `wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-body`", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 429, description = "`too-many-waiters`", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 503, description = "`redis-unavailable`, `redis-busy`, `redis-writes-refused`, `redis-denied`, \
         `lock-unavailable`, `wait-interrupted`, `overloaded`: nothing is held", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 504, description = "`redis-timeout`, `deadline-exceeded`: should the lock have been granted, it is \
         given back", body = ProblemBody, content_type = "application/problem+json")))]
pub(super) async fn acquire_lock(
    State(locks): State<LockService>,
    Path(path): Path<ResourcePath>,
    NoQuery: NoQuery,
    Json(request): Json<AcquireRequest>,
) -> Result<Created<LockGrant>, Problem> {
    let wish = locks.wish(path.resource, request)?;
    Ok(Created(locks.acquire(&wish).await?))
}

/// Acquire several locks, all or none.
///
/// They are taken in the order of their names and without waiting, so callers cannot block each other for good.
#[utoipa::path(post, path = "/locks/acquire-all", tag = "locks", operation_id = "acquire_locks",
    request_body = AcquireAllRequest,
    responses(
        JsonBodyResponses, WriteResponses,
        (status = 201, description = "All locks are the caller's", body = LockGrants),
        (status = 409, description = "`lock-held`: one of them is held, none was taken; `wrong-type`",
         body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-query`, `invalid-body`", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 503, description = "`redis-unavailable`, `redis-busy`, `redis-writes-refused`, `redis-denied`, \
         `lock-unavailable`, `overloaded`: nothing is held", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 504, description = "`redis-timeout`, `deadline-exceeded`: whatever was granted is given back",
         body = ProblemBody, content_type = "application/problem+json")))]
pub(super) async fn acquire_locks(
    State(locks): State<LockService>,
    NoQuery: NoQuery,
    Json(request): Json<AcquireAllRequest>,
) -> Result<Created<LockGrants>, Problem> {
    let wishes = locks.wishes(request)?;
    let locks = locks.acquire_all(wishes).await?;
    let validity_ms = locks.iter().map(|lock| lock.validity_ms).min().unwrap_or_default();
    Ok(Created(LockGrants { locks, validity_ms }))
}

/// Extend a lease; it is never shortened.
#[utoipa::path(patch, path = "/locks/{resource}", tag = "locks", operation_id = "extend_lock",
    params(ResourcePath), request_body = ExtendRequest,
    responses(
        JsonBodyResponses, WriteResponses,
        (status = 200, description = "The lease as it is now", body = LockGrant),
        (status = 409, description = "`lock-lost`: the token no longer holds the lock; `wrong-type`",
         body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-body`", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 503, description = "`redis-unavailable`, `redis-busy`, `redis-writes-refused`, `redis-denied`, \
         `lock-unavailable`, `overloaded`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 504, description = "`redis-timeout`, `deadline-exceeded`: the lease may have been extended, count \
         on the old end", body = ProblemBody, content_type = "application/problem+json")))]
pub(super) async fn extend_lock(
    State(locks): State<LockService>,
    Path(path): Path<ResourcePath>,
    NoQuery: NoQuery,
    Json(request): Json<ExtendRequest>,
) -> Result<Json<LockGrant>, Problem> {
    Ok(Json(locks.extend(path.resource, request).await?))
}

/// Release a lock.
#[utoipa::path(delete, path = "/locks/{resource}", tag = "locks", operation_id = "release_lock",
    params(ResourcePath, ReleaseQuery,
           ("Lock-Token" = Option<String>, Header, description = "The token of the grant; not needed with `force`",
            pattern = "^[0-9a-f]{32}$", example = "0123456789abcdef0123456789abcdef")),
    responses(
        WriteResponses,
        (status = 204, description = "The lock is free"),
        (status = 403, description = "`forbidden`: `force` needs the scope `admin`", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 409, description = "`lock-lost`: nobody holds it; `lock-not-owned`: another token does; `wrong-type`",
         body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-header`", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 503, description = "`redis-unavailable`, `redis-busy`, `redis-writes-refused`, `redis-denied`, \
         `lock-unavailable`, `overloaded`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 504, description = "`redis-timeout`, `deadline-exceeded`: the lock may be free", body = ProblemBody,
         content_type = "application/problem+json")))]
pub(super) async fn release_lock(
    State(locks): State<LockService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<ResourcePath>,
    Query(query): Query<ReleaseQuery>,
    headers: HeaderMap,
) -> Result<NoContent, Problem> {
    let token = lock_token(&headers)?;
    if query.force {
        caller.require(ADMIN)?;
        locks.force(path.resource, &caller.id).await?;
        return Ok(NoContent);
    }
    let token = token.ok_or_else(|| Problem::request_header("Lock-Token", "is missing"))?;
    locks.release(path.resource, &token).await?;
    Ok(NoContent)
}

fn lock_token(headers: &HeaderMap) -> Result<Option<Token>, Problem> {
    let refuse = |reason: &str| Problem::request_header("Lock-Token", reason);
    let mut values = headers.get_all(LOCK_TOKEN).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse("stands twice"));
    }
    let text = value.to_str().map_err(|_| refuse("is not text"))?;
    Token::try_from(text.to_owned()).map(Some).map_err(|rule| refuse(&rule))
}

/// Look at a lock; its token is never shown.
#[utoipa::path(get, path = "/locks/{resource}", tag = "locks", operation_id = "inspect_lock",
    params(ResourcePath),
    responses(
        ReadResponses,
        (status = 200, description = "The lock, held or free", body = LockState),
        (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-path`, `invalid-query`", body = ProblemBody,
         content_type = "application/problem+json")))]
pub(super) async fn inspect_lock(
    State(locks): State<LockService>,
    Path(path): Path<ResourcePath>,
    NoQuery: NoQuery,
) -> Result<Json<LockState>, Problem> {
    Ok(Json(locks.inspect(path.resource).await?))
}

/// List held locks, the one that ends first in front.
///
/// The list may lag some milliseconds behind, and a page may have fewer entries than `limit`. A lock that is extended
/// meanwhile can appear twice.
#[utoipa::path(get, path = "/locks", tag = "locks", operation_id = "list_locks",
    params(ListQuery),
    responses(
        ReadResponses,
        (status = 200, description = "A page of held locks", body = Page<LockState>),
        (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-query`", body = ProblemBody, content_type = "application/problem+json")))]
pub(super) async fn list_locks(
    State(locks): State<LockService>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<LockState>>, Problem> {
    if !(1..=MAX_PAGE).contains(&query.limit) {
        return Err(Problem::query_parameter("limit", format!("must be from 1 to {MAX_PAGE}")));
    }
    let from = match query.cursor.as_deref() {
        Some(text) => Some(
            Cursor::parse(text)
                .ok_or_else(|| Problem::query_parameter("cursor", "is not the next_cursor of a page"))?,
        ),
        None => None,
    };
    Ok(Json(locks.list(query.limit, from).await?))
}

/// Count what happened to locks.
#[utoipa::path(get, path = "/locks/stats", tag = "locks", operation_id = "get_lock_stats",
    responses(
        ReadResponses,
        (status = 200, description = "This replica's counts since its start", body = LockStats),
        (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-query`", body = ProblemBody, content_type = "application/problem+json")))]
pub(super) async fn get_lock_stats(
    State(locks): State<LockService>,
    NoQuery: NoQuery,
) -> Result<Json<LockStats>, Problem> {
    Ok(Json(locks.stats().await?))
}
