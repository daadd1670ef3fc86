//! Parts of a request as typed values. An invalid part is a [`Problem`] that names the part.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use super::connection::OpenConnection;
use super::json_text::field_in_message;
pub use super::json_text::{MAX_JSON_DEPTH, json_message, parse_json, read_json};
use super::paced_body::incomplete;
pub use super::path_parameters::Path;
use super::problem::{self, Problem};
use super::uri;
use crate::config::messages::in_terms_of_json;

/// The largest body that an extractor collects, if it is not [`DEFAULT_BODY_LIMIT`].
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit(pub usize);

/// The body limit of a request without a [`BodyLimit`]: the default of `http.body_limit`, which then needs no extension.
pub const DEFAULT_BODY_LIMIT: usize = 1 << 20;

impl BodyLimit {
    /// The limit of a request, bytes.
    pub fn of(request: &Request) -> usize {
        request.extensions().get().map_or(DEFAULT_BODY_LIMIT, |Self(limit)| *limit)
    }
}

/// A JSON body of a request or response.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let bytes = collect(request).await?;
        parse_json(&bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => {
                let mut response = Response::new(Body::from(bytes));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(error) => Problem::new(&problem::INTERNAL).caused_by(error).into_response(),
        }
    }
}

/// Query parameters. Unknown and repeated parameters are rejected.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// No query parameters; any parameter is rejected as unknown.
#[derive(Clone, Copy, Debug)]
pub struct NoQuery;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(|NoParameters {}| Self)
    }
}

/// Parses a query string.
///
/// # Errors
/// `invalid-query` (422) naming the parameter.
pub fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    check_encoding(query)?;
    if query.contains("cursor=")
        && form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "cursor" && value.is_empty())
    {
        return Err(Problem::query_parameter("cursor", "must be the next_cursor of a page, got ``"));
    }
    let parameters = || serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    // Most requests have no query, and parsing without error paths is cheaper.
    if query.is_empty()
        && let Ok(defaults) = T::deserialize(parameters())
    {
        return Ok(defaults);
    }
    serde_path_to_error::deserialize(parameters()).map_err(|error| {
        let message = error.inner().to_string();
        let path = error.path().to_string();
        let name = field_in_message(&message).unwrap_or(&path).trim_start_matches('.');
        let Some(rule) = rule_of_parse_error(&message) else {
            return Problem::query_parameter(name, in_terms_of_json(&message));
        };
        let given = form_urlencoded::parse(query.as_bytes()).find(|(given, _)| given == name);
        Problem::query_parameter(name, format!("{rule}, got `{}`", given.unwrap_or_default().1))
    })
}

/// Rejects text that cannot be decoded; the parser would replace it without a word.
fn check_encoding(query: &str) -> Result<(), Problem> {
    if !query.contains('%') {
        return Ok(());
    }
    for pair in query.split('&') {
        let decoded = percent_encoding::percent_decode_str(pair).decode_utf8();
        if !uri::is_well_encoded(pair) || decoded.is_err() {
            let name = pair.split('=').next().unwrap_or_default();
            return Err(Problem::query_parameter(name, "must be percent-encoded UTF-8"));
        }
    }
    Ok(())
}

/// The rule that a number or truth value violates. The standard library's messages do not state it.
fn rule_of_parse_error(message: &str) -> Option<&'static str> {
    match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => Some("must be a whole number"),
        "number too large to fit in target type" => Some("must be a smaller number"),
        "number too small to fit in target type" => Some("must be a larger number"),
        "invalid float literal" | "cannot parse float from empty string" => Some("must be a number"),
        "provided string was not `true` or `false`" => Some("must be `true` or `false`"),
        _ => None,
    }
}

/// The whole body as bytes, within the limit of the route.
#[derive(Clone, Debug)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        collect(request).await.map(Self)
    }
}

/// Collects a body within the limit of its route.
///
/// # Errors
/// `body-too-large` (413), `body-incomplete` (400), or `request-timeout` (408).
pub async fn collect(request: Request) -> Result<Bytes, Problem> {
    let limit = BodyLimit::of(&request);
    collect_within(request.into_body(), limit).await
}

async fn collect_within(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(&problem::BODY_TOO_LARGE).detail(format!("the limit is {limit} bytes"));
    // A declared length above the limit is rejected before a byte is read.
    if http_body::Body::size_hint(&body).lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    // Most bodies arrive in one piece, which needs no buffer.
    let first = match body.frame().await {
        None => return Ok(Bytes::new()),
        Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        Some(Err(error)) => return Err(incomplete(error)),
    };
    let Some(rest) = limit.checked_sub(first.len()) else { return Err(too_large()) };
    if http_body::Body::is_end_stream(&body) {
        return Ok(first);
    }
    match Limited::new(body, rest).collect().await {
        Ok(collected) => Ok(joined(first, collected.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(incomplete(axum::Error::new(error))),
    }
}

fn joined(first: Bytes, rest: Bytes) -> Bytes {
    if rest.is_empty() { first } else { [first, rest].concat().into() }
}

/// Rejects a body whose Content-Type is not JSON.
///
/// # Errors
/// `unsupported-media-type` (415).
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    // Most clients send exactly this, which needs no parsing.
    if headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json") {
        return Ok(());
    }
    match media_type(headers) {
        Some(media_type) if media_type == "application/json" || media_type.ends_with("+json") => Ok(()),
        other => Err(unsupported(other.as_deref(), &["application/json"])),
    }
}

/// The media type of the body, lower case, without parameters.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// 415, naming the supported media types.
pub fn unsupported(given: Option<&str>, known: &[&str]) -> Problem {
    let given =
        given.map_or_else(|| "there is no Content-Type".to_owned(), |given| format!("`{given}` is not read here"));
    Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE).detail(format!("{given}; send {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code, reason = "only its presence matters")]
        ttl_ms: u64,
    }

    #[test]
    fn a_query_must_be_percent_encoded_utf_8() {
        for (query, name) in [("ttl_ms=%zz", "/ttl_ms"), ("ttl_ms=1&x=%FF", "/x"), ("ttl_ms=1&x=%4", "/x")] {
            let problem = parse_query::<Order>(query).expect_err("refused");
            assert!(format!("{problem:?}").contains(&format!("{name}\"")), "{query}: {problem:?}");
        }
    }

    #[test]
    fn a_refused_query_names_its_parameter() {
        for (query, name) in [("ttl=5", "/ttl"), ("ttl_ms=x", "/ttl_ms"), ("ttl_ms=1&ttl_ms=2", "/ttl_ms")] {
            let problem = parse_query::<Order>(query).expect_err("refused");
            assert!(format!("{problem:?}").contains(&format!("{name}\"")), "{query}: {problem:?}");
        }
    }
}
