//! Routes of many values: list, batch, invalidation by tag.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::batch::{BatchReply, BatchRequest, SeparatedBatch};
use super::super::index::{parse_cursor, to_cursor};
use super::super::model::{CacheKey, KEY_LIMIT, KeyInfo, Tag};
use super::super::service::CacheService;
use super::super::{READ, WRITE};
use crate::http::auth::Principal;
use crate::http::batch_item::{check_results, errors_of, separate};
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::fencing::{GrantToken, reject_ahead};
use crate::http::idempotent_operation::Unrecorded;
use crate::http::problem::Problem;
use crate::http::reply::{NoContent, Page};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// Which keys to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ListParams {
    /// The prefix of the keys, at most 512 bytes.
    #[serde(default)]
    #[param(max_length = 512, example = "session:")]
    prefix: String,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^([0-9a-f]{2})+$", max_length = 1_024)]
    cursor: Option<String>,
    /// The most keys on a page.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<usize>,
}

/// List cached keys in byte order.
///
/// The keys of values that were invalidated by a tag are listed until the value is next read or expires. A page may be
/// short or even empty and still have a next page: only `next_cursor` tells.
#[utoipa::path(get, path = "/cache", tag = "cache", operation_id = "list_cache_keys",
    params(ListParams),
    responses((status = 200, description = "A page of keys with their remaining TTL and size", body = Page<KeyInfo>)))]
pub(in super::super) async fn list_keys(
    State(cache): State<CacheService>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(params): Query<ListParams>,
) -> Result<Json<Page<KeyInfo>>, Problem> {
    let limit = require_count("limit", params.limit.unwrap_or(DEFAULT_LIMIT), MAX_LIMIT)?;
    if params.prefix.len() > KEY_LIMIT {
        return Err(Problem::query_parameter(
            "prefix",
            format!("must be at most {KEY_LIMIT} bytes long, got {}", params.prefix.len()),
        ));
    }
    let after = params.cursor.as_deref().map(|text| {
        parse_cursor(text).ok_or_else(|| Problem::query_parameter("cursor", "must be the next_cursor of a list"))
    });
    let after = after.transpose()?;
    let visible = caller.visible_keys(READ, &params.prefix)?;
    let mut page = Page::empty();
    for (at, keys) in visible.iter().enumerate() {
        let mut part = cache.list(&keys.prefix, after.clone(), limit - page.items.len()).await?;
        if keys.is_one_key {
            part.items.retain(|item| item.key.as_str() == keys.prefix);
            // The cursor would name a key that the caller must not see.
            part.next_cursor = None;
        }
        if page.append(part, limit, at + 1 == visible.len(), |item| to_cursor(item.key.as_str().as_bytes())) {
            break;
        }
    }
    Ok(Json(page))
}

/// Read, delete and store many values in one request.
///
/// The reads see the state before the batch; then the deletions are applied, then the writes in order. A batch is not a
/// transaction: every item has its own result, and neither an invalid item nor one that the credential does not permit stops
/// the others; `Items-Failed` counts those that changed nothing. A batch whose items have all failed has the status of its first
/// one, and reads that miss do not fail by themselves. Reads need the scope `cache:read`, deletions and writes
/// the scope `cache:write`. A `Fencing-Token` is checked against every key that is stored or deleted.
///
/// The reads return at most 8 * `cache.value_limit` bytes together. A value that would exceed this has the status 413 and
/// the code `cache-batch-too-large`; the later, smaller ones are still returned.
#[utoipa::path(post, path = "/cache/batch", tag = "cache", operation_id = "run_cache_batch",
    request_body = BatchRequest,
    responses((status = 200, description = "One result per item", body = BatchReply,
        headers(("Items-Failed" = u64, description = "How many deletions and writes failed; absent if none did")))))]
pub(in super::super) async fn run_batch(
    State(cache): State<CacheService>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(request): Json<BatchRequest>,
) -> Result<Response, Problem> {
    let batch = separate_batch(&cache, &caller, request)?;
    let only_reads = batch.set.valid.is_empty() && batch.delete.valid.is_empty();
    let reply = cache.run_batch(batch, token).await?;
    let (stored, deleted) = (reply.set.iter().map(|item| &item.error), reply.delete.iter().map(|item| &item.error));
    reject_ahead(stored.chain(deleted).map(Option::as_ref))?;
    let has_read = reply.get.iter().any(|item| item.error.is_none());
    let stored = errors_of("set", reply.set.iter().map(|item| &item.error));
    let failed =
        check_results(has_read, stored.chain(errors_of("delete", reply.delete.iter().map(|item| &item.error))))?;
    let mut response = (failed, Json(reply)).into_response();
    if only_reads {
        response.extensions_mut().insert(Unrecorded);
    }
    Ok(response)
}

/// Separates the items that can run.
///
/// # Errors
/// `invalid-body` if a list is too long, or if no item can run.
fn separate_batch(cache: &CacheService, caller: &Principal, request: BatchRequest) -> Result<SeparatedBatch, Problem> {
    let BatchRequest { get, set, delete } = request;
    let limit = cache.batch_limit();
    for (list, items) in [("/get", get.len()), ("/set", set.len()), ("/delete", delete.len())] {
        if items > limit {
            return Err(Problem::body_field(list, format!("must have at most {limit} items, got {items}")));
        }
    }
    let may = |scope: &'static str| move |key: &CacheKey| caller.require_key(scope, key.as_str());
    let batch = SeparatedBatch {
        get: separate(get, CacheKey::as_str, may(READ)),
        set: separate(
            set,
            |item| item.key.as_str(),
            |item| may(WRITE)(&item.key).and_then(|()| Ok(cache.check_item(item)?)),
        ),
        delete: separate(delete, CacheKey::as_str, may(WRITE)),
    };
    batch.require_valid()
}

/// Invalidate all values with a tag, in constant time.
///
/// A `Fencing-Token` is checked against the tag, not against its values.
#[utoipa::path(delete, path = "/cache/tags/{tag}", tag = "cache", operation_id = "invalidate_cache_tag",
    params(("tag" = String, Path, description = "1 to 128 bytes of UTF-8 without control characters and commas",
            min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1F\x7F-\x9F,]+$", example = "profiles")),
    responses((status = 204, description = "All values that were written with the tag before are invalid")))]
pub(in super::super) async fn invalidate_tag(
    State(cache): State<CacheService>,
    Path(tag): Path<Tag>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
) -> Result<NoContent, Problem> {
    cache.invalidate(&tag, token).await?;
    Ok(NoContent)
}
