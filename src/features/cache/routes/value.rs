//! One value: read, store, delete, touch, increment.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::error::LEASE_HEADER;
use super::super::model::{Counter, IncrementRequest, Millis, Tags, TouchRequest};
use super::super::service::{CacheService, Hit, Reading};
use super::super::value::{ContentType, JSON};
use super::super::write::Writing;
use super::KeyPath;
use crate::http::conditional::Preconditions;
use crate::http::extract::{BodyLimit, Json, NoQuery, Query, collect};
use crate::http::fencing::GrantToken;
use crate::http::idempotent_operation::Operation;
use crate::http::openapi_responses::{JsonBodyResponses, ReadResponses, WriteResponses};
use crate::http::problem::{Problem, ProblemBody};
use crate::http::reply::NoContent;

static TTL_HEADER: HeaderName = HeaderName::from_static("cache-ttl-ms");
static STALE_HEADER: HeaderName = HeaderName::from_static("cache-stale");

/// What a request may demand of the value that stands there (RFC 9110, section 13).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described here, read by Preconditions")]
pub(in super::super) struct ConditionHeaders {
    /// `*` or entity tags that the value must not have. Reads then answer 304, writes 412; `*` is create-only.
    #[param(rename = "If-None-Match", value_type = String, required = false,
            pattern = r#"^(\*|((W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)?)$"#)]
    if_none_match: (),
    /// `*` or entity tags of which the value must have one; else the answer is 412.
    #[param(rename = "If-Match", value_type = String, required = false,
            pattern = r#"^(\*|((W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)?)$"#)]
    if_match: (),
}

/// The stampede guard's header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described here, read by its own function")]
pub(in super::super) struct LeaseParam {
    /// The lease under which the value was rebuilt; without it anybody may store.
    #[param(rename = "Cache-Lease", value_type = String, required = false, pattern = "^[0-9a-f]{32}$")]
    cache_lease: (),
}

/// How a value is read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct GetParams {
    /// Give the value this life from now on, in the same step; milliseconds.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 31_536_000_000_u64)]
    touch_ms: Option<Millis>,
    /// On a miss, take the lease to rebuild the value for so many milliseconds, or get a stale value, or wait a little.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 60_000)]
    lease_ms: Option<Millis>,
    /// `miss`: answer 404 instead of a failure when Redis cannot be asked.
    #[serde(default)]
    #[param(inline)]
    on_error: OnError,
}

/// What a read answers when Redis cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum OnError {
    #[default]
    Fail,
    Miss,
}

/// Read a value: the body as it was stored.
#[utoipa::path(get, path = "/cache/{key}", tag = "cache", operation_id = "get_value",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7"),
           GetParams,
           ConditionHeaders),
    responses((status = 200, description = "The value", body = serde_json::Value, content_type = "*/*",
               headers(("ETag" = String, description = "Follows from body and Content-Type"),
                       ("Cache-TTL-Ms" = u64, description = "Milliseconds left; absent when the value does not expire"),
                       ("Cache-Stale" = bool, description = "`true`: an expired value's copy, while somebody rebuilds it"))),
              (status = 304, description = "The caller has this value"),
              (status = 404, description = "`cache-miss`", body = ProblemBody, content_type = "application/problem+json",
               headers(("Cache-Lease" = String, description = "With `lease_ms`: rebuild the value and PUT it with this header"),
                       ("Retry-After" = u64, description = "With `lease_ms`: somebody else rebuilds it; seconds"))),
              (status = 409, description = "`wrong-type`, `cache-contended`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 412, description = "`precondition-failed`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-header`", body = ProblemBody, content_type = "application/problem+json"),
              WriteResponses))]
pub(in super::super) async fn get_value(
    State(cache): State<CacheService>,
    KeyPath(key): KeyPath,
    Query(params): Query<GetParams>,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    let reading =
        Reading { touch: params.touch_ms, lease: params.lease_ms, fault_is_miss: params.on_error == OnError::Miss };
    // Boxed: the handler's future is moved several times on its way, and this is most of it.
    let hit = Box::pin(cache.get(&key, reading)).await?;
    answer(&hit, &conditions)
}

/// Read a value's headers.
#[utoipa::path(head, path = "/cache/{key}", tag = "cache", operation_id = "head_value",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7"),
           ConditionHeaders),
    responses((status = 200, description = "The value is there; its length stands in Content-Length",
               headers(("ETag" = String, description = "Follows from body and Content-Type"),
                       ("Cache-TTL-Ms" = u64, description = "Milliseconds left; absent when the value does not expire"))),
              (status = 304, description = "The caller has this value"),
              (status = 404, description = "`cache-miss`"),
              (status = 409, description = "`wrong-type`"),
              (status = 412, description = "`precondition-failed`"),
              (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-header`"),
              ReadResponses))]
pub(in super::super) async fn head_value(
    State(cache): State<CacheService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    let hit = cache.get(&key, Reading::default()).await?;
    answer(&hit, &conditions)
}

/// How a value is stored.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct PutParams {
    /// The value's life, milliseconds; without it the policy of the key's longest configured prefix applies.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 31_536_000_000_u64, example = 60_000)]
    ttl_ms: Option<Millis>,
    /// Keep what is left of the life of the value that is replaced; the rest applies when there is none.
    #[serde(default)]
    keep_ttl: bool,
    /// Names by which the value may be invalidated with others: at most 16, 1 to 128 bytes each, between commas.
    #[param(value_type = String, required = false, example = "user:7,profiles",
            pattern = r"^[^\x00-\x1F\x7F-\x9F,]{1,128}(,[^\x00-\x1F\x7F-\x9F,]{1,128}){0,15}$")]
    tags: Option<TagList>,
}

/// Tags between commas.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct TagList(Tags);

impl TryFrom<String> for TagList {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Tags::parse(&text).map(Self)
    }
}

/// Store a body under a key, with its Content-Type.
#[utoipa::path(put, path = "/cache/{key}", tag = "cache", operation_id = "put_value",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7"),
           PutParams,
           ConditionHeaders,
           LeaseParam),
    request_body(content((Option<serde_json::Value> = "application/json", example = json!({"user": 7})),
                         (Option<String> = "application/octet-stream", example = "any bytes")),
                 description = "Any body up to `cache.value_limit`; without a Content-Type it is application/octet-stream"),
    responses((status = 201, description = "Stored; nothing stood there",
               headers(("ETag" = String, description = "Follows from body and Content-Type"),
                       ("Cache-TTL-Ms" = u64, description = "Milliseconds left; absent when the value does not expire")),
               links(("read" = (operation_id = "get_value", parameters(("key" = "$request.path.key")))),
                     ("prolong" = (operation_id = "touch_value", parameters(("key" = "$request.path.key")))),
                     ("delete" = (operation_id = "delete_value", parameters(("key" = "$request.path.key")))))),
              (status = 204, description = "Stored; a value was replaced",
               headers(("ETag" = String, description = "Follows from body and Content-Type"),
                       ("Cache-TTL-Ms" = u64, description = "Milliseconds left; absent when the value does not expire"))),
              (status = 400, description = "`body-incomplete`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 409, description = "`wrong-type`, `lease-lost`, `cache-contended`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 412, description = "`precondition-failed`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 413, description = "`body-too-large`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-header`", body = ProblemBody, content_type = "application/problem+json"),
              WriteResponses))]
pub(in super::super) async fn put_value(
    State(cache): State<CacheService>,
    KeyPath(key): KeyPath,
    Query(params): Query<PutParams>,
    conditions: Preconditions,
    GrantToken(token): GrantToken,
    mut request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let lease = lease(headers)?;
    let content_type = match headers.get(header::CONTENT_TYPE) {
        None => ContentType::binary(),
        Some(text) => ContentType::parse(text.as_bytes())
            .map_err(|rule| Problem::request_header(header::CONTENT_TYPE.as_str(), rule))?,
    };
    request.extensions_mut().insert(BodyLimit(cache.config.value_limit.as_usize()));
    let body = collect(request).await?;
    let writing = Writing {
        content_type,
        body,
        tags: params.tags.map(|TagList(tags)| tags).unwrap_or_default(),
        ttl: params.ttl_ms,
        keep_ttl: params.keep_ttl,
        conditions,
        lease,
        token,
    };
    let stored = cache.put(&key, writing).await?;
    let mut response = if stored.created { StatusCode::CREATED } else { StatusCode::NO_CONTENT }.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, stored.etag.header());
    if let Some(ttl) = stored.ttl {
        headers.insert(TTL_HEADER.clone(), HeaderValue::from(ttl));
    }
    Ok(response)
}

/// How a value is deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct DeleteParams {
    /// Answer the value and delete it in one step: of concurrent callers exactly one gets it.
    #[serde(default)]
    take: bool,
}

/// Delete a value; with `take`, answer it at the same time.
#[utoipa::path(delete, path = "/cache/{key}", tag = "cache", operation_id = "delete_value",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7"),
           DeleteParams,
           ConditionHeaders),
    responses((status = 200, description = "With `take`: the value, which is now deleted", body = serde_json::Value, content_type = "*/*",
               headers(("ETag" = String, description = "Follows from body and Content-Type"))),
              (status = 204, description = "Deleted, or nothing stood there"),
              (status = 404, description = "With `take`: `cache-miss`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 409, description = "`wrong-type`, `cache-contended`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 412, description = "`precondition-failed`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-header`", body = ProblemBody, content_type = "application/problem+json"),
              WriteResponses))]
pub(in super::super) async fn delete_value(
    State(cache): State<CacheService>,
    KeyPath(key): KeyPath,
    Query(params): Query<DeleteParams>,
    conditions: Preconditions,
    GrantToken(token): GrantToken,
) -> Result<Response, Problem> {
    if params.take {
        return Ok(whole(&cache.take(&key, &conditions, token).await?));
    }
    cache.delete(&key, &conditions, token).await?;
    Ok(NoContent.into_response())
}

/// Give a value a new life from now on.
#[utoipa::path(post, path = "/cache/{key}/touch", tag = "cache", operation_id = "touch_value",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "session:7")),
    request_body = TouchRequest,
    responses((status = 204, description = "The value has the new life"),
              (status = 404, description = "`cache-miss`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 409, description = "`wrong-type`, `cache-contended`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-body`", body = ProblemBody, content_type = "application/problem+json"),
              JsonBodyResponses, WriteResponses))]
pub(in super::super) async fn touch_value(
    State(cache): State<CacheService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(body): Json<TouchRequest>,
) -> Result<NoContent, Problem> {
    cache.touch(&key, body.ttl_ms, token).await?;
    Ok(NoContent)
}

/// Add to a counter; the first increment creates it and sets its expiry, once.
#[utoipa::path(post, path = "/cache/{key}/increment", tag = "cache", operation_id = "increment_counter",
    params(("key" = String, Path, description = "1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`",
            min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "logins:7")),
    request_body = IncrementRequest,
    responses((status = 200, description = "The counter; with an `Idempotency-Key`, the first answer to it", body = Counter),
              (status = 409, description = "`not-a-number`, `wrong-type`, `cache-contended`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-body`", body = ProblemBody, content_type = "application/problem+json"),
              JsonBodyResponses, WriteResponses))]
pub(in super::super) async fn increment_counter(
    State(cache): State<CacheService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    Operation(operation): Operation,
    GrantToken(token): GrantToken,
    Json(body): Json<IncrementRequest>,
) -> Result<Json<Counter>, Problem> {
    Ok(Json(cache.increment(&key, body.by, body.ttl_ms, operation.as_ref(), token).await?))
}

/// 200, 304 or 412, as the conditions demand.
fn answer(hit: &Hit, conditions: &Preconditions) -> Result<Response, Problem> {
    if conditions.is_empty() {
        return Ok(whole(hit));
    }
    let etag = Some(hit.value.etag());
    if !conditions.matches(etag) {
        return Err(super::super::error::CacheError::PreconditionFailed.into());
    }
    if !conditions.already_has(etag) {
        return Ok(whole(hit));
    }
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    describe(hit, response.headers_mut());
    Ok(response)
}

/// The value with its headers; its bytes are not copied.
fn whole(hit: &Hit) -> Response {
    let mut response = Response::new(Body::from(hit.value.body()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type(hit.value.content_type()));
    describe(hit, headers);
    response
}

fn describe(hit: &Hit, headers: &mut HeaderMap) {
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
        // Checked when it was stored; bytes that somebody else wrote there may be none.
        ContentType::Other(text) => HeaderValue::from_maybe_shared(text.clone())
            .unwrap_or_else(|_| HeaderValue::from_static(super::super::value::BINARY)),
    }
}

fn lease(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(&LEASE_HEADER) else { return Ok(None) };
    let token = value.to_str().ok().filter(|text| {
        text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
    });
    let token =
        token.ok_or_else(|| Problem::request_header(LEASE_HEADER.as_str(), "is no lease: 32 hexadecimal digits"))?;
    Ok(Some(token.to_owned()))
}
