//! Routes of one value: read, store, delete, touch, increment.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::super::error::LEASE_HEADER;
use super::super::model::{CacheKey, Counter, GetParams, IncrementRequest, Millis, Tags, TouchRequest};
use super::super::service::{CacheService, Hit};
use super::super::stored_value::{ContentType, JSON};
use super::super::write::PutOptions;
use crate::http::conditional::Preconditions;
use crate::http::extract::{BodyLimit, Json, NoQuery, Path, Query, collect};
use crate::http::fencing::GrantToken;
use crate::http::idempotent_operation::{LimitedLife, Operation};
use crate::http::problem::{Problem, ProblemBody};
use crate::http::reply::NoContent;

static TTL_HEADER: HeaderName = HeaderName::from_static("cache-ttl-ms");
static TYPE_HEADER: HeaderName = HeaderName::from_static("cache-content-type");
static STALE_HEADER: HeaderName = HeaderName::from_static("cache-stale");

/// The conditions of a request on the stored value (RFC 9110, section 13).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described here, read by Preconditions")]
pub(in super::super) struct ConditionHeaders {
    /// `*` or entity tags that the value must not have. Otherwise reads return 304 and writes 412; `*` means create
    /// only.
    #[param(rename = "If-None-Match", value_type = String, required = false,
            pattern = r#"^(\*|((W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)?)$"#)]
    if_none_match: (),
    /// `*` or entity tags of which the value must have one. Otherwise the response is 412.
    #[param(rename = "If-Match", value_type = String, required = false,
            pattern = r#"^(\*|((W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)?)$"#)]
    if_match: (),
}

/// The headers of a value to store.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described here, read by their own functions")]
pub(in super::super) struct StoreHeaders {
    /// The lease under which the value was rebuilt. Without it, no lease is required.
    #[param(rename = "Cache-Lease", value_type = String, required = false, pattern = "^[0-9a-f]{32}$")]
    cache_lease: (),
    /// The media type of the value, for clients that send every value as `application/octet-stream`. Reads return it as
    /// the Content-Type of their response.
    #[param(rename = "Cache-Content-Type", value_type = String, required = false, pattern = "^[!-.0-~]{1,127}/[!-~]{1,127}$")]
    cache_content_type: (),
}

/// The body of a value: any bytes.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "described here, read and written as it is")]
struct ValueBytes(Vec<u8>);

/// Read a value. The body is returned exactly as it was stored.
#[utoipa::path(get, path = "/cache/{key}", tag = "cache", operation_id = "get_cache_value",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7"),
           GetParams,
           ConditionHeaders),
    responses((status = 200, description = "The value", body = inline(ValueBytes), content_type = "application/octet-stream",
               headers(("ETag" = String, description = "Derived from body and Content-Type"),
                       ("Cache-TTL-Ms" = u64, description = "Milliseconds left; absent if the value does not expire"),
                       ("Cache-Stale" = bool, description = "`true`: a copy of the expired value, while another client rebuilds it"))),
              (status = 304, description = "The client has the current value"),
              (status = 404, description = "`cache-miss`", body = ProblemBody, content_type = "application/problem+json",
               headers(("Cache-Lease" = String, description = "With `lease_ms`: rebuild the value and PUT it with this header"),
                       ("Retry-After" = u64, description = "With `lease_ms`: another client is rebuilding it; seconds")))))]
pub(in super::super) async fn get_value(
    State(cache): State<CacheService>,
    Path(key): Path<CacheKey>,
    Query(params): Query<GetParams>,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    // Boxed: the handler's future is moved several times, and this is most of it.
    let hit = Box::pin(cache.get(&key, params)).await?;
    conditional_response(&hit, &conditions)
}

/// Read a value's headers.
#[utoipa::path(head, path = "/cache/{key}", tag = "cache", operation_id = "head_cache_value",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7"),
           ConditionHeaders),
    responses((status = 200, description = "The value exists; Content-Length is its length",
               headers(("ETag" = String, description = "Derived from body and Content-Type"),
                       ("Cache-TTL-Ms" = u64, description = "Milliseconds left; absent if the value does not expire"))),
              (status = 304, description = "The client has the current value"),
              (status = 404, description = "`cache-miss`"),
              (status = 409, description = "`wrong-type`"),
              (status = 412, description = "`precondition-failed`"),
              (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-header`")))]
pub(in super::super) async fn head_value(
    State(cache): State<CacheService>,
    Path(key): Path<CacheKey>,
    NoQuery: NoQuery,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    let hit = cache.get(&key, GetParams::default()).await?;
    conditional_response(&hit, &conditions)
}

/// How to store a value.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct PutParams {
    /// The value's TTL, milliseconds; without it the policy of the longest matching prefix applies.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 31_536_000_000_u64, example = 60_000)]
    ttl_ms: Option<Millis>,
    /// Keep the remaining TTL of the value that is replaced; `ttl_ms` or the policy applies if there is none.
    #[serde(default)]
    keep_ttl: bool,
    /// Names for invalidating values together: at most 16, separated by commas, 1 to 128 bytes each.
    #[param(value_type = String, required = false, example = "user:7,profiles",
            pattern = r"^[^\x00-\x1F\x7F-\x9F,]{1,128}(,[^\x00-\x1F\x7F-\x9F,]{1,128}){0,15}$")]
    #[serde(default, deserialize_with = "Tags::separated_by_commas")]
    tags: Tags,
}

/// Store a body under a key, with its Content-Type.
#[utoipa::path(put, path = "/cache/{key}", tag = "cache", operation_id = "put_cache_value",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7"),
           PutParams,
           ConditionHeaders,
           StoreHeaders),
    request_body(content((inline(ValueBytes) = "application/octet-stream", example = "any bytes")),
        description = "Any body up to `cache.value_limit`. Its media type is in `Cache-Content-Type` or `Content-Type`"),
    responses((status = 201, description = "Stored as a new value",
               headers(("ETag" = String, description = "Derived from body and Content-Type"),
                       ("Cache-TTL-Ms" = u64, description = "Milliseconds left; absent if the value does not expire")),
               links(("read" = (operation_id = "get_cache_value", parameters(("key" = "$request.path.key")))),
                     ("prolong" = (operation_id = "touch_cache_value", parameters(("key" = "$request.path.key")))),
                     ("delete" = (operation_id = "delete_cache_value", parameters(("key" = "$request.path.key")))))),
              (status = 204, description = "Stored in place of another value",
               headers(("ETag" = String, description = "Derived from body and Content-Type"),
                       ("Cache-TTL-Ms" = u64, description = "Milliseconds left; absent if the value does not expire")))))]
pub(in super::super) async fn put_value(
    State(cache): State<CacheService>,
    Path(key): Path<CacheKey>,
    Query(params): Query<PutParams>,
    conditions: Preconditions,
    GrantToken(token): GrantToken,
    mut request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let lease = lease(headers)?;
    let content_type = media_type(headers)?;
    request.extensions_mut().insert(BodyLimit(cache.value_limit()));
    let body = collect(request).await?;
    let options = PutOptions {
        content_type,
        body,
        tags: params.tags,
        ttl: params.ttl_ms,
        keep_ttl: params.keep_ttl,
        conditions,
        lease,
        token,
    };
    let (stored, etag) = cache.put(&key, options).await?;
    let mut response = if stored.created { StatusCode::CREATED } else { StatusCode::NO_CONTENT }.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag.header());
    if let Some(ttl) = stored.ttl {
        headers.insert(TTL_HEADER.clone(), HeaderValue::from(ttl));
    }
    Ok(response)
}

/// How to delete a value.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct DeleteParams {
    /// Return the value and delete it in one step: of concurrent clients exactly one receives it.
    #[serde(default)]
    take: bool,
}

/// Delete a value; with `take`, return it as well.
#[utoipa::path(delete, path = "/cache/{key}", tag = "cache", operation_id = "delete_cache_value",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7"),
           DeleteParams,
           ConditionHeaders),
    responses((status = 200, description = "With `take`: the value, which is now deleted", body = inline(ValueBytes), content_type = "application/octet-stream",
               headers(("ETag" = String, description = "Derived from body and Content-Type"))),
              (status = 204, description = "Deleted, or there was no value")))]
pub(in super::super) async fn delete_value(
    State(cache): State<CacheService>,
    Path(key): Path<CacheKey>,
    Query(params): Query<DeleteParams>,
    conditions: Preconditions,
    GrantToken(token): GrantToken,
) -> Result<Response, Problem> {
    if params.take {
        return Ok(full_response(&cache.take(&key, &conditions, token).await?));
    }
    cache.delete(&key, &conditions, token).await?;
    Ok(NoContent.into_response())
}

/// Set a value's TTL.
#[utoipa::path(post, path = "/cache/{key}/touch", tag = "cache", operation_id = "touch_cache_value",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7")),
    request_body = TouchRequest,
    responses((status = 204, description = "The TTL is set")))]
pub(in super::super) async fn touch_value(
    State(cache): State<CacheService>,
    Path(key): Path<CacheKey>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(body): Json<TouchRequest>,
) -> Result<NoContent, Problem> {
    cache.touch(&key, body.ttl_ms, token).await?;
    Ok(NoContent)
}

/// Add to a counter. The first increment creates the counter and sets its expiry.
#[utoipa::path(post, path = "/cache/{key}/increment", tag = "cache", operation_id = "increment_cache_counter",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "logins:7")),
    request_body = IncrementRequest,
    responses((status = 200, description = "The counter; with an `Idempotency-Key`, the first result for that key", body = Counter)))]
pub(in super::super) async fn increment_counter(
    State(cache): State<CacheService>,
    Path(key): Path<CacheKey>,
    NoQuery: NoQuery,
    Operation(operation): Operation,
    GrantToken(token): GrantToken,
    Json(body): Json<IncrementRequest>,
) -> Result<(Extension<LimitedLife>, Json<Counter>), Problem> {
    let counter = cache.increment(&key, body.by, body.ttl_ms, operation.as_ref(), token).await?;
    // It is repeated even if the counter has ended: the increment must not count in the next one.
    Ok((Extension(LimitedLife { life: Duration::MAX, countdowns: &["ttl_ms"] }), Json(counter)))
}

/// 200, 304 or 412, depending on the conditions.
fn conditional_response(hit: &Hit, conditions: &Preconditions) -> Result<Response, Problem> {
    if conditions.is_empty() {
        return Ok(full_response(hit));
    }
    let etag = Some(hit.value.etag());
    if !conditions.matches(etag) {
        return Err(super::super::error::CacheError::PreconditionFailed.into());
    }
    if !conditions.already_has(etag) {
        return Ok(full_response(hit));
    }
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    value_headers(hit, response.headers_mut());
    Ok(response)
}

/// The value with its headers; the body is not copied.
fn full_response(hit: &Hit) -> Response {
    let mut response = Response::new(Body::from(hit.value.body()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type(hit.value.content_type()));
    value_headers(hit, headers);
    response
}

fn value_headers(hit: &Hit, headers: &mut HeaderMap) {
    headers.insert(header::ETAG, hit.value.etag().header());
    if let Some(ttl) = hit.ttl {
        headers.insert(TTL_HEADER.clone(), HeaderValue::from(ttl));
    }
    if hit.stale {
        headers.insert(STALE_HEADER.clone(), HeaderValue::from_static("true"));
    }
}

fn content_type(content_type: &ContentType) -> HeaderValue {
    match content_type {
        ContentType::Json => HeaderValue::from_static(JSON),
        // Validated when the cache stored it; another program may have stored anything.
        ContentType::Other(text) => HeaderValue::from_maybe_shared(text.clone())
            .unwrap_or_else(|_| HeaderValue::from_static(super::super::stored_value::BINARY)),
    }
}

/// The media type of the value that a request stores.
fn media_type(headers: &HeaderMap) -> Result<ContentType, Problem> {
    let parse = |name: &HeaderName, text: &HeaderValue| {
        ContentType::parse(text.as_bytes()).map_err(|rule| Problem::request_header(name.as_str(), rule))
    };
    match (headers.get(&TYPE_HEADER), headers.get(header::CONTENT_TYPE)) {
        (Some(text), _) if !has_subtype(text) => {
            Err(Problem::request_header(TYPE_HEADER.as_str(), "must be a media type such as `application/json`"))
        }
        (Some(text), _) => parse(&TYPE_HEADER, text),
        (None, Some(text)) => parse(&header::CONTENT_TYPE, text),
        (None, None) => Ok(ContentType::binary()),
    }
}

fn has_subtype(text: &HeaderValue) -> bool {
    let parts = text.to_str().ok().and_then(|text| text.split_once('/'));
    parts.is_some_and(|(kind, subtype)| {
        (1..=127).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_graphic()) && !subtype.is_empty()
    })
}

fn lease(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(&LEASE_HEADER) else { return Ok(None) };
    let token = value.to_str().ok().filter(|text| {
        text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
    });
    let token = token
        .ok_or_else(|| Problem::request_header(LEASE_HEADER.as_str(), "must be a lease of 32 hexadecimal digits"))?;
    Ok(Some(token.to_owned()))
}
