//! Values of warming tasks.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::super::error::STATE_HEADER;
use super::super::model::{LONGEST_VALUE_WAIT, ValueQuery, Written, WrittenReply};
use super::super::service::Shared;
use crate::http::auth::Principal;
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;

static TTL_HEADER: HeaderName = HeaderName::from_static("cache-ttl-ms");

/// Read a value, from the cache or from its source.
///
/// If the value is not cached, it is fetched, stored and returned. Callers that ask for the same key at the same time, on
/// any replica, cause one fetch. Besides `warming:read`, the call needs `cache:read` for the key.
#[utoipa::path(get, path = "/warming/values/{key}", tag = "warming", operation_id = "get_warming_value",
    params(("key" = String, Path, description = "A key of the cache that a warming task has; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, example = "market:limits:north"), ValueQuery),
    responses((status = 200, description = "The value", body = serde_json::Value,
        headers(("Cache-State" = String, description = "`hit`: it was cached; `miss`: it was fetched; `stale`: a copy of the \
                 expired value, while another client fetches"),
                ("Cache-TTL-Ms" = u64, description = "Milliseconds left; absent if the value does not expire")))))]
pub(in super::super) async fn get_warming_value(
    State(warming): State<Shared>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(key): Path<String>,
    Query(query): Query<ValueQuery>,
) -> Result<Response, Problem> {
    caller.require_key("cache:read", &key)?;
    require_count("wait_ms", query.wait_ms, LONGEST_VALUE_WAIT)?;
    let served = warming.value(&key, Duration::from_millis(query.wait_ms)).await?;
    let mut response = Body::from(served.value.body).into_response();
    let headers = response.headers_mut();
    headers.insert(STATE_HEADER.clone(), HeaderValue::from_static(served.origin.label()));
    let kind = HeaderValue::try_from(served.value.content_type);
    headers.insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    if let Some(left) = served.value.ttl_ms {
        headers.insert(TTL_HEADER.clone(), left.into());
    }
    Ok(response)
}

/// Tell that a value has been written to its source, after the commit.
///
/// The cache stores the given value, or deletes its own and fetches the new one. Fetches that began before the call cannot
/// store what they read. Besides `warming:write`, the call needs `cache:write` for the key.
#[utoipa::path(post, path = "/warming/values/{key}/written", tag = "warming", operation_id = "note_warming_write",
    params(("key" = String, Path, description = "A key of the cache that a warming task has; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, example = "market:limits:north")),
    request_body = Written,
    responses((status = 200, description = "What the cache has now", body = WrittenReply)))]
pub(in super::super) async fn note_warming_write(
    State(warming): State<Shared>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(key): Path<String>,
    NoQuery: NoQuery,
    Json(written): Json<Written>,
) -> Result<Json<WrittenReply>, Problem> {
    caller.require_key("cache:write", &key)?;
    if !written.invalidate.is_empty() {
        // A tag can have values of any key.
        caller.require("cache:write")?;
    }
    Ok(Json(warming.written(&key, written).await?))
}
