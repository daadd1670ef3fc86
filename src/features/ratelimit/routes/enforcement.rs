//! Decisions as statuses, for proxies: nginx `auth_request`, APISIX `forward-auth` and their like.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::asking::Ask;
use super::super::decision::Decision;
use super::super::fields::{describe, refusal};
use super::super::model::{CheckRequest, LimitKey};
use super::super::service::LimitService;
use super::allow_inline;
use crate::http::auth::Principal;
use crate::http::extract::{Json, Query};
use crate::http::openapi_responses::{JsonBodyResponses, WriteResponses};
use crate::http::problem::{Location, Problem, ProblemBody};
use crate::http::reply::NoContent;

static LIMITER: HeaderName = HeaderName::from_static("x-ratelimit-limiter");
static KEY: HeaderName = HeaderName::from_static("x-ratelimit-key");
static COST: HeaderName = HeaderName::from_static("x-ratelimit-cost");

/// A check in the query; what it lacks is taken from the `X-RateLimit-Limiter`, `-Key` and `-Cost` headers. A header whose
/// parameter is there is not looked at: it may be the client's.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct EnforceQuery {
    /// The limiter's name.
    #[param(required = false, nullable = false, min_length = 1, max_length = 64, example = "api")]
    limiter: Option<String>,
    /// As in a check.
    #[param(value_type = String, required = false, nullable = false, min_length = 1, max_length = 512,
            pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "10.0.0.1:orders")]
    key: Option<LimitKey>,
    /// As in a check.
    #[param(required = false, nullable = false, minimum = 1, maximum = 1_000_000_000, example = 1)]
    cost: Option<u64>,
}

/// What a proxy asks: in the query and headers, or else in a JSON body.
pub(in super::super) struct Enforcement {
    request: CheckRequest,
    /// Where a wrong field is said to be.
    location: Location,
}

impl FromRequest<LimitService> for Enforcement {
    type Rejection = Problem;

    async fn from_request(request: Request, limits: &LimitService) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let Query(query) = Query::<EnforceQuery>::from_request_parts(&mut parts, limits).await?;
        // A proxy may pass its own client's body on: it counts only where nothing else says what to check.
        let by_query = query.limiter.is_some() || query.key.is_some() || query.cost.is_some();
        let by_headers = [&LIMITER, &KEY, &COST].into_iter().any(|name| parts.headers.contains_key(name));
        if parts.method != Method::POST || by_query || by_headers {
            return Self::of_parts(query, &parts);
        }
        let Json(request) = Json::from_request(Request::from_parts(parts, body), limits).await?;
        Ok(Self { request, location: Location::Body })
    }
}

impl Enforcement {
    fn of_parts(query: EnforceQuery, parts: &Parts) -> Result<Self, Problem> {
        let missing = |name| Problem::query_parameter(name, "is missing, and so is its header");
        let limiter = match query.limiter {
            Some(limiter) => limiter,
            None => header(&parts.headers, &LIMITER)?.ok_or_else(|| missing("limiter"))?.to_owned(),
        };
        let key = if let Some(key) = query.key {
            key
        } else {
            let text = header(&parts.headers, &KEY)?.ok_or_else(|| missing("key"))?;
            LimitKey::try_from(text.to_owned()).map_err(|rule| Problem::request_header(KEY.as_str(), rule))?
        };
        let cost = if query.cost.is_some() {
            query.cost
        } else {
            let number = |_| Problem::request_header(COST.as_str(), "is no whole number");
            header(&parts.headers, &COST)?.map(|text| text.parse().map_err(number)).transpose()?
        };
        let request = CheckRequest { limiter: Some(limiter), strategy: None, key, cost };
        Ok(Self { request, location: Location::Query })
    }

    fn ask(self, limits: &LimitService, caller: &Principal) -> Result<Ask, Problem> {
        allow_inline(caller, &self.request)?;
        limits.ask(self.request).map_err(|bad| bad.at(self.location))
    }
}

/// A header's text, if it is there once.
fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::request_header(name.as_str(), "stands twice"));
    }
    let text = std::str::from_utf8(value.as_bytes());
    text.map(Some).map_err(|_| Problem::request_header(name.as_str(), "is not UTF-8"))
}

/// Enforce a limit.
///
/// As a check, but the status decides: 204 lets the call pass, 429 does not.
#[utoipa::path(post, path = "/ratelimit/enforce", tag = "ratelimit", operation_id = "enforce_limit",
    params(EnforceQuery,
           ("X-RateLimit-Limiter" = Option<String>, Header, description = "Instead of `limiter`"),
           ("X-RateLimit-Key" = Option<String>, Header, description = "Instead of `key`"),
           ("X-RateLimit-Cost" = Option<u64>, Header, description = "Instead of `cost`")),
    request_body = CheckRequest,
    responses((status = 204, description = "The call may pass",
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of the limit"),
                       ("RateLimit" = String, description = "What is left, and when there is more"))),
              (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-query`, `invalid-header`, `invalid-body`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 429, description = "`rate-limited`", body = ProblemBody, content_type = "application/problem+json"),
              JsonBodyResponses, WriteResponses))]
pub(in super::super) async fn enforce_limit(
    State(limits): State<LimitService>,
    Extension(caller): Extension<Arc<Principal>>,
    enforcement: Enforcement,
) -> Result<Response, Problem> {
    let ask = enforcement.ask(&limits, &caller)?;
    enforced(limits.check(ask).await?)
}

/// Enforce a limit, for proxies that ask with GET.
#[utoipa::path(get, path = "/ratelimit/enforce", tag = "ratelimit", operation_id = "enforce_limit_by_query",
    params(EnforceQuery,
           ("X-RateLimit-Limiter" = Option<String>, Header, description = "Instead of `limiter`"),
           ("X-RateLimit-Key" = Option<String>, Header, description = "Instead of `key`"),
           ("X-RateLimit-Cost" = Option<u64>, Header, description = "Instead of `cost`")),
    responses((status = 204, description = "The call may pass",
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of the limit"),
                       ("RateLimit" = String, description = "What is left, and when there is more"))),
              (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-query`, `invalid-header`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 429, description = "`rate-limited`", body = ProblemBody, content_type = "application/problem+json"),
              WriteResponses))]
pub(in super::super) async fn enforce_limit_by_query(
    State(limits): State<LimitService>,
    Extension(caller): Extension<Arc<Principal>>,
    enforcement: Enforcement,
) -> Result<Response, Problem> {
    let ask = enforcement.ask(&limits, &caller)?;
    enforced(limits.check(ask).await?)
}

fn enforced(decision: Decision) -> Result<Response, Problem> {
    if !decision.allowed {
        return Err(refusal(decision));
    }
    let mut response = NoContent.into_response();
    describe(response.headers_mut(), &[decision]);
    Ok(response)
}
