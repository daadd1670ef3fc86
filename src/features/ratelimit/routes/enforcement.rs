//! Routes that return decisions as statuses, for proxies such as nginx (`auth_request`) and APISIX (`forward-auth`).

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, Method};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::headers::fields;
use super::super::model::{CheckRequest, LimitKey};
use super::super::service::LimitService;
use super::{allow, life, limit_repetitions};
use crate::http::auth::Principal;
use crate::http::extract::{Json, parse_query};
use crate::http::idempotent_operation::Operation;
use crate::http::problem::{Location, Problem};
use crate::http::reply::NoContent;

static LIMITER: HeaderName = HeaderName::from_static("x-ratelimit-limiter");
static KEY: HeaderName = HeaderName::from_static("x-ratelimit-key");
static COST: HeaderName = HeaderName::from_static("x-ratelimit-cost");

/// A check in the query. Missing parameters are taken from the `X-RateLimit-Limiter`, `-Key` and `-Cost` headers. A header
/// is ignored if its parameter is present: the proxy's client may have sent it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct EnforceQuery {
    /// The limiter's name.
    #[param(required = false, nullable = false, min_length = 1, max_length = 64, example = "api")]
    limiter: Option<String>,
    /// The key as in a check.
    #[param(value_type = String, required = false, nullable = false, min_length = 1, max_length = 512,
            pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "10.0.0.1:orders")]
    key: Option<LimitKey>,
    /// The cost as in a check.
    #[param(required = false, nullable = false, minimum = 1, maximum = 1_000_000_000, example = 1)]
    cost: Option<u64>,
}

/// Decides the check that a proxy requests in the query and headers, or else in a JSON body.
async fn enforce(limits: &LimitService, caller: &Principal, request: Request) -> Result<Response, Problem> {
    let query: EnforceQuery = parse_query(request.uri().query().unwrap_or_default())?;
    // A proxy may forward its client's body, so the body counts only if nothing else states a check.
    let operation = Operation(request.extensions().get().cloned());
    let by_query = query.limiter.is_some() || query.key.is_some() || query.cost.is_some();
    let by_headers = [&LIMITER, &KEY, &COST].into_iter().any(|name| request.headers().contains_key(name));
    let (check, location) = if request.method() != Method::POST || by_query || by_headers {
        (query.with_headers(request.headers())?, Location::Query)
    } else {
        let Json(check) = Json::from_request(request, &()).await?;
        (check, Location::Body)
    };
    allow(caller, &check)?;
    let check = limits.resolve(caller, check).map_err(|invalid| invalid.at(location))?;
    let decision = limits.enforce(check).await?;
    let decisions = [decision];
    Ok(limit_repetitions(&operation, life(&decisions), (fields(&decisions), NoContent).into_response()))
}

impl EnforceQuery {
    /// Takes what the query does not state from the headers.
    fn with_headers(self, headers: &HeaderMap) -> Result<CheckRequest, Problem> {
        let missing = |name| Problem::query_parameter(name, "is required unless its header is sent");
        let limiter = match self.limiter {
            Some(limiter) => limiter,
            None => header(headers, &LIMITER)?.ok_or_else(|| missing("limiter"))?.to_owned(),
        };
        let key = if let Some(key) = self.key {
            key
        } else {
            let text = header(headers, &KEY)?.ok_or_else(|| missing("key"))?;
            LimitKey::try_from(text.to_owned()).map_err(|rule| Problem::request_header(KEY.as_str(), rule))?
        };
        let cost = if self.cost.is_some() {
            self.cost
        } else {
            let number = |_| Problem::request_header(COST.as_str(), "must be a whole number");
            header(headers, &COST)?.map(|text| text.parse().map_err(number)).transpose()?
        };
        Ok(CheckRequest { limiter: Some(limiter), strategy: None, key, cost })
    }
}

/// The text of a header that may occur at most once.
fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::request_header(name.as_str(), "must not be repeated"));
    }
    let text = std::str::from_utf8(value.as_bytes());
    text.map(Some).map_err(|_| Problem::request_header(name.as_str(), "must be UTF-8"))
}

/// Enforce a limit.
///
/// The status is the decision: 204 allows the call, 429 refuses it.
#[utoipa::path(post, path = "/ratelimit/enforce", tag = "ratelimit", operation_id = "enforce_limit",
    params(EnforceQuery,
           ("X-RateLimit-Limiter" = Option<String>, Header, description = "Replaces `limiter`"),
           ("X-RateLimit-Key" = Option<String>, Header, description = "Replaces `key`"),
           ("X-RateLimit-Cost" = Option<u64>, Header, description = "Replaces `cost`")),
    request_body = CheckRequest,
    responses((status = 204, description = "The call is allowed",
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of each limit"),
                       ("RateLimit" = String, description = "The available cost of each limit, and the time until more is available")))))]
pub(in super::super) async fn enforce_limit(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    request: Request,
) -> Result<Response, Problem> {
    enforce(&limits, &caller, request).await
}

/// Enforce a limit, for proxies that send GET.
#[utoipa::path(get, path = "/ratelimit/enforce", tag = "ratelimit", operation_id = "enforce_limit_by_query",
    params(EnforceQuery,
           ("X-RateLimit-Limiter" = Option<String>, Header, description = "Replaces `limiter`"),
           ("X-RateLimit-Key" = Option<String>, Header, description = "Replaces `key`"),
           ("X-RateLimit-Cost" = Option<u64>, Header, description = "Replaces `cost`")),
    responses((status = 204, description = "The call is allowed",
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of each limit"),
                       ("RateLimit" = String, description = "The available cost of each limit, and the time until more is available")))))]
pub(in super::super) async fn enforce_limit_by_query(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    request: Request,
) -> Result<Response, Problem> {
    enforce(&limits, &caller, request).await
}
