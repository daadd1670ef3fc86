//! The documents' doors: [`document`] for whole documents and parts of them, [`values`] for changes of single values,
//! [`aspects`] for what is told about values, [`batch`] for many documents;
//! [`preferences`], [`activity`] and [`platform`] for the platform's own.

mod activity;
mod aspects;
mod batch;
mod document;
mod openapi_responses;
mod platform;
mod preferences;
mod terms;
mod values;

pub(super) use activity::*;
pub(super) use aspects::*;
pub(super) use batch::*;
pub(super) use document::*;
pub(super) use platform::*;
pub(super) use preferences::*;
pub(super) use values::*;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::change::Answer;
use super::document::Node;
use super::model::DocumentKey;
use super::path::Path;
use super::service::JsonService;
use super::update::Done;
use crate::http::conditional::ETag;
use crate::http::extract::{self, parse_query};
use crate::http::idempotent_operation::Unrecorded;
use crate::http::problem::Problem;

static TTL_HEADER: HeaderName = HeaderName::from_static("document-ttl-ms");

/// Described here, read by [`KeyPath`].
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "described here, read by KeyPath")]
pub(super) struct KeyParam {
    /// 1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`.
    #[param(min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "profile:7")]
    key: String,
}

/// The `{key}` of a path.
pub(super) struct KeyPath(pub DocumentKey);

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extract::Path(text) = extract::Path::<String>::from_request_parts(parts, state).await?;
        DocumentKey::try_from(text).map(Self).map_err(|rule| Problem::path_segment("key", rule))
    }
}

/// What a request may demand of the document that stands there (RFC 9110, section 13).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described here, read by Preconditions")]
pub(super) struct ConditionHeaders {
    /// `*`: only what is not there yet may be stored. Entity tags: those that the document must not have; reads then
    /// answer 304, writes 412.
    #[param(rename = "If-None-Match", value_type = String, required = false,
            pattern = r#"^(\*|((W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)?)$"#)]
    if_none_match: (),
    /// `*`: only what is there already may be changed. Entity tags: those of which the document must have one; else the
    /// answer is 412.
    #[param(rename = "If-Match", value_type = String, required = false,
            pattern = r#"^(\*|((W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)?)$"#)]
    if_match: (),
}

/// The `path` parameters of a query, as they were written.
#[derive(Debug)]
pub(super) struct Paths(pub Vec<String>);

/// Described here, read by [`Paths`].
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "described here, read by Paths")]
pub(super) struct PathsParam {
    /// JSON paths, each in a parameter of its own. `$` paths answer the list of what they select, others one value.
    #[param(value_type = Vec<String>, required = false, explode = true, max_items = 16, example = json!(["$.name"]))]
    path: Vec<String>,
}

/// Paths of one request: each is applied by itself.
const MAX_PATHS: usize = 16;

impl<S: Send + Sync> FromRequestParts<S> for Paths {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(query) = parts.uri.query().filter(|query| !query.is_empty()) else { return Ok(Self(Vec::new())) };
        let mut paths = Vec::new();
        for (name, value) in parse_query::<Vec<(String, String)>>(query)? {
            if name != "path" {
                return Err(Problem::query_parameter(&name, format!("unknown field `{name}`, expected `path`")));
            }
            paths.push(value);
        }
        if paths.len() > MAX_PATHS {
            let rule = format!("is given {} times; at most {MAX_PATHS} are read", paths.len());
            return Err(Problem::query_parameter("path", rule));
        }
        Ok(Self(paths))
    }
}

/// Where in the document.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PathParam {
    /// A JSON path; the whole document without it.
    #[param(max_length = 1_024, example = "$.name")]
    path: Option<String>,
}

impl JsonService {
    /// Keeps the answer of a change out of the records for repeated requests if some of the document is encrypted: it
    /// would stand there in clear. The answer that is kept beside the document is sealed.
    fn discreet(&self, key: &DocumentKey, mut response: Response) -> Response {
        if self.vault.guards(key) {
            response.extensions_mut().insert(Unrecorded);
        }
        response
    }

    /// A path of the query; without one the root.
    fn query_path(&self, text: Option<&str>) -> Result<Path, Problem> {
        let Some(text) = text else { return Ok(Path::root()) };
        Path::parse(text, self.config.path_limit.as_usize()).map_err(|error| Problem::query_parameter("path", error))
    }

    /// A path of the body, at `pointer`; without one the root.
    fn body_path(&self, pointer: &str, text: Option<&str>) -> Result<Path, Problem> {
        let Some(text) = text else { return Ok(Path::root()) };
        Path::parse(text, self.config.path_limit.as_usize()).map_err(|error| Problem::body_field(pointer, error))
    }
}

/// 201, 204, or 200 with results or a count under the name of what was done.
fn changed(done: &Done, counted: &str) -> Response {
    let mut response = match &done.answer {
        Answer::Stored { created: true } => StatusCode::CREATED.into_response(),
        Answer::Stored { created: false } => StatusCode::NO_CONTENT.into_response(),
        Answer::Results(results) => body(&Node::Object(vec![("results".into(), Node::Array(results.clone()))])),
        Answer::Count(count) => body(&Node::Object(vec![(counted.into(), Node::count(*count))])),
    };
    if let Some(etag) = done.etag {
        describe(etag, done.ttl, response.headers_mut());
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

fn describe(etag: ETag, ttl: Option<u64>, headers: &mut HeaderMap) {
    headers.insert(header::ETAG, etag.header());
    if let Some(ttl) = ttl {
        headers.insert(TTL_HEADER.clone(), HeaderValue::from(ttl));
    }
}
