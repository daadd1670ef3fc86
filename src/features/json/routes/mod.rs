//! The documents' routes: [`document`] for documents, parts of them and batches, [`values`] for properties and changes of
//! single values, [`platform`] for the platform's own documents. This file holds the parameters and replies that they
//! share.

mod document;
mod fence;
mod platform;
mod values;

pub(super) use document::*;
pub(super) use fence::*;
pub(super) use platform::*;
pub(super) use values::*;

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::can_decrypt::CanDecrypt;
use super::change::ChangeReply;
use super::document::Node;
use super::error::JsonError;
use super::model::DocumentKey;
use super::path::Path;
use super::service::JsonService;
use super::update::{Updated, WriteOptions};
use super::work::WorkBudget;
use crate::http::auth::Principal;
use crate::http::conditional::{ETag, Preconditions};
use crate::http::extract::{collect, parse_json, parse_query, require_json};
use crate::http::fencing::GrantToken;
use crate::http::idempotent_operation::{Operation, Unrecorded};
use crate::http::problem::Problem;
use crate::lifecycle::permits::Permit;

static TTL_HEADER: HeaderName = HeaderName::from_static("document-ttl-ms");

/// The number of paths in one request; each one is applied separately.
const MAX_PATHS: usize = 16;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct KeyPath {
    /// 1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`.
    #[param(value_type = String, min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "profile:7")]
    key: DocumentKey,
}

/// The conditions of a request (RFC 9110, section 13).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described here, read by Preconditions")]
pub(super) struct ConditionHeaders {
    /// `*`: store only if no value exists. Entity tags: the document must have none of them; otherwise a read answers
    /// 304 and a write 412.
    #[param(rename = "If-None-Match", value_type = String, required = false,
            pattern = r#"^(\*|((W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)?)$"#)]
    if_none_match: (),
    /// `*`: change only an existing value. Entity tags: the document must have one of them; otherwise the answer is
    /// 412.
    #[param(rename = "If-Match", value_type = String, required = false,
            pattern = r#"^(\*|((W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)?)$"#)]
    if_match: (),
}

/// The repeatable query parameter `path`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Paths {
    /// JSON paths, each in its own parameter. A `$` path gives the list of the selected values, another path one value.
    #[param(value_type = Vec<String>, required = false, explode = true, max_items = 16, example = json!(["$.name"]))]
    path: Vec<Path>,
}

impl<S: Send + Sync> FromRequestParts<S> for Paths {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let parameters = if query.is_empty() { Vec::new() } else { parse_query::<Vec<(String, String)>>(query)? };
        if let Some((name, _)) = parameters.iter().find(|(name, _)| name != "path") {
            return Err(Problem::query_parameter(name, format!("unknown field `{name}`, expected `path`")));
        }
        if parameters.len() > MAX_PATHS {
            let rule = format!("must be given at most {MAX_PATHS} times, got {}", parameters.len());
            return Err(Problem::query_parameter("path", rule));
        }
        let paths = parameters.iter().map(|(_, text)| Path::parse(text)).collect::<Result<_, _>>();
        paths.map(|path| Self { path }).map_err(|error| Problem::query_parameter("path", error))
    }
}

/// The query parameter `path`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PathParam {
    /// A JSON path; without it, the whole document.
    #[param(value_type = Option<String>, max_length = 1_024, example = "$.name")]
    path: Option<Path>,
}

impl<S: Send + Sync> FromRequestParts<S> for CanDecrypt {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Arc<Principal>>().map_or_else(Self::default, |caller| Self::new(Arc::clone(caller))))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WriteOptions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let conditions = Preconditions::from_request_parts(parts, state).await?;
        let GrantToken(token) = GrantToken::from_request_parts(parts, state).await?;
        let Ok(can_decrypt) = CanDecrypt::from_request_parts(parts, state).await;
        let Ok(Operation(operation)) = Operation::from_request_parts(parts, state).await;
        Ok(Self { conditions, operation, token, can_decrypt, work: WorkBudget::default() })
    }
}

/// A JSON body that can contain documents, and the permit to keep it in memory.
pub(super) struct DocumentBody<T>(T, BodyPermit);

/// The permit of a long body. It is dropped after the body's values.
type BodyPermit = Option<Permit>;

impl<T: DeserializeOwned + Send + 'static> FromRequest<Arc<JsonService>> for DocumentBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, documents: &Arc<JsonService>) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let (body, permit) = parse_body(documents, collect(request).await?, parse_json).await?;
        Ok(Self(body, permit))
    }
}

/// Parses a body, a long one on another thread.
async fn parse_body<T: Send + 'static>(
    documents: &JsonService,
    body: Bytes,
    parse: fn(&[u8]) -> Result<T, Problem>,
) -> Result<(T, BodyPermit), Problem> {
    let permit = documents.offload.enter_body(body.len()).await.map_err(JsonError::from)?;
    let parsed = if permit.is_none() {
        parse(&body)
    } else {
        documents.offload.run(move || parse(&body)).await.map_err(JsonError::from)?
    };
    Ok((parsed?, permit))
}

/// 201 or 204, or 200 with the results or with a count under the name `count_name`.
fn updated(updated: &Updated, count_name: &str) -> Response {
    let mut response = match &updated.reply {
        ChangeReply::Stored { created: true } => StatusCode::CREATED.into_response(),
        ChangeReply::Stored { created: false } => StatusCode::NO_CONTENT.into_response(),
        ChangeReply::Results(results) => body(&Node::Object(vec![("results".into(), Node::Array(results.clone()))])),
        ChangeReply::Count(count) => body(&Node::Object(vec![(count_name.into(), Node::count(*count))])),
    };
    if let Some(etag) = updated.etag {
        set_document_headers(etag, updated.ttl, response.headers_mut());
    }
    response
}

/// Excludes the response from the records of repeated requests if it can contain decrypted values, which the record
/// would store in plain text. The service itself stores an encrypted answer for the repetition.
fn without_record(documents: &JsonService, key: &DocumentKey, mut response: Response) -> Response {
    if documents.encryption.encrypts(key) {
        response.extensions_mut().insert(Unrecorded);
    }
    response
}

fn body(node: &Node) -> Response {
    json(node.to_bytes())
}

fn json(text: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn set_document_headers(etag: ETag, ttl: Option<u64>, headers: &mut HeaderMap) {
    headers.insert(header::ETAG, etag.header());
    if let Some(ttl) = ttl {
        headers.insert(TTL_HEADER.clone(), HeaderValue::from(ttl));
    }
}
